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
use crate::cli::runtime::runtime;
use crate::error::Result;

pub(crate) fn run(arguments: &Listing) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let settings = runtime.block_on(store.settings())?;
    let verifier = Verifier::new(&store, &settings);
    let cassettes = runtime.block_on(store.read_all())?;
    let number = cassettes.len();
    let found = runtime.block_on(verifier.all(cassettes));
    let (problems, warnings): (Vec<Problem>, _) = found.into_iter().partition(|found| !found.is_warning);
    print(&match arguments.output.format {
        Format::Text => text(number, &problems, &warnings),
        Format::Json => format!("{:#}\n", document(number, &problems, &warnings)),
    })?;
    Ok(success_if(problems.is_empty()))
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
