//! The npm package in `npm/`: its own tests, with the command of this build.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::project::done;
use crate::support::skip::{is_installed, print, skip};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A command in the folder of the package, without the variables of the tests' own environment.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root("npm"));
    for name in ["CI", "MISTRAL_CASSETTE_MODE", "MISTRAL_API_KEY", "NODE_OPTIONS"] {
        command.env_remove(name);
    }
    command.env("MISTRAL_CASSETTE_COMMAND", env!("CARGO_BIN_EXE_mistral-cassette"));
    command
}

fn are_clients_installed() -> bool {
    ["npm/test/node_modules", "tests/sdks/node_modules"]
        .iter()
        .all(|folder| is_installed(root(folder).exists(), folder))
}

#[test]
fn the_npm_package_passes_its_own_tests() {
    if !are_clients_installed() {
        return;
    }
    let mut files: Vec<String> = std::fs::read_dir(root("npm/test"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".test.js"))
        .map(|name| format!("test/{name}"))
        .collect();
    files.sort();
    let mut node = command("node");
    node.args(["--test", "--test-concurrency=3", "--test-reporter=tap"])
        .args(files);
    let done = done(&mut node);
    assert_eq!(done.code(), 0, "{}\n{}", done.stdout, done.stderr);
    let count = |name: &str| -> u32 {
        let line = done
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# {name} ")));
        line.and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    assert!(count("pass") >= 25, "{}", done.stdout);
    for line in done.stdout.lines().filter(|line| line.contains("# SKIP")) {
        skip(line.trim(), "./scripts/test installs what it needs");
    }
    print(&format!("{} tests of the npm package\n", count("pass")));
}

#[test]
fn the_npm_package_contains_only_what_users_need() {
    if !is_installed(Command::new("npm").arg("--version").output().is_ok(), "npm") {
        return;
    }
    // `--ignore-scripts`: the licences are copied before a real one.
    let mut npm = command("npm");
    let done = done(npm.args(["pack", "--dry-run", "--json", "--ignore-scripts"]));
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let packed: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    // An array of packages, or since npm 12 an object.
    let package = packed.get(0).or_else(|| packed.as_object()?.values().next()).unwrap();
    let paths: Vec<&str> = package["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    let is_expected = |path: &&&str| {
        ["bin/", "lib/", "types/", "LICENSE-"]
            .iter()
            .any(|start| path.starts_with(start))
            || ["package.json", "README.md"].contains(*path)
    };
    assert_eq!(paths.iter().find(|path| !is_expected(path)), None);
    for needed in [
        "bin/mistral-cassette.cjs",
        "lib/vitest.mjs",
        "lib/node-test.mjs",
        "lib/jest.cjs",
        "types/index.d.mts",
    ] {
        assert!(paths.contains(&needed), "{needed} is not in {paths:?}");
    }
}
