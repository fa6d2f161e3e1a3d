//! `run`: a command with a proxy beside it.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use super::proxy::{Signal, Signals, given_up, tell};
use crate::cli::{ProxyArguments, count, runtime, say, scopes, wrong};
use crate::error::{Error, ErrorKind, Result};
use crate::http::API_KEY_VARIABLE;
use crate::http::DUMMY_KEY;
use crate::key::{RequestKey, Scope};
use crate::mode::Mode;
use crate::recorder::Summary;
use crate::recorder::{USAGE_LOG_VARIABLE, Used};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    proxy: ProxyArguments,
    /// Record and replay in this scope, a folder of its own in the cassette directory.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Fail when a cassette in the scopes that were seen was not used, by the proxy or by a session of the library that
    /// the command has started.
    #[arg(long)]
    fail_unused: bool,
    /// With --fail-unused: the command uses all of the directory, so fail for scopes that were not seen as well.
    #[arg(long, requires = "fail_unused")]
    all_scopes: bool,
    /// The command and its arguments, behind --.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let watch = Watch::new(arguments)?;
    let scope = arguments.scope.as_deref().map(Scope::new).transpose()?;
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let proxy = arguments
            .proxy
            .start(watch.as_ref().map(|watch| watch.ledger.as_path()))
            .await?;
        let mut base = proxy.url();
        if let Some(scope) = scope {
            base = format!("{base}/c/{}", scope.as_str().replace('/', "%2F"));
        }
        let mode = proxy.recorder().mode();
        let recorder = proxy.recorder().clone();
        let status = child(&arguments.command, &base, mode, watch.as_ref(), &mut signals).await;
        let verdict = tokio::select! {
            verdict = proxy.stop() => verdict,
            _ = signals.next() => return Err(given_up()),
        };
        let status = status?;
        let mut verdict = tell(verdict);
        let has_own_sessions = watch.as_ref().is_some_and(Watch::has_lines);
        if status.success() && recorder.session().summary() == Summary::default() && !has_own_sessions {
            say(
                "mistral-cassette: warning: no request came: does the command take the address of the API from MISTRAL_SERVER_URL, or another variable that run sets?",
            );
        }
        if arguments.fail_unused
            && let Some(watch) = &watch
            && !watch.all_are_used(arguments)?
        {
            verdict = wrong();
        }
        Ok(if status.success() {
            verdict
        } else {
            ExitCode::from(code_of(status))
        })
    })
}

/// The ledger of this run: what is behind its beginning was used by the command.
struct Watch {
    ledger: PathBuf,
    begin: u64,
    /// Where there is no lasting ledger.
    _temporary: Option<tempfile::TempDir>,
}

