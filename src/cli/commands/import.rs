//! `import`: imports recordings of other tools as cassettes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use crate::cli::arguments::Directory;
use crate::cli::import_export::{Import, Imported, SourceEntry, SourceFormat, has_only_bodies, read_file};
use crate::cli::output::{count, print, print_message, success_if};
use crate::cli::runtime::runtime;
use crate::cli::store::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::http::API_KEY_VARIABLE;
use crate::key::Scope;
use crate::redaction::secret_scan;
use crate::redaction::{Redactor, is_dummy};
use crate::settings::Secrets;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// Recordings of another tool; a folder stands for all files in it, whatever their names.
    #[arg(required = true, value_name = "FILE|FOLDER")]
    sources: Vec<PathBuf>,
    /// Import into this scope instead of the scopes that an export names.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// The format: vcrpy, ruby-vcr, go-vcr, rvcr, polly, har, httpmock, wiremock, nock, cassetter or jsonl [default:
    /// detected from the content].
    #[arg(long, value_name = "FORMAT")]
    from_format: Option<SourceFormat>,
    /// Replace existing cassettes.
    #[arg(long)]
    force: bool,
    /// Import requests with any path, also those that begin with neither /v1/ nor /v2/.
    #[arg(long)]
    all_paths: bool,
    /// Import interactions that still contain a secret after redaction.
    #[arg(long)]
    allow_secrets: bool,
}

/// A file, and the interactions in it.
type Source = (String, Vec<SourceEntry>);

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let scope = arguments.scope.as_deref().map(Scope::new).transpose()?;
    // Read all sources before writing the first cassette.
    let (sources, unknown) = read_sources(arguments)?;
    for error in &unknown {
        print_message(&format!("not imported: {}", error.message()));
    }
    let imported = runtime()?.block_on(import(arguments, &store, scope, sources))?;
    for problem in &imported.problems {
        print_message(&format!("not imported: {problem}"));
    }
    if imported.has_secrets {
        print_message(&format!("hint: {}", secret_scan::SECRET_HINT));
    }
    for warning in &imported.warnings {
        print_message(&format!("warning: imported: {warning}"));
    }
    let files = match unknown.len() {
        0 => String::new(),
        number => format!(", {} not read", count(number, "file")),
    };
    print(&format!(
        "{} in {} imported, {} unchanged, {} not imported{files}\n",
        count(imported.interactions, "interaction"),
        count(imported.cassettes, "cassette"),
        imported.same,
        imported.problems.len(),
    ))?;
    Ok(success_if(imported.problems.is_empty() && unknown.is_empty()))
}

async fn import(arguments: &Arguments, store: &Store, scope: Option<Scope>, sources: Vec<Source>) -> Result<Imported> {
    let mut settings = store.settings().await?;
    if arguments.allow_secrets {
        settings.secrets = Secrets::Allow;
    }
    let import = Import {
        engine: &*store.engine,
        settings: &settings,
        redactor: Redactor::new(
            env::var(API_KEY_VARIABLE).ok().filter(|key| !is_dummy(key)),
            &settings.redaction,
            &settings.headers.keep,
        ),
        scope,
        force: arguments.force,
        all_paths: arguments.all_paths,
    };
    import.run(sources).await
}

/// Reads all sources. The second list has the errors of files in folders; the error of a named file ends the import.
fn read_sources(arguments: &Arguments) -> Result<(Vec<Source>, Vec<Error>)> {
    let (mut sources, mut unknown) = (Vec::new(), Vec::new());
    for source in &arguments.sources {
        if !source.is_dir() {
            sources.push(read_source(source, arguments.from_format)?);
            continue;
        }
        for file in files(source)? {
            match read_source(&file, arguments.from_format) {
                Ok(source) => sources.push(source),
                Err(error) => unknown.push(error),
            }
        }
    }
    Ok((sources, unknown))
}

fn read_source(file: &Path, format: Option<SourceFormat>) -> Result<Source> {
    Ok((file.display().to_string(), read_file(file, format)?))
}

/// The files in a folder and its subfolders, sorted, without hidden ones and those that mappings refer to.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>());
    let mut entries = entries.map_err(|error| unreadable(&folder.display().to_string(), error))?;
    entries.sort();
    let is_hidden = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    let mut found = Vec::new();
    for entry in entries.into_iter().filter(|entry| !is_hidden(entry)) {
        if has_only_bodies(&entry) {
            continue;
        }
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else {
            found.push(entry);
        }
    }
    Ok(found)
}

fn unreadable(location: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read {location}")).with_source(error)
}
