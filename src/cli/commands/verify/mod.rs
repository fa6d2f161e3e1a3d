//! `verify`: checks that each cassette is readable, matches its key and its name, and contains no secret.

mod problem;
mod secrets;
mod verifier;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use self::problem::Problem;
use self::verifier::{Summary, Verifier};
use crate::cli::api::{Api, Description, Report};
use crate::cli::arguments::{Format, Listing};
use crate::cli::output::{count, print, success_if};
use crate::cli::refresh::{Recording, unresolved_references};
use crate::cli::runtime::runtime;
use crate::cli::severity::Severity;
use crate::cli::store::Store;
use crate::error::Result;
use crate::redaction::secret_scan::mask;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    listing: Listing,
    /// Also check that each id in a request is from a response of the same scope, as in a chain that `refresh` follows.
    #[arg(long)]
    references: bool,
    /// Also compare each recording with a description of the API (OpenAPI): that of a file, or the built-in one.
    #[arg(long, value_name = "FILE")]
    api: Option<Option<PathBuf>>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments {
        listing: arguments,
        references,
        api,
    } = arguments;
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let settings = runtime.block_on(store.settings())?;
    let description = api.as_ref().map(|file| Description::new(file.as_deref())).transpose()?;
    let api = description.map(|description| Api::new(description, &settings));
    let mut found = runtime.block_on(Verifier::new(&store, &settings, api.as_ref()).all())?;
    if *references {
        found.problems.extend(runtime.block_on(unresolved(&store))?);
    }
    let found = Findings::new(found, api.as_ref().map(|api| &api.description));
    print(&match arguments.output.format {
        Format::Text => found.text(),
        Format::Json => format!("{:#}\n", found.document()),
    })?;
    Ok(success_if(found.number_of(Severity::Error) == 0))
}

/// The ids in requests that no other recording of their scope has returned.
async fn unresolved(store: &Store) -> Result<Vec<Problem>> {
    let mut recordings = Vec::new();
    for (listed, cassette) in store.read_all().await? {
        // What cannot be read is a problem already.
        if let Ok(Some(recording)) = Recording::read(store, listed, cassette).await {
            recordings.push(recording);
        }
    }
    let problem = |(file, id): (String, String)| Problem {
        message: format!(
            "its request names {}, which no other recording of the scope returns",
            mask(&id)
        ),
        file,
        line: None,
        severity: Severity::Error,
    };
    Ok(unresolved_references(recordings).into_iter().map(problem).collect())
}

/// What is printed.
struct Findings<'a> {
    cassettes: usize,
    problems: Vec<Problem>,
    /// The comparison with a description.
    api: Option<(&'a Description, Report)>,
}

impl<'a> Findings<'a> {
    fn new(found: Summary, description: Option<&'a Description>) -> Self {
        Self {
            cassettes: found.cassettes,
            problems: found.problems,
            api: description.map(|description| (description, found.api)),
        }
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.severity == severity)
    }

    /// How many findings have a severity, in files and compared with the description.
    fn number_of(&self, severity: Severity) -> usize {
        let compared = self.api.as_ref().map_or(0, |(_, report)| report.number_of(severity));
        self.of(severity).count() + compared
    }

    fn text(&self) -> String {
        let mut text: String = self.of(Severity::Error).map(|problem| format!("{problem}\n")).collect();
        text.extend(
            self.of(Severity::Warning)
                .map(|warning| format!("{warning} (warning)\n")),
        );
        if let Some((description, report)) = &self.api {
            text.push_str(&report.text(description));
        }
        let (problems, warnings) = (self.number_of(Severity::Error), self.number_of(Severity::Warning));
        text.push_str(&format!(
            "{}, {}",
            count(self.cassettes, "cassette"),
            count(problems, "problem")
        ));
        if warnings > 0 {
            text.push_str(&format!(", {}", count(warnings, "warning")));
        }
        text + "\n"
    }

    fn document(&self) -> Value {
        let list = |severity| -> Vec<Value> {
            self.of(severity)
                .map(|problem| json!({ "file": problem.file, "line": problem.line, "problem": problem.message }))
                .collect()
        };
        let (problems, warnings) = (list(Severity::Error), list(Severity::Warning));
        let mut document = json!({ "cassettes": self.cassettes, "problems": problems, "warnings": warnings });
        if let Some((description, report)) = &self.api {
            document["api"] = report.document(description);
        }
        document
    }
}
