//! What `prune` prints.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::plan::{Item, Plan, Reason};
use crate::cli::arguments::FileChanges;
use crate::cli::git::Git;
use crate::cli::output::{count, scope_names};
use crate::key::Scope;
use crate::recorder::Used;

pub(super) fn text(changes: &FileChanges, plan: &Plan, used: &Used, git: &Git) -> String {
    let mut lines = files(changes.yes(), plan);
    lines.push(total(changes.yes(), plan, used));
    if !plan.unseen.is_empty() {
        lines.push(format!(
            "{} in scopes that the usage log does not contain ({}): not checked without --all-scopes",
            count(plan.unseen.values().sum(), "cassette"),
            scope_names(plan.unseen.keys()),
        ));
    }
    if !used.unreadable.is_empty() {
        lines.push(format!(
            "{} of the usage log cannot be read, and may name used cassettes",
            count(used.unreadable.len(), "line")
        ));
    }
    if !changes.yes() && !plan.deleted.is_empty() {
        lines.push(match git {
            Git::Unknown(why) if !changes.force => format!("{why}: --yes --force deletes them permanently"),
            _ => "--yes deletes them".to_owned(),
        });
    }
    lines.join("\n") + "\n"
}

fn files(yes: bool, plan: &Plan) -> Vec<String> {
    let verb = if yes { "deleted" } else { "would delete" };
    let deleted = plan.deleted.iter().map(|item| {
        let reason = if item.is_body {
            "no cassette refers to it"
        } else {
            "not used"
        };
        format!("{verb} {} ({reason})", item.path.display())
    });
    let skipped = plan.skipped.iter().map(|(item, Reason { text, needs_force })| {
        let force = if *needs_force { "; --force deletes it" } else { "" };
        format!("skipped {} ({text}{force})", item.path.display())
    });
    deleted.chain(skipped).collect()
}

fn total(yes: bool, plan: &Plan, used: &Used) -> String {
    let (bodies, cassettes): (Vec<&Item>, Vec<&Item>) = plan.deleted.iter().partition(|item| item.is_body);
    let bodies = match bodies.len() {
        1 => "1 body".to_owned(),
        number => format!("{number} bodies"),
    };
    format!(
        "{} and {bodies} {}, {} skipped; the usage log contains {}",
        count(cassettes.len(), "cassette"),
        if yes { "deleted" } else { "to delete" },
        plan.skipped.len(),
        count(used.sessions.len(), "session"),
    )
}

pub(super) fn document(yes: bool, plan: &Plan, used: &Used) -> Value {
    let path = |item: &Item| item.path.display().to_string();
    let deleted = |is_body: bool| -> Vec<String> {
        let items = plan.deleted.iter().filter(|item| item.is_body == is_body);
        items.map(path).collect()
    };
    let left: BTreeMap<String, &str> = plan
        .skipped
        .iter()
        .map(|(item, reason)| (path(item), reason.text.as_str()))
        .collect();
    json!({
        "deleted": yes,
        "cassettes": deleted(false),
        "bodies": deleted(true),
        "left": left,
        "sessions": used.sessions.len(),
        "scopes": used.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "unseen": plan.unseen.values().sum::<usize>(),
        "unseen_scopes": plan.unseen.keys().map(Scope::as_str).collect::<Vec<_>>(),
        "unreadable_lines": used.unreadable.len(),
    })
}
