//! `export`: writes recordings to a file for other tools.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::arguments::Directory;
use crate::cli::import_export::{Frame, OrderedTexts, TargetFormat, frame, interactions_of, recorded_at, write_one};
use crate::cli::output::{count, print, print_message, scope_names, success_if};
use crate::cli::output_file::write_output_file;
use crate::cli::runtime::runtime;
use crate::cli::store::{Document, Store};
use crate::engine::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The format: har or jsonl.
    #[arg(long, value_name = "FORMAT")]
    to: TargetFormat,
    /// The output file; - for stdout.
    #[arg(long, value_name = "FILE")]
    out: String,
    /// Export only the cassettes of this scope.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let wanted = arguments.scope.as_deref().map(Scope::new).transpose()?;
    let (exported, failures) = runtime()?.block_on(read(&store, wanted.as_ref(), arguments.to))?;
    for error in &failures {
        print_message(&format!("not exported: {}", error.report()));
    }
    let summary = format!(
        "{} in {} exported",
        count(exported.interactions, "interaction"),
        count(exported.texts.len(), "cassette")
    );
    if arguments.out == "-" {
        exported.write(arguments.to, print)?;
        print_message(&summary);
    } else {
        write_output_file(Path::new(&arguments.out), |write| exported.write(arguments.to, write))?;
        print(&format!("{summary}\n"))?;
    }
    Ok(success_if(failures.is_empty()))
}

/// What is exported. It is in order of time, like the exports of other tools; equal times are in a fixed order that does not
/// depend on file names.
struct Exported {
    texts: OrderedTexts,
    interactions: usize,
}

impl Exported {
    fn write(self, format: TargetFormat, mut write: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let Frame { start, between, end } = frame(format, self.interactions == 0);
        write(&start)?;
        self.texts.write(between, &mut write)?;
        write(&end)
    }
}

/// The error for a scope without cassettes.
fn unknown_scope(store: &Store, wanted: &Scope, scopes: BTreeSet<Scope>) -> Error {
    let message = format!("no cassette in {} is in the scope {wanted}", store.location());
    let error = Error::new(ErrorKind::Settings, message);
    if scopes.is_empty() {
        return error;
    }
    error.with_hint(format!("there are cassettes in {}", scope_names(scopes.iter())))
}

/// Reads the cassettes, all or those of a scope; the second list has the errors of those that cannot be exported.
async fn read(store: &Store, wanted: Option<&Scope>, format: TargetFormat) -> Result<(Exported, Vec<Error>)> {
    let scope_of = |listed: &Listed| listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
    let is_wanted = |listed: &&Listed| wanted.is_none_or(|wanted| *wanted == scope_of(listed));
    let all = store.list().await?;
    let listed: Vec<Listed> = all.iter().filter(is_wanted).cloned().collect();
    if let (true, Some(wanted)) = (listed.is_empty(), wanted) {
        return Err(unknown_scope(store, wanted, all.iter().map(scope_of).collect()));
    }
    let between = frame(format, false).between;
    let work = async |document: Document| {
        let scope = scope_of(&document.listed);
        let interactions = interactions_of(&*store.engine, document.cassette?, &scope, &document.location).await?;
        let texts = interactions.iter().map(|interaction| write_one(format, interaction));
        let text = texts.collect::<Vec<_>>().join(between);
        Ok::<_, Error>((recorded_at(&interactions), text, interactions.len()))
    };
    let mut exported = Exported {
        texts: OrderedTexts::new()?,
        interactions: 0,
    };
    let (mut failures, mut added) = (Vec::new(), Ok(()));
    store.each_of(&listed, work, |one| match one {
        Ok((at, text, interactions)) if added.is_ok() => {
            exported.interactions += interactions;
            added = exported.texts.add(at, &text);
        }
        Ok(_) => {}
        Err(error) => failures.push(error),
    })?;
    added?;
    Ok((exported, failures))
}
