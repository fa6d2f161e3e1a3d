//! Skips tests that need something that is not installed. `tests/summary.rs` lists them at the end.

use std::io::Write as _;
use std::path::PathBuf;

/// The variable with the path of the list, for test processes that a test starts.
pub const LIST: &str = "MISTRAL_CASSETTE_TEST_SKIPPED";

/// The list of skipped tests. The processes of one `cargo test` share it: its name contains the process id of cargo.
pub fn list() -> PathBuf {
    #[cfg(unix)]
    let run = std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    let run = 0;
    let of_this_run = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped-{run}"));
    std::env::var_os(LIST).map_or_else(of_this_run, PathBuf::from)
}

/// Reports that the current test is skipped. In CI nothing may be missing, unless it is not public.
pub fn skip(missing: &str, hint: &str) {
    print(&format!("SKIPPED: {missing}: {hint}\n"));
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let list = std::fs::OpenOptions::new().create(true).append(true).open(list());
    // One write, so that tests that run at the same time do not mix their lines.
    let line = format!("{test}\t{missing}: {hint}\n");
    list.unwrap().write_all(line.as_bytes()).unwrap();
}

/// The variable that leaves out the slow tests.
const QUICK: &str = "MISTRAL_CASSETTE_QUICK_TESTS";

/// Whether a slow test is left out; reports it as skipped if so. In CI no test is left out.
pub fn is_left_out() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let is_left_out = is_set(QUICK) && !is_set("CI");
    if is_left_out {
        skip("slow tests", "./scripts/test without --quick runs them, as CI does");
    }
    is_left_out
}

/// Whether what a test needs is installed; reports the test as skipped if not. In CI it must be installed.
pub fn is_installed(is_installed: bool, name: &str) -> bool {
    if !is_installed {
        let missing = format!("{name} is not installed");
        let hint = "./scripts/test installs it";
        assert!(std::env::var_os("CI").is_none(), "{missing}: {hint}");
        skip(&missing, hint);
    }
    is_installed
}

/// Prints past the test harness, which captures the output of tests that pass.
pub fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}
