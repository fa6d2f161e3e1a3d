//! The sessions of a test runner.

use std::collections::HashSet;
use std::sync::Arc;

use super::protocol::{Open, Save};
use crate::cli::proxy_session::ProxyArguments;
use crate::cli::store::Store;
use crate::engine::{CacheEngine, DirectoryEngine, StagedEngine};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope};
use crate::mode::Mode;
use crate::recorder::{Recorder, RequestOutcome};
use crate::settings::faults::Faults;
use crate::settings::pace::Pace;

/// A session that a runner has opened.
pub(super) struct ControlledSession {
    pub(super) scope: Scope,
    pub(super) recorder: Recorder,
    pub(super) engine: Arc<dyn CacheEngine>,
    /// The cassettes, if they are in a directory.
    pub(super) directory: Option<DirectoryEngine>,
    /// Holds back recordings until the session is closed.
    staged: Option<Arc<StagedEngine>>,
    /// The connections to other hosts before the session: host, opened, refused.
    pub(super) connections_before: Vec<(String, usize, usize)>,
}

impl ControlledSession {
    /// Starts a session. Where the command has no option, that of the process applies.
    pub(super) fn open(
        command: &Open,
        arguments: &ProxyArguments,
        connections_before: Vec<(String, usize, usize)>,
    ) -> Result<Self> {
        let scope = match command.scope.as_str() {
            "" => Scope::root(),
            name => Scope::new(name)?,
        };
        let location = command.directory.as_deref().unwrap_or(&arguments.directory.dir);
        let store = Store::open(location)?;
        let engine = arguments.with_near(store.engine)?;
        let (engine, staged) = StagedEngine::stage_if(command.save == Save::OnSuccess, engine)?;
        let mut arguments = arguments.clone();
        if let Some(mode) = &command.mode {
            arguments.mode = Some(parsed::<Mode>("mode", mode)?);
        }
        if let Some(pace) = &command.pace {
            arguments.pace = Some(parsed::<Pace>("pace", pace)?);
        }
        if let Some(faults) = &command.inject {
            arguments.inject = Some(parsed::<Faults>("inject", faults)?);
        }
        if let Some(settings) = &command.settings {
            arguments.settings = Some(settings.clone());
        }
        let mut builder = arguments
            .recorder(engine.clone(), None)?
            .scope(scope.clone())
            .test_runner();
        if let Some(test) = &command.test {
            builder = builder.test(test);
        }
        Ok(Self {
            scope,
            recorder: builder.build()?,
            engine,
            directory: store.directory,
            staged,
            connections_before,
        })
    }

    /// The session of requests that belong to no session of the runner.
    pub(super) fn of_process(recorder: Recorder, arguments: &ProxyArguments) -> Result<Self> {
        Ok(Self {
            scope: Scope::root(),
            recorder,
            engine: arguments.engine()?,
            directory: None,
            staged: None,
            connections_before: Vec::new(),
        })
    }

    /// Discards what was recorded. Returns the number of cassettes.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if recordings are saved at once.
    pub(super) async fn discard(&self) -> Result<usize> {
        let Some(staged) = &self.staged else {
            return Err(
                Error::new(ErrorKind::Settings, "the recordings of this session are saved already")
                    .with_hint("open the session with \"save\": \"on_success\""),
            );
        };
        staged.discard().await
    }

    /// Saves what was held back. Returns the number of cassettes that the session has recorded.
    pub(super) async fn save(&self) -> Result<usize> {
        if let Some(staged) = &self.staged {
            return staged.commit().await;
        }
        let requests = self.recorder.session().requests();
        let recorded = requests
            .iter()
            .filter(|request| request.outcome == RequestOutcome::Recorded);
        let keys: HashSet<&RequestKey> = recorded.filter_map(|request| request.key.as_ref()).collect();
        Ok(keys.len())
    }

    /// At the end of the process: what was held back is discarded, because nobody has said that the test succeeded.
    pub(super) fn held_back(&self) -> usize {
        match &self.staged {
            Some(staged) => staged.staged(),
            None => 0,
        }
    }
}

fn parsed<T: std::str::FromStr<Err = Error>>(member: &str, value: &str) -> Result<T> {
    value
        .parse()
        .map_err(|error: Error| error.with_prefix(&format!("in \"{member}\"")))
}
