//! The control channel of `serve`: a test runner opens a session for each test, and asks for its verdict.

mod protocol;
mod session;
mod verdict;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::protocol::{Answer, Command, Done, ErrorText, Open, Opened, Outcome, PROTOCOL, Ready};
use self::session::ControlledSession;
use super::intercept::Environment;
use super::output::print_message;
use super::prices::Prices;
use super::proxy_session::ProxyArguments;
use super::signals::Signals;
use crate::error::{Error, ErrorKind, Result};
use crate::proxy::{OpenSessions, Proxy};

/// How long `verdict`, `discard` and `close` wait for requests in progress, unless the command has `wait_ms`.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The sessions of a runner, and what they need.
pub(crate) struct Controller<'a> {
    arguments: &'a ProxyArguments,
    proxy: &'a Proxy,
    environment: &'a Environment,
    prices: Prices,
    /// The open sessions, as the proxy sees them.
    open: OpenSessions,
    sessions: BTreeMap<u64, ControlledSession>,
    /// The session of requests that belong to no other one.
    own: ControlledSession,
}

impl<'a> Controller<'a> {
    pub(crate) fn new(
        arguments: &'a ProxyArguments,
        proxy: &'a Proxy,
        environment: &'a Environment,
        prices: Prices,
        open: OpenSessions,
    ) -> Result<Self> {
        let own = ControlledSession::of_process(proxy.recorder().clone(), arguments)?;
        Ok(Self {
            arguments,
            proxy,
            environment,
            prices,
            open,
            sessions: BTreeMap::new(),
            own,
        })
    }