impl Watch {
    fn new(arguments: &Arguments) -> Result<Option<Self>> {
        if arguments.fail_unused {
            let store = arguments.proxy.directory.open()?;
            if store.directory.is_none() {
                let what = format!(
                    "{} is no directory, and --fail-unused is for directories",
                    store.place()
                );
                return Err(Error::new(ErrorKind::Settings, what));
            }
        }
        let named = || {
            env::var_os(USAGE_LOG_VARIABLE)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        let failed = |error| Error::new(ErrorKind::Io, "there is no place for a ledger").with_source(error);
        let (ledger, temporary) = match arguments.proxy.ledger.clone().or_else(named) {
            Some(ledger) => (ledger, None),
            None if arguments.fail_unused => {
                let folder = tempfile::tempdir().map_err(failed)?;
                (folder.path().join("ledger"), Some(folder))
            }
            None => return Ok(None),
        };
        let begin = std::fs::metadata(&ledger).map_or(0, |meta| meta.len());
        Ok(Some(Self {
            // The command may go to another folder.
            ledger: std::path::absolute(&ledger).map_err(failed)?,
            begin,
            _temporary: temporary,
        }))
    }

    /// Whether any session has written into it, of the command's own perhaps.
    fn has_lines(&self) -> bool {
        std::fs::metadata(&self.ledger).is_ok_and(|meta| meta.len() > self.begin)
    }

    /// Whether every cassette in the scopes that were seen was used, as far as the ledger can be read; those that were not are
    /// listed.
    fn all_are_used(&self, arguments: &Arguments) -> Result<bool> {
        let store = arguments.proxy.directory.open()?;
        let Some(directory) = store.directory.as_ref().filter(|directory| directory.root().is_dir()) else {
            return Ok(true);
        };
        let mut used = Used::read(&self.ledger, self.begin, directory.root())?;
        used.is_of_all_scopes = arguments.all_scopes;
        for line in &used.unreadable {
            say(&format!(
                "mistral-cassette: warning: {}:{line}: the line cannot be read, and may name what was used",
                self.ledger.display()
            ));
        }
        let listed = directory.list()?;
        let keys = listed.iter().filter_map(|listed| listed.key.as_ref());
        let unseen: BTreeSet<&Scope> = keys
            .filter(|key| used.has_not_seen(key))
            .map(RequestKey::scope)
            .collect();
        if !unseen.is_empty() {
            say(&format!(
                "mistral-cassette: not looked at without --all-scopes, since no request came for them: {}",
                scopes(unseen.into_iter())
            ));
        }
        let unused: Vec<String> = listed
            .iter()
            .filter(|listed| listed.key.as_ref().is_some_and(|key| used.lacks(key)))
            .map(|listed| format!("\n  {}", store.place_of(listed)))
            .collect();
        if !unused.is_empty() {
            say(&format!(
                "mistral-cassette: {} not used:{}\nhint: mistral-cassette prune deletes them, with the ledger of a whole run",
                count(unused.len(), "cassette"),
                unused.concat()
            ));
        }
        Ok(unused.is_empty())
    }
}

async fn child(
    command: &[OsString],
    base: &str,
    mode: Mode,
    watch: Option<&Watch>,
    signals: &mut Signals,
) -> Result<ExitStatus> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::Settings, "there is no command to run"))?;
    let mut child = tokio::process::Command::new(program);
    child.args(arguments).envs(variables(base));
    if mode.is_offline() || !env::var(API_KEY_VARIABLE).is_ok_and(|key| !key.is_empty()) {
        child.env(API_KEY_VARIABLE, DUMMY_KEY);
    }
    if let Some(watch) = watch {
        child.env(USAGE_LOG_VARIABLE, &watch.ledger);
    }
    let failed = |what: &str| {
        let what = format!("{} {what}", program.display());
        move |error| Error::new(ErrorKind::Settings, what).with_source(error)
    };
    let mut child = child.spawn().map_err(failed("cannot be run"))?;
    let mut interrupts = 0;
    loop {
        tokio::select! {
            // Signals first: one that ended the command must not be taken for a second one, to us.
            biased;
            signal = signals.next() => {
                interrupts += u32::from(signal == Signal::Interrupt);
                // A terminal has sent its interrupt to the command as well; who sends a second one means it.
                if signal != Signal::Interrupt || interrupts > 1 {
                    terminate(&child);
                }
            }
            status = child.wait() => return status.map_err(failed("cannot be waited for")),
        }
    }
}

/// The base URL for every client that reads one from its environment, each in the form that it expects: with `/v1` for
/// those that append only `/chat/completions`.
fn variables(base: &str) -> Vec<(&'static str, String)> {
    let with_version = format!("{base}/v1");
    let no_proxy = |name: &str| {
        let others = env::var(name).unwrap_or_default();
        let separator = if others.is_empty() { "" } else { "," };
        format!("{others}{separator}127.0.0.1,localhost")
    };
    vec![
        ("MISTRAL_SERVER_URL", base.to_owned()),
        ("MISTRAL_ENDPOINT", base.to_owned()),
        ("MISTRAL_BASE_URL", with_version.clone()),
        ("MISTRAL_AZURE_API_BASE", with_version.clone()),
        ("OPENAI_BASE_URL", with_version),
        ("NO_PROXY", no_proxy("NO_PROXY")),
        ("no_proxy", no_proxy("no_proxy")),
    ]
}

fn terminate(child: &tokio::process::Child) {
    #[cfg(unix)]
    if let Some(pid) = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
    {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    #[cfg(not(unix))]
    let _ = child;
}

/// The status as shells give it: of a signal, 128 and its number.
fn code_of(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
