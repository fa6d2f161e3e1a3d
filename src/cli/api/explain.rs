//! Turns the errors of a validator into differences.
//!
//! An error of a union has the errors of each branch. People need those of the branch that was meant: the one whose type and
//! whose discriminator match, and then the one with the fewest differences.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use serde_json::Value;

use super::difference::{Difference, Kind, Step, Steps};
use super::redacted::Redacted;
use crate::cli::severity::Severity;

/// The differences for these errors, without those of redacted values.
pub(super) fn explain<'a>(errors: impl Iterator<Item = ValidationError<'a>>, redacted: &Redacted) -> Vec<Difference> {
    let mut all: Vec<Difference> = errors.flat_map(|error| explain_one(&error, redacted)).collect();
    let is_type = |difference: &&Difference| matches!(difference.kind, Kind::Type { .. });
    let types: Vec<Steps> = all
        .iter()
        .filter(is_type)
        .map(|difference| difference.at.clone())
        .collect();
    // A value of the wrong type also violates `enum` and other keywords: only the type is reported.
    all.retain(|difference| is_type(&difference) || !types.contains(&difference.at));
    all
}

fn explain_one(error: &ValidationError<'_>, redacted: &Redacted) -> Vec<Difference> {
    let value = error.instance();
    if value.as_str().is_some_and(|text| redacted.is_in(text)) {
        return Vec::new();
    }
    let at = steps(error.instance_path());
    let kind = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let unknown = unexpected.iter().filter(|name| !redacted.is_in(name));
            return unknown
                .map(|name| Difference {
                    at: at.member(name),
                    kind: Kind::Unknown,
                })
                .collect();
        }
        ValidationErrorKind::AnyOf { context } => {
            let branches = context
                .iter()
                .map(|errors| errors.iter().flat_map(|error| explain_one(error, redacted)).collect());
            return of_union(&at, branches.collect());
        }
        ValidationErrorKind::Required { property } => {
            let at = at.member(property.as_str().unwrap_or_default());
            return vec![Difference {
                at,
                kind: Kind::Missing,
            }];
        }
        ValidationErrorKind::Type { kind } => {
            let expected = types(kind);
            let found = type_of(value, &expected);
            Kind::Type { expected, found }
        }
        ValidationErrorKind::Constant { expected_value } => Kind::Value {
            expected: vec![expected_value.to_string()],
            found: shown(value),
        },
        ValidationErrorKind::Enum { options } => Kind::Value {
            expected: options.as_array().into_iter().flatten().map(Value::to_string).collect(),
            found: shown(value),
        },
        _ => Kind::Limit(error.masked_with("the value").to_string()),
    };
    vec![Difference { at, kind }]
}

/// Chooses the branch of a union that was meant, given the differences of each branch.
fn of_union(at: &Steps, branches: Vec<Vec<Difference>>) -> Vec<Difference> {
    if branches.iter().any(Vec::is_empty) {
        // This branch has only errors of redacted values, so the value matches it.
        return Vec::new();
    }
    let is_other_type = |difference: &Difference| difference.at == *at && matches!(difference.kind, Kind::Type { .. });
    let (other_types, candidates): (Vec<_>, Vec<_>) = branches
        .into_iter()
        .partition(|branch| branch.iter().any(is_other_type));
    if candidates.is_empty() {
        let all = other_types.into_iter().flatten().filter(is_other_type);
        return merged(all).into_iter().collect();
    }
    let tag = |branch: &[Difference]| {
        let is_tag = |difference: &&Difference| {
            let depth = at.0.len();
            matches!(difference.kind, Kind::Value { .. })
                && (depth..=depth + 1).contains(&difference.at.0.len())
                && !matches!(difference.at.0.get(depth), Some(Step::Item(_)))
        };
        branch.iter().find(is_tag).cloned()
    };
    let (other_tags, meant): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|branch| tag(branch).is_some());
    if meant.is_empty() && other_tags.len() > 1 {
        let tags: Vec<Difference> = other_tags.iter().filter_map(|branch| tag(branch)).collect();
        if tags.iter().all(|other| other.at == tags[0].at) {
            return merged(tags.into_iter()).into_iter().collect();
        }
    }
    let candidates = if meant.is_empty() { other_tags } else { meant };
    let errors = |branch: &[Difference]| {
        branch
            .iter()
            .filter(|difference| difference.kind.severity(false) == Severity::Error)
            .count()
    };
    candidates
        .into_iter()
        .min_by_key(|branch| (errors(branch), branch.len()))
        .unwrap_or_default()
}

/// Merges differences of one kind at one place into one, which lists everything that they expect.
fn merged(differences: impl Iterator<Item = Difference>) -> Option<Difference> {
    differences.reduce(|mut all, more| {
        if let (
            Kind::Type { expected, .. } | Kind::Value { expected, .. },
            Kind::Type { expected: further, .. } | Kind::Value { expected: further, .. },
        ) = (&mut all.kind, more.kind)
        {
            let new: Vec<String> = further.into_iter().filter(|name| !expected.contains(name)).collect();
            expected.extend(new);
        }
        all
    })
}

fn steps(location: &Location) -> Steps {
    let step = |segment: LocationSegment<'_>| match segment {
        LocationSegment::Property(name) => Step::Member(name.into_owned()),
        LocationSegment::Index(index) => Step::Item(index),
    };
    Steps(location.into_iter().map(step).collect())
}

fn types(kind: &TypeKind) -> Vec<String> {
    match kind {
        TypeKind::Single(kind) => vec![kind.to_string()],
        TypeKind::Multiple(kinds) => kinds.iter().map(|kind| kind.to_string()).collect(),
    }
}

/// The type of a value. An integer is a number where no integer is expected.
fn type_of(value: &Value, expected: &[String]) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if !number.is_f64() && expected.iter().any(|name| name == "integer") => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value as JSON, if it is short.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        value => crate::diff::cut(&value.to_string(), LONGEST),
    }
}