    /// Executes the commands on standard input until it ends, a command ends the process, or a signal arrives.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if an answer cannot be written.
    pub(crate) async fn run(&mut self, signals: &mut Signals) -> Result<()> {
        write_line(&self.ready())?;
        let mut lines = lines();
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = signals.next() => return self.end(Duration::ZERO, signals).await,
            };
            let Some(line) = line else {
                return self.end(LONGEST_WAIT, signals).await;
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let (answer, is_last) = tokio::select! {
                answered = self.execute(&line) => answered,
                _ = signals.next() => return self.end(Duration::ZERO, signals).await,
            };
            write_line(&answer)?;
            if is_last {
                return Ok(());
            }
        }
    }

    fn ready(&self) -> Ready {
        let as_text =
            |(name, value): &(&str, std::ffi::OsString)| ((*name).to_owned(), value.to_string_lossy().into_owned());
        Ready {
            event: "ready",
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION"),
            mode: self.own.recorder.mode(),
            base_url: self.proxy.url(),
            proxy_url: self.proxy.url(),
            ca_file: self.environment.certificate(),
            environment: self.environment.variables.iter().map(as_text).collect(),
        }
    }

    /// Executes a command. Returns its answer, and whether it was the last one.
    async fn execute(&mut self, line: &[u8]) -> (Answer, bool) {
        let command = match serde_json::from_slice::<Command>(line) {
            Ok(command) => command,
            Err(error) => {
                let value = serde_json::from_slice::<serde_json::Value>(line).unwrap_or_default();
                let error = Error::new(ErrorKind::Request, format!("cannot read the command: {error}"))
                    .with_hint("docs/control.md describes the commands");
                return (answer(value["id"].as_u64(), Err(error)), false);
            }
        };
        let id = command.id();
        let is_end = matches!(command, Command::Close { session: None, .. });
        let wait = |wait_ms: Option<u64>| wait_ms.map_or(LONGEST_WAIT, Duration::from_millis);
        let result = match command {
            Command::Open { session, .. } => self.open(&session),
            Command::Scope { session, .. } => self.set_current(session),
            Command::Verdict { session, wait_ms, .. } => self.verdict(session, wait(wait_ms)).await,
            Command::Discard { session, wait_ms, .. } => self.discard(session, wait(wait_ms)).await,
            Command::Close { session, wait_ms, .. } => self.close(session, wait(wait_ms)).await,
        };
        // What could not be saved is still there: the runner can try again.
        let is_last = is_end && result.is_ok();
        (answer(Some(id), result), is_last)
    }

    fn open(&mut self, command: &Open) -> Result<Done> {
        let connections = self.proxy.connections().by_host();
        let session = ControlledSession::open(command, self.arguments, connections)?;
        let (mode, scope) = (session.recorder.mode(), session.scope.clone());
        let number = self.open.open(scope.clone(), session.recorder.clone());
        self.sessions.insert(number, session);
        if command.current.unwrap_or(true) {
            self.open.set_current(Some(number));
        }
        Ok(Done::Opened(Opened {
            session: number,
            mode,
            base_url: self.proxy.url_in(&scope),
            proxy_url: self.proxy.proxy_url_in(&scope),
            ca_file: self.environment.certificate(),
        }))
    }

    fn set_current(&self, number: Option<u64>) -> Result<Done> {
        if let Some(number) = number {
            self.session(number)?;
        }
        self.open.set_current(number);
        Ok(Done::Scoped {})
    }

    async fn verdict(&self, number: Option<u64>, wait: Duration) -> Result<Done> {
        let (session, in_progress) = match number {
            Some(number) => (self.session(number)?, self.wait(number, wait).await),
            None => (&self.own, 0),
        };
        let connections = self.proxy.connections();
        let verdict = verdict::verdict(session, in_progress, &connections, &self.prices).await?;
        Ok(Done::Verdict(Box::new(verdict)))
    }

    /// Waits for the requests of a session. Returns how many are still in progress.
    async fn wait(&self, number: u64, limit: Duration) -> usize {
        match tokio::time::timeout(limit, self.open.finish(number)).await {
            Ok(()) => 0,
            Err(_) => self.open.in_progress(number),
        }
    }

    async fn discard(&self, number: u64, wait: Duration) -> Result<Done> {
        let session = self.session(number)?;
        self.wait(number, wait).await;
        let discarded = session.discard().await?;
        Ok(Done::Discarded { discarded })
    }

    async fn close(&mut self, number: Option<u64>, wait: Duration) -> Result<Done> {
        let numbers = match number {
            Some(number) => vec![number],
            None => self.sessions.keys().copied().collect(),
        };
        let mut saved = 0;
        for number in numbers {
            self.session(number)?;
            self.wait(number, wait).await;
            saved += self.session(number)?.save().await?;
            self.open.close(number);
            self.sessions.remove(&number);
        }
        Ok(Done::Closed { saved })
    }

    fn session(&self, number: u64) -> Result<&ControlledSession> {
        self.sessions.get(&number).ok_or_else(|| {
            Error::new(ErrorKind::Request, format!("there is no open session {number}"))
                .with_hint("open it first; close ends a session")
        })
    }

    /// Ends the sessions that the runner has not closed, after waiting this long for their requests.
    async fn end(&mut self, wait: Duration, signals: &mut Signals) -> Result<()> {
        let complete = async {
            for number in self.sessions.keys() {
                self.open.finish(*number).await;
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(wait, complete) => {}
            _ = signals.next() => {}
        }
        for session in std::mem::take(&mut self.sessions).values() {
            let held_back = session.held_back();
            if held_back > 0 {
                let message = format!(
                    "mistral-cassette: {} not saved: the session in the scope {} was not closed",
                    super::output::count(held_back, "recording"),
                    session.scope
                );
                print_message(&message);
            }
        }
        Ok(())
    }
}

fn answer(id: Option<u64>, result: Result<Done>) -> Answer {
    let result = match result {
        Ok(done) => Outcome::Ok(done),
        Err(error) => Outcome::Error(ErrorText::from(&error)),
    };
    Answer { id, result }
}

/// The lines of standard input. A thread reads them, because a blocked read would keep the runtime from ending.
fn lines() -> UnboundedReceiver<Vec<u8>> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn write_line(line: &impl serde::Serialize) -> Result<()> {
    let failed = |error: io::Error| Error::new(ErrorKind::Io, "cannot write to the control channel").with_source(error);
    let mut text = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&text).and_then(|()| output.flush()).map_err(failed)
}
