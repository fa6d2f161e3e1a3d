//! `verify`: checks that each cassette is readable, matches its key and its name, and contains no secret.

mod problem;
mod secrets;
mod verifier;

use std::process::ExitCode;

use serde_json::{Value, json};

use self::problem::Problem;
use self::verifier::Verifier;
use crate::cli::arguments::{Format, Listing};
use crate::cli::output::{count, print, success_if};
use crate::cli::refresh::{Recording, unresolved_references};
use crate::cli::runtime::runtime;
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
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments {
        listing: arguments,
        references,
    } = arguments;
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let settings = runtime.block_on(store.settings())?;
    let verifier = Verifier::new(&store, &settings);
    let (number, mut found) = runtime.block_on(verifier.all())?;
    if *references {
        found.extend(runtime.block_on(unresolved(&store))?);
    }
    let (problems, warnings): (Vec<Problem>, _) = found.into_iter().partition(|found| !found.is_warning);
    print(&match arguments.output.format {
        Format::Text => text(number, &problems, &warnings),
        Format::Json => format!("{:#}\n", document(number, &problems, &warnings)),
    })?;
    Ok(success_if(problems.is_empty()))
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
        is_warning: false,
    };
    Ok(unresolved_references(recordings).into_iter().map(problem).collect())
}

fn text(cassettes: usize, problems: &[Problem], warnings: &[Problem]) -> String {
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    text.extend(warnings.iter().map(|warning| format!("{warning} (warning)\n")));
    text.push_str(&format!(
        "{}, {}",
        count(cassettes, "cassette"),
        count(problems.len(), "problem")
    ));
    if !warnings.is_empty() {
        text.push_str(&format!(", {}", count(warnings.len(), "warning")));
    }
    text + "\n"
}

fn document(cassettes: usize, problems: &[Problem], warnings: &[Problem]) -> Value {
    let list = |all: &[Problem]| -> Vec<Value> {
        all.iter()
            .map(|problem| json!({ "file": problem.file, "line": problem.line, "problem": problem.message }))
            .collect()
    };
    json!({ "cassettes": cassettes, "problems": list(problems), "warnings": list(warnings) })
}
