//! The Python package in `python/`: its own tests, with the binary of this build.

use std::path::Path;
use std::process::Command;

use crate::support::project::done;
use crate::support::skip::is_installed;

/// Where `./scripts/test` installs pytest and the clients.
const PYTHON: &str = ".venv/bin/python";
const PYTEST: &str = ".venv/bin/pytest";

#[test]
fn the_tests_of_the_python_package_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pytest = root.join(PYTEST);
    if !is_installed(pytest.exists(), &pytest.display().to_string()) {
        return;
    }
    let mut python = Command::new(root.join(PYTHON));
    python
        .args(["-m", "pytest", "tests", "-q", "-p", "no:cacheprovider"])
        .current_dir(root.join("python"))
        .env("MISTRAL_CASSETTE_COMMAND", env!("CARGO_BIN_EXE_mistral-cassette"))
        // Plugins of the installed clients take seconds to load.
        .env("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("PYTEST_ADDOPTS");
    if std::env::var_os("CI").is_some() {
        // There, no test may be skipped.
        python.arg("--strict-skips");
    }
    let done = done(&mut python);
    assert_eq!(done.code(), 0, "{}\n{}", done.stdout, done.stderr);
}

/// The value of a member at the beginning of a line.
fn member<'a>(toml: &'a str, name: &str) -> Option<&'a str> {
    toml.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
}

#[test]
fn the_python_package_has_the_version_and_the_licence_of_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::fs::read_to_string(root.join("python/pyproject.toml")).unwrap();
    // maturin takes the version from the manifest of the crate.
    assert_eq!(member(&python, "dynamic"), Some("[\"version\"]"));
    assert_eq!(member(&python, "version"), None);
    assert_eq!(member(&python, "manifest-path"), Some("\"../Cargo.toml\""));
    let licence = format!("\"{}\"", env!("CARGO_PKG_LICENSE"));
    assert_eq!(member(&python, "license"), Some(&*licence));
}

/// The metadata of a source distribution is that of the wheels, which a release builds.
#[test]
fn the_metadata_of_the_python_package_is_accepted_by_twine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = |name: &str| root.join(".venv/bin").join(name);
    for name in ["maturin", "twine"] {
        if !is_installed(tool(name).exists(), &tool(name).display().to_string()) {
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut maturin = Command::new(tool("maturin"));
    maturin.args(["sdist", "--out"]).arg(folder.path());
    maturin
        .current_dir(root.join("python"))
        .env("CARGO_NET_OFFLINE", "true");
    let built = done(&mut maturin);
    assert_eq!(built.code(), 0, "{}", built.stderr);
    let archive = folder
        .path()
        .join(format!("mistral_cassette-{}.tar.gz", env!("CARGO_PKG_VERSION")));
    let mut twine = Command::new(tool("twine"));
    let checked = done(twine.args(["check", "--strict"]).arg(archive));
    assert_eq!(checked.code(), 0, "{}{}", checked.stdout, checked.stderr);
}
