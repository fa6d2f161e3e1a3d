//! Opens pages in Chromium, with the cases of `tests/report`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::skip::is_installed;
use super::worker;

/// The names of Chromium on different systems.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

fn browser() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let mut places = BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.find(|location| location.is_file())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report").join(name)
}

/// Whether a page can be opened here.
pub fn can_browse() -> bool {
    is_installed(browser().is_some(), "chromium")
        && is_installed(script("node_modules").exists(), "tests/report/node_modules")
}

/// Opens a page, and goes through a case: `{"case", "address"}` and what the case needs. A script that runs, a request to
/// another server, an error or a dialog fails every case.
pub fn browse(given: &Value) {
    let node = || {
        let mut node = Command::new("node");
        node.arg(script("browser.mjs")).env("CHROMIUM", browser().unwrap());
        node
    };
    assert_eq!(worker::ask("browser", node, &given.to_string()), "well\n", "{given}");
}
