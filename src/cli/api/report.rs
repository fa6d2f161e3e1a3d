//! The disagreements of all recordings, by endpoint and kind.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::description::Description;
use super::disagreement::{Compared, Disagreement, Part, Skipped};
use crate::cli::output::count;
use crate::cli::severity::Severity;

/// How many files are named for each kind of disagreement.
const SHOWN: usize = 3;

/// What the comparison of all recordings has found.
#[derive(Default)]
pub(crate) struct Report {
    /// The recordings that were compared.
    compared: usize,
    /// Those of them without an error and without a warning.
    agreeing: usize,
    skipped: BTreeMap<Skipped, usize>,
    endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Default)]
struct Endpoint {
    compared: usize,
    /// The recordings with an error or a warning.
    disagreeing: usize,
    /// The most serious first.
    kinds: BTreeMap<(Severity, Part, Option<String>, String), Seen>,
}

/// Where a kind of disagreement was seen.
struct Seen {
    /// In the first recording.
    place: String,
    path: Option<String>,
    files: Vec<String>,
}

impl Report {
    /// Adds the comparison of a recording in this file.
    pub(crate) fn add(&mut self, file: &str, compared: Result<Compared, Skipped>) {
        let compared = match compared {
            Ok(compared) => compared,
            Err(skipped) => return *self.skipped.entry(skipped).or_default() += 1,
        };
        self.compared += 1;
        for skipped in compared.skipped {
            *self.skipped.entry(skipped).or_default() += 1;
        }
        let agrees = compared
            .disagreements
            .iter()
            .all(|found| found.severity == Severity::Info);
        self.agreeing += usize::from(agrees);
        let endpoint = self.endpoints.entry(compared.endpoint).or_default();
        endpoint.compared += 1;
        endpoint.disagreeing += usize::from(!agrees);
        for Disagreement {
            severity,
            part,
            place,
            path,
            general_path,
            message,
        } in compared.disagreements
        {
            let seen = endpoint
                .kinds
                .entry((severity, part, general_path, message))
                .or_insert_with(|| Seen {
                    place,
                    path,
                    files: Vec::new(),
                });
            seen.files.push(file.to_owned());
        }
    }

    /// How many kinds of disagreement have a severity.
    pub(crate) fn number_of(&self, wanted: Severity) -> usize {
        let kinds = self.endpoints.values().flat_map(|endpoint| endpoint.kinds.keys());
        kinds.filter(|(severity, ..)| *severity == wanted).count()
    }

    /// The report for people: the endpoints with disagreements, and the totals.
    pub(crate) fn text(&self, description: &Description) -> String {
        let mut text = String::new();
        for (name, endpoint) in &self.endpoints {
            if endpoint.kinds.is_empty() {
                continue;
            }
            let (number, all) = (endpoint.disagreeing, endpoint.compared);
            text.push_str(&format!("{name}: {number} of {all} recordings disagree\n"));
            for ((severity, _, _, message), seen) in &endpoint.kinds {
                let path = seen.path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default();
                let (severity, place, files) = (severity.name(), &seen.place, seen.files());
                text.push_str(&format!("    {severity}: {place}: {path}{message}\n        {files}\n"));
            }
        }
        text.push_str(&format!(
            "{} of {} recordings agree with {description}: {}, {}, {}\n",
            self.agreeing,
            self.compared,
            count(self.number_of(Severity::Error), "error"),
            count(self.number_of(Severity::Warning), "warning"),
            count(self.number_of(Severity::Info), "info"),
        ));
        if !self.skipped.is_empty() {
            let parts = self.skipped.iter().map(|(skipped, number)| skipped.counted(*number));
            text.push_str(&format!("not compared: {}\n", parts.collect::<Vec<_>>().join(", ")));
        }
        text
    }

    /// The report for programs.
    pub(crate) fn document(&self, description: &Description) -> Value {
        let kind = |((severity, part, _, message), seen): (&(Severity, Part, Option<String>, String), &Seen)| {
            json!({
                "severity": severity.name(), "part": part.name(), "path": seen.path, "message": message, "files": seen.files,
            })
        };
        let endpoint = |(name, endpoint): (&String, &Endpoint)| {
            json!({
                "endpoint": name, "compared": endpoint.compared, "disagreeing": endpoint.disagreeing,
                "disagreements": endpoint.kinds.iter().map(kind).collect::<Vec<_>>(),
            })
        };
        let skipped = self
            .skipped
            .iter()
            .map(|(skipped, number)| (skipped.name().to_owned(), (*number).into()));
        json!({
            "description": {
                "title": description.title, "version": description.version, "date": description.date, "file": description.file,
            },
            "compared": self.compared,
            "agreeing": self.agreeing,
            "not_compared": skipped.collect::<serde_json::Map<_, Value>>(),
            "endpoints": self.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        })
    }
}

impl Seen {
    /// The number of recordings, and the first of them.
    fn files(&self) -> String {
        let shown = self
            .files
            .iter()
            .take(SHOWN)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let more = match self.files.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}: {shown}{more}", count(self.files.len(), "recording"))
    }
}
