//! The formats of keys, tokens, cookies and passwords: one rule for each.
//!
//! Formats are facts that vendors publish. Those with the source `Gitleaks` were taken from the rules of
//! [gitleaks](https://github.com/gitleaks/gitleaks) (MIT licence), `config/gitleaks.toml` at commit 009e025a, and, for Groq and
//! LangSmith, `cmd/generate/config/rules` at the commits 90039844 and a650223f.

mod contexts;
mod rule;
mod vendors;

pub(super) use contexts::QUERY_CREDENTIAL;
pub(super) use rule::Rule;

/// All rules. Where two match at overlapping positions, the first one counts.
pub(super) fn rules() -> impl Iterator<Item = &'static Rule> {
    let groups = [
        vendors::MODELS,
        vendors::CLOUDS,
        vendors::DEVELOPMENT,
        vendors::SERVICES,
        contexts::KEYS,
        contexts::LOGINS,
        contexts::OTHERS,
    ];
    groups.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::rule::Source;
    use super::*;

    /// The table in the documentation lists every kind, with the source of its format.
    #[test]
    fn the_documentation_lists_every_rule_and_its_source() {
        let page = include_str!("../../../../docs/secrets.md");
        for rule in rules() {
            let kind = rule.kind.split_once(' ').map_or(rule.kind, |(_, kind)| kind);
            let source = match rule.source {
                Source::Gitleaks => "gitleaks",
                Source::Vendor => "vendor",
                Source::Context => "context",
            };
            let row = page.lines().find(|line| line.starts_with(&format!("| {source} ")));
            let is_listed = row.is_some_and(|row| row.contains(kind));
            assert!(is_listed, "{kind} is not in the row {source}");
        }
    }
}
