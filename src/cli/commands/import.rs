//! `import`: recordings of other tools into cassettes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use crate::cli::import_export::{Import, SourceFormat, read};
use crate::cli::{Directory, SUCCESS, count, print, runtime, say, wrong};
use crate::error::{Error, ErrorKind, Result};
use crate::http::API_KEY_VARIABLE;
use crate::key::Scope;
use crate::redaction::Redactor;
use crate::redaction::secret_scan;
use crate::settings::Secrets;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// Recordings of another tool; of a folder all files, whatever their names.
    #[arg(required = true, value_name = "FILE|FOLDER")]
    sources: Vec<PathBuf>,
    /// The scope to import into, in place of those that an export names.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// vcrpy, ruby-vcr, go-vcr, rvcr, polly, har or jsonl; by default what the file looks like.
    #[arg(long, value_name = "FORMAT")]
    from_format: Option<SourceFormat>,
    /// Replace cassettes that are there already.
    #[arg(long)]
    force: bool,
    /// Keep interactions in which a secret is left after redaction.
    #[arg(long)]
    allow_secrets: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let scope = arguments.scope.as_deref().map(Scope::new).transpose()?;
    let (mut sources, mut unknown) = (Vec::new(), Vec::new());
    // All are read before anything is written.
    for source in &arguments.sources {
        if !source.is_dir() {
            sources.push(found(source, arguments.from_format)?);
            continue;
        }
        for file in files(source)? {
            match found(&file, arguments.from_format) {
                Ok(found) => sources.push(found),
                Err(error) => unknown.push(error),
            }
        }
    }
    for error in &unknown {
        say(&format!("not imported: {}", error.message()));
    }
    let imported = runtime()?.block_on(async {
        let mut settings = store.settings().await?;
        if arguments.allow_secrets {
            settings.secrets = Secrets::Allow;
        }
        let import = Import {
            engine: &*store.engine,
            settings: &settings,
            redactor: Redactor::new(
                env::var(API_KEY_VARIABLE).ok(),
                &settings.redaction,
                &settings.headers.keep,
            ),
            scope,
            force: arguments.force,
        };
        import.all(sources).await
    })?;
    for problem in &imported.problems {
        say(&format!("not imported: {problem}"));
    }
    if imported.has_secrets {
        say(&format!("hint: {}", secret_scan::HINT));
    }
    for warning in &imported.warnings {
        say(&format!("warning: imported with what looks like a secret: {warning}"));
    }
    let files = match unknown.len() {
        0 => String::new(),
        number => format!(", {} of no known format", count(number, "file")),
    };
    print(&format!(
        "{} in {} imported, {} already there, {} not imported{files}\n",
        count(imported.interactions, "interaction"),
        count(imported.cassettes, "cassette"),
        imported.same,
        imported.problems.len(),
    ))?;
    Ok(if imported.problems.is_empty() && unknown.is_empty() {
        SUCCESS
    } else {
        wrong()
    })
}

type Source = (String, Vec<crate::cli::import_export::Found>);

fn found(file: &Path, format: Option<SourceFormat>) -> Result<Source> {
    let source = file.display().to_string();
    let document = fs::read(file).map_err(|error| unreadable(&source, error))?;
    let found = read(&document, &source, format)?;
    Ok((source, found))
}

/// The files of a folder and of those inside of it, sorted; what is hidden is left out.
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
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else {
            found.push(entry);
        }
    }
    Ok(found)
}

fn unreadable(place: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read {place}")).with_source(error)
}
