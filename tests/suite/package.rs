//! The package for the registry.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::project::done;

/// The targets of the links in a Markdown file that are paths.
fn linked_paths(markdown: &str) -> BTreeSet<&str> {
    let targets = markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let paths = targets.map(|target| target.split('#').next().unwrap_or_default());
    paths.filter(|path| !path.is_empty() && !path.contains("://")).collect()
}

#[test]
fn links_of_the_readme_lead_to_files_of_the_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = done(
        Command::new(env!("CARGO"))
            .args(["package", "--list", "--allow-dirty", "--offline"])
            .current_dir(root),
    );
    assert!(
        listed.status.success() && !listed.stderr.contains("warning"),
        "{}",
        listed.stderr
    );
    let files: BTreeSet<&str> = listed.stdout.lines().collect();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let linked = linked_paths(&readme);
    assert!(linked.len() > 10);
    let missing: Vec<_> = linked.difference(&files).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // A registry's page resolves them in the repository.
    assert!(env!("CARGO_PKG_REPOSITORY").starts_with("https://"));
    let is_generated = |path: &&&str| path.contains("node_modules") || path.contains("__pycache__");
    assert_eq!(files.iter().find(is_generated), None);
}
