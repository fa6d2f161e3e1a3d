//! The cassettes that a run uses, according to the usage log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::arguments::Directory;
use crate::cli::commands::prune::prune_after_run;
use crate::cli::output::{count, print_message, scope_names};
use crate::cli::proxy_session::ProxyArguments;
use crate::cli::store::Store;
use crate::engine::{DirectoryEngine, Listed};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope};
use crate::recorder::{Recorder, Summary, Used, summary_of_others, usage_log_from_environment};

/// The part of the usage log that this run writes.
pub(super) struct UsageWatch {
    file: PathBuf,
    /// The length of the file before the run.
    start: u64,
    /// Contains the file when the user has named none.
    _temporary: Option<tempfile::TempDir>,
}

impl UsageWatch {
    pub(super) fn new(proxy: &ProxyArguments, fail_unused: bool) -> Result<Self> {
        if fail_unused {
            let store = proxy.directory.open()?;
            if store.directory.is_none() {
                let message = format!(
                    "--fail-unused needs a cassette directory, but {} is a cache",
                    store.location()
                );
                return Err(Error::new(ErrorKind::Settings, message));
            }
        }
        let failed = |error| Error::new(ErrorKind::Io, "cannot create a usage log").with_source(error);
        let (file, temporary) = match proxy.usage_log.clone().or_else(usage_log_from_environment) {
            Some(file) => (file, None),
            None => {
                let folder = tempfile::tempdir().map_err(failed)?;
                (folder.path().join("usage-log"), Some(folder))
            }
        };
        let start = std::fs::metadata(&file).map_or(0, |meta| meta.len());
        Ok(Self {
            // The command may change its working directory.
            file: std::path::absolute(&file).map_err(failed)?,
            start,
            _temporary: temporary,
        })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// How the sessions of the command were answered, without that of the proxy; `None` if they sent no request.
    pub(super) fn of_command(&self, proxy: &Recorder) -> Result<Option<Summary>> {
        // The command may have deleted it.
        if !self.file.exists() {
            return Ok(None);
        }
        let summary = summary_of_others(&self.file, self.start, proxy.name_in_usage_log())?;
        Ok((summary != Summary::default()).then_some(summary))
    }

    /// Whether all cassettes in the scopes in use, or in all scopes, were used. Prints those that were not.
    pub(super) fn all_are_used(&self, directory: &Directory, all_scopes: bool) -> Result<bool> {
        let store = directory.open()?;
        let Some((directory, used)) = self.used(&store, all_scopes)? else {
            return Ok(true);
        };
        for line in &used.unreadable {
            print_message(&format!(
                "mistral-cassette: warning: {}:{line}: the line cannot be read, and may name used cassettes",
                self.file.display()
            ));
        }
        let listed = directory.list()?;
        print_unseen(&listed, &used);
        Ok(print_unused(
            &store,
            &listed,
            &used,
            "mistral-cassette prune deletes unused cassettes, given the usage log of a complete run",
        ))
    }

    /// Names the cassettes in the scopes in use that a run in mode `record` has not used.
    pub(super) fn name_unused(&self, directory: &Directory) -> Result<()> {
        let store = directory.open()?;
        if let Some((directory, used)) = self.used(&store, false)? {
            let hint = "if the run was complete, the same with --prune deletes them";
            print_unused(&store, &directory.list()?, &used, hint);
        }
        Ok(())
    }

    /// Deletes the cassettes in the scopes in use, or in all scopes, that a run in mode `record` has not used.
    pub(super) async fn prune(&self, directory: &Directory, all_scopes: bool) -> Result<bool> {
        let store = directory.open()?;
        let cassettes = store.read_all().await?;
        match self.used(&store, all_scopes)? {
            Some((directory, used)) => prune_after_run(&store, directory, &used, cassettes),
            None => Ok(true),
        }
    }

    /// The cassettes that the run has used; `None` if there is no directory.
    fn used<'a>(&self, store: &'a Store, all_scopes: bool) -> Result<Option<(&'a DirectoryEngine, Used)>> {
        let Some(directory) = store.directory.as_ref().filter(|directory| directory.root().is_dir()) else {
            return Ok(None);
        };
        let mut used = Used::read(&self.file, self.start, directory.root())?;
        used.is_of_all_scopes = all_scopes;
        Ok(Some((directory, used)))
    }
}

/// Prints the cassettes that were not used. Returns whether there are none.
fn print_unused(store: &Store, listed: &[Listed], used: &Used, hint: &str) -> bool {
    let unused: Vec<String> = listed
        .iter()
        .filter(|listed| listed.key.as_ref().is_some_and(|key| used.is_unused(key)))
        .map(|listed| format!("\n  {}", store.location_of(listed)))
        .collect();
    if !unused.is_empty() {
        print_message(&format!(
            "mistral-cassette: {} not used:{}\nhint: {hint}",
            count(unused.len(), "cassette"),
            unused.concat()
        ));
    }
    unused.is_empty()
}

/// Prints the scopes that were not checked because no request used them.
fn print_unseen(listed: &[Listed], used: &Used) {
    let keys = listed.iter().filter_map(|listed| listed.key.as_ref());
    let unseen: BTreeSet<&Scope> = keys
        .filter(|key| used.is_unknown_scope(key))
        .map(RequestKey::scope)
        .collect();
    if !unseen.is_empty() {
        print_message(&format!(
            "mistral-cassette: not checked without --all-scopes, because no request used these scopes: {}",
            scope_names(unseen.into_iter())
        ));
    }
}
