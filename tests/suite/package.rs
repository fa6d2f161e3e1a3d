//! The packages for registries, and the files that publish and use them on GitHub.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::project::done;
use crate::support::skip::skip;

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

/// As `cargo publish --dry-run`, without the network and without a second build.
#[test]
fn the_crate_is_packaged_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["package", "--no-verify", "--allow-dirty", "--offline", "--target-dir"])
        .arg(folder.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let packaged = done(&mut cargo);
    assert!(
        packaged.status.success() && !packaged.stderr.contains("warning"),
        "{}",
        packaged.stderr
    );
    let file = format!("package/mistral-cassette-{}.crate", env!("CARGO_PKG_VERSION"));
    let size = std::fs::metadata(folder.path().join(file)).unwrap().len();
    // The limit of crates.io is 10 MiB.
    assert!((100_000..5 << 20).contains(&size), "{size} bytes");
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The packages of npm with the command for each platform.
fn platforms() -> serde_json::Map<String, Value> {
    let npm: Value = serde_json::from_str(&read("npm/package.json")).unwrap();
    npm["optionalDependencies"].as_object().unwrap().clone()
}

#[test]
fn the_npm_packages_have_the_version_of_the_crate() {
    let version = env!("CARGO_PKG_VERSION");
    let npm: Value = serde_json::from_str(&read("npm/package.json")).unwrap();
    assert_eq!(npm["version"], version, "npm/package.json");
    let platforms = platforms();
    assert!(platforms.len() >= 6, "{platforms:?}");
    for (name, wanted) in &platforms {
        assert_eq!(wanted, version, "npm/package.json: {name}");
    }
    // `python_package.rs` checks that the wheel takes it from Cargo.toml.
}

#[test]
fn a_release_builds_the_command_for_each_platform_of_the_packages() {
    let release = read(".github/workflows/release.yml");
    let binstall = read("Cargo.toml");
    for name in platforms().keys() {
        let platform = name.strip_prefix("@mistral-cassette/").unwrap();
        assert!(release.contains(&format!("platform: {platform},")), "{platform}");
    }
    // The archives have the names that cargo-binstall and the action expect.
    assert!(release.contains("NAME: mistral-cassette-${{ needs.version.outputs.version }}-${{ matrix.target }}"));
    assert!(binstall.contains("/releases/download/v{ version }/{ name }-{ version }-{ target }{ archive-suffix }"));
    assert!(read(".github/action/install.sh").contains("name=\"mistral-cassette-$version-$target\""));
}

#[test]
fn the_action_and_the_hook_are_valid_and_name_scripts_that_exist() {
    let action: Value = serde_yaml::from_str(&read("action.yml")).unwrap();
    assert_eq!(action["runs"]["using"], "composite");
    let mut scripts = 0;
    for step in action["runs"]["steps"].as_array().unwrap() {
        let run = step["run"].as_str().unwrap_or_default();
        if let Some(script) = run.strip_prefix("\"$GITHUB_ACTION_PATH/") {
            assert!(read(script.trim_end_matches('"')).starts_with("#!/usr/bin/env bash\n"));
            scripts += 1;
        }
        assert!(step["uses"].is_string() || step["shell"] == "bash", "{step}");
    }
    assert_eq!(scripts, 3);
    let hooks: Value = serde_yaml::from_str(&read(".pre-commit-hooks.yaml")).unwrap();
    assert_eq!(hooks[0]["entry"], "mistral-cassette verify");
}

#[test]
fn the_workflows_pass_actionlint() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join(".github/workflows");
    let workflows = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut actionlint = Command::new("actionlint");
    actionlint.arg("-no-color").args(workflows).current_dir(root);
    if actionlint.output().is_err() {
        skip("actionlint is not installed", "it checks the workflows of GitHub");
        return;
    }
    let done = done(&mut actionlint);
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
}
