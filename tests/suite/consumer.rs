//! The project in `tests/consumer`, which uses the crate as its users do: its tests are recorded from the stand-in for the API
//! and replayed without it, in threads, one after another, and in a process for each test.
//!
//! `RECORD_CONSUMER=1 cargo test --all-features --test suite consumer::` records its committed cassettes again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use std::{env, fs};

use crate::support::project::done;
use crate::support::server::{Call, Reply, Server, Step};
use crate::support::skip::is_left_out;
use crate::support::{KEY, api, skip};

/// Where the project is in the repository. The package for the registry does not contain it.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/consumer")
}

/// A copy of the project at a fixed place, so that cargo builds it again only after a change.
struct Consumer {
    folder: PathBuf,
    /// The test binaries of the library and of the project.
    binaries: [PathBuf; 2],
}

impl Consumer {
    fn build() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("consumer");
        for file in ["Cargo.toml", "Cargo.lock", "src/lib.rs", "tests/agent.rs"] {
            let content = fs::read_to_string(sources().join(file)).unwrap();
            let content = content.replace("path = \"../..\"", &format!("path = {:?}", env!("CARGO_MANIFEST_DIR")));
            let copy = folder.join(file);
            if fs::read_to_string(&copy).ok().as_ref() != Some(&content) {
                fs::create_dir_all(copy.parent().unwrap()).unwrap();
                fs::write(copy, content).unwrap();
            }
        }
        let mut build = cargo(&folder);
        let built = done(build.args(["test", "--no-run", "--locked"]));
        assert_eq!(built.code(), 0, "{}", built.stderr);
        let binary = |name: &str| {
            let line = built
                .stderr
                .lines()
                .find(|line| line.contains(&format!("/{name}-")))
                .unwrap();
            PathBuf::from(line.split(['(', ')']).nth(1).unwrap())
        };
        let consumer = Self {
            binaries: [binary("consumer"), binary("agent")],
            folder,
        };
        consumer.clear();
        let ignored = done(Command::new(&consumer.binaries[1]).args(["--list", "--ignored", "--format", "terse"]));
        let ignored = ignored.stdout.lines().filter_map(|line| line.strip_suffix(": test"));
        assert_eq!(ignored.collect::<Vec<_>>(), MUST_FAIL);
        consumer
    }

    fn cassettes(&self) -> PathBuf {
        self.folder.join("cassettes")
    }

    fn clear(&self) {
        if self.cassettes().exists() {
            fs::remove_dir_all(self.cassettes()).unwrap();
        }
    }

    /// Runs all tests that must succeed: a test binary after the other, as cargo does.
    fn run(&self, mode: Mode, arguments: &[&str]) {
        for binary in &self.binaries {
            let done = done(mode.of(Command::new(binary).args(arguments).current_dir(&self.folder)));
            assert_eq!(done.code(), 0, "{mode:?} {arguments:?}: {}{}", done.stdout, done.stderr);
        }
    }

    /// Runs each test in a process of its own, as nextest does.
    fn run_each(&self, mode: Mode) {
        for binary in &self.binaries {
            let listed = done(Command::new(binary).args(["--list", "--format", "terse"]));
            let is_ignored = |name: &&str| MUST_FAIL.contains(name);
            let tests = listed.stdout.lines().filter_map(|line| line.strip_suffix(": test"));
            for test in tests.filter(|name| !is_ignored(name)) {
                let mut command = Command::new(binary);
                command.args(["--exact", test, "--nocapture"]).env("NEXTEST", "1");
                let done = done(mode.of(command.current_dir(&self.folder)));
                assert!(
                    done.code() == 0 && done.stdout.contains("1 passed"),
                    "{mode:?} {test}: {}{}",
                    done.stdout,
                    done.stderr
                );
            }
        }
    }

    /// Runs a test that must succeed in this mode only.
    fn run_one(&self, mode: Mode, test: &str) {
        let mut command = Command::new(&self.binaries[1]);
        let command = command.args(["--exact", test, "--ignored"]).current_dir(&self.folder);
        let done = done(mode.of(command));
        assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    }

    /// Runs all tests that must succeed under cargo-nextest, if it is installed.
    fn run_nextest(&self, mode: Mode) {
        if Command::new("cargo-nextest").arg("--version").output().is_err() {
            return skip::skip("cargo-nextest is not installed", "cargo install --locked cargo-nextest");
        }
        let mut command = cargo(&self.folder);
        let done = done(mode.of(command.args(["nextest", "run", "--locked", "--color", "never"])));
        assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    }

    /// Runs a test of the project and those of its library with `mistral-cassette run`. Returns the summary.
    fn run_in_proxy(&self, test: &str) -> String {
        let [library, tests] = &self.binaries;
        let mut command = Command::new(env!("CARGO_BIN_EXE_mistral-cassette"));
        command.args(["run", "--mode", "strict", "--", "sh", "-c", "\"$0\" && \"$1\" \"$2\""]);
        command.arg(library).arg(tests).arg(test).current_dir(&self.folder);
        let done = done(Mode::Strict.of(&mut command));
        assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
        done.stderr.trim_end().to_owned()
    }

    /// What a test that fails prints, without what differs between machines.
    fn failure(&self, mode: Mode, test: &str, variables: &[(&str, &str)]) -> String {
        let mut command = Command::new(&self.binaries[1]);
        command
            .args(["--exact", test, "--ignored"])
            .envs(variables.iter().copied());
        let done = done(mode.of(command.env("RUST_BACKTRACE", "0").current_dir(&self.folder)));
        assert_eq!(done.code(), 101, "{}", done.stdout);
        let (_, printed) = done.stdout.split_once(" stdout ----\n").unwrap();
        let (printed, _) = printed.split_once("\n\n\nfailures:").unwrap();
        let thread = regex::Regex::new(r"thread '(\w+)' \(\d+\) panicked at ([^:]+):\d+:\d+:").unwrap();
        let printed = thread.replace_all(printed, "thread '$1' panicked at $2");
        let printed = printed.replace(&*self.folder.to_string_lossy(), "[project]");
        printed
            .replace(env!("CARGO_MANIFEST_DIR"), "[crate]")
            .trim_start()
            .to_owned()
    }

    /// The number of cassettes in each folder.
    fn scopes(&self) -> BTreeMap<String, usize> {
        let mut scopes = BTreeMap::new();
        for file in files(&self.cassettes()) {
            let scope = file.parent().unwrap().parent().unwrap();
            let scope = scope.strip_prefix(self.cassettes()).unwrap();
            *scopes.entry(scope.display().to_string()).or_default() += 1;
        }
        scopes
    }
}

/// What the environment says to the tests of the project.
#[derive(Clone, Copy, Debug)]
enum Mode<'a> {
    Record(&'a str),
    Strict,
}

impl Mode<'_> {
    fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for name in [
            "CI",
            "MISTRAL_API_KEY",
            "MISTRAL_SERVER_URL",
            "MISTRAL_CASSETTE_USAGE_LOG",
        ] {
            command.env_remove(name);
        }
        match self {
            Self::Record(url) => command
                .envs([("MISTRAL_API_KEY", KEY), ("MISTRAL_SERVER_URL", *url)])
                .env("MISTRAL_CASSETTE_MODE", "record"),
            Self::Strict => command.env("MISTRAL_CASSETTE_MODE", "strict"),
        }
    }
}

const MUST_FAIL: [&str; 4] = [
    "asks_what_is_not_recorded",
    "expects_an_error_that_does_not_come",
    "has_a_changed_prompt",
    "ignores_a_miss",
];

/// Cargo in the project, with the target directory of the crate: most dependencies are compiled there.
fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    // What cargo tells the tests of this crate. Build scripts that read it would run again, here and in the next build.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            cargo.env_remove(&*name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", target).current_dir(folder);
    cargo
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

/// The stand-in, with a batch job that is done at the second look, and an answer that takes its time.
async fn stand_in() -> Server {
    let looks = Mutex::new(0);
    api::start_with(move |call: &Call| {
        if call.method == "GET" && call.target.contains("/batch/jobs/") {
            let mut looks = looks.lock().unwrap();
            *looks += 1;
            let id = call.target.rsplit('/').next().unwrap();
            let job = serde_json::json!({
                "id": id, "object": "batch", "input_files": [], "endpoint": "/v1/chat/completions", "errors": [],
                "status": "SUCCESS", "created_at": 1_795_255_200, "total_requests": 1, "completed_requests": 1,
                "succeeded_requests": 1, "failed_requests": 0,
            });
            return (*looks > 1).then(|| Reply::json(job.to_string()));
        }
        let takes_time = call.json()["messages"][0]["content"] == "Take your time.";
        takes_time.then(slow)
    })
    .await
}

fn slow() -> Reply {
    let (steps, reply) = Reply::directed("application/json");
    let message = serde_json::json!({ "role": "assistant", "content": "It took its time." });
    let body = serde_json::json!({
        "id": "1", "object": "chat.completion", "created": 1_795_255_200, "model": "m",
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10 },
    });
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = steps.send(Step::Send(body.to_string().into()));
    });
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_of_a_project_are_recorded_and_replayed_under_every_runner() {
    if is_left_out() {
        return;
    }
    if !sources().exists() {
        return skip::skip("tests/consumer is missing", "the package does not contain it");
    }
    let consumer = Consumer::build();
    if env::var_os("RECORD_CONSUMER").is_none() {
        copy(&sources().join("cassettes"), &consumer.cassettes());
        consumer.run(Mode::Strict, &[]);
        consumer.clear();
    }
    let server = stand_in().await;
    consumer.run(Mode::Record(&server.url), &[]);
    consumer.run_one(Mode::Record(&server.url), "has_a_changed_prompt");
    drop(server);
    insta::assert_debug_snapshot!(consumer.scopes(), @r#"
    {
        "agent/asks_for_each_case/case_1": 2,
        "agent/asks_for_each_case/case_2_of_a_long_name_that_no_file_system_would_take_as_it_is_because_it_has_mor-dbf8f648": 2,
        "agent/calls_a_tool": 2,
        "agent/compares_embeddings": 1,
        "agent/does_not_wait_for_a_task": 1,
        "agent/fragt_nach_koln-1e974a3c": 2,
        "agent/gets_its_session_from_a_fixture": 1,
        "agent/has_a_changed_prompt": 1,
        "agent/leaves_a_stream_early": 1,
        "agent/matches_a_snapshot": 1,
        "agent/panics_as_expected": 1,
        "agent/reads_a_stream_to_its_end": 1,
        "agent/retries_when_the_api_is_busy": 1,
        "agent/runs_on_several_threads": 3,
        "agent/saves_at_the_end": 1,
        "agent/starts_its_session_in_a_helper": 1,
        "agent/starts_its_session_on_a_thread_of_its_own": 1,
        "agent/stops_waiting": 1,
        "agent/uploads_and_reads_a_document": 2,
        "agent/waits_for_a_batch_job": 2,
        "consumer/tests/answers_from_a_module": 1,
        "consumer/tests/try/match": 1,
    }
    "#);
    for cassette in files(&consumer.cassettes()) {
        let text = fs::read_to_string(&cassette).unwrap();
        assert!(text.contains("/stand-in"), "{}: {text}", cassette.display());
    }
    if env::var_os("RECORD_CONSUMER").is_some() {
        copy(&consumer.cassettes(), &sources().join("cassettes"));
    }
    consumer.run(Mode::Strict, &[]);
    consumer.run(Mode::Strict, &["--test-threads=1"]);
    consumer.run_each(Mode::Strict);
    consumer.run_nextest(Mode::Strict);

    insta::assert_snapshot!(consumer.run_in_proxy("calls_a_tool"), @"mistral-cassette: 0 replayed, 0 recorded; sessions of the command: 4 replayed, 0 recorded");

    let failure = |test, variables: &[_]| consumer.failure(Mode::Strict, test, variables);
    insta::assert_snapshot!(failure("has_a_changed_prompt", &[("TOWN", "Lyon")]), @r"
    thread 'has_a_changed_prompt' panicked at tests/agent.rs
    called `Result::unwrap()` on an `Err` value: miss error: not recorded: POST /v1/chat/completions ([project]/cassettes/agent/has_a_changed_prompt/chat-completions/where-is-lyon-0240b076ff31e447.yaml, mode strict)
    the nearest recording is [project]/cassettes/agent/has_a_changed_prompt/chat-completions/where-is-paris-b47132b4293bdd34.yaml (92 % alike):
    --- recorded
    +++ requested
    @ /messages/0/content
    - Where is Paris?
    + Where is Lyon?
    hint: to record it, run the same with MISTRAL_CASSETTE_MODE=replay and your key in MISTRAL_API_KEY
    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    mistral-cassette: 1 request was not recorded
    ");
    insta::assert_snapshot!(failure("asks_what_is_not_recorded", &[]), @r"
    thread 'asks_what_is_not_recorded' panicked at tests/agent.rs
    called `Result::unwrap()` on an `Err` value: miss error: not recorded: POST /v1/chat/completions ([project]/cassettes/agent/asks_what_is_not_recorded/chat-completions/never-recorded-199498282091b6c1.yaml, mode strict)
    nothing is recorded in scope agent/asks_what_is_not_recorded yet
    hint: to record it, run the same with MISTRAL_CASSETTE_MODE=replay and your key in MISTRAL_API_KEY
    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    mistral-cassette: 1 request was not recorded
    ");
    insta::assert_snapshot!(failure("ignores_a_miss", &[]), @r"
    thread 'ignores_a_miss' panicked at [crate]/src/testing/mod.rs
    1 request was not recorded

    not recorded: POST /v1/chat/completions ([project]/cassettes/agent/ignores_a_miss/chat-completions/never-recorded-199498282091b6c1.yaml, mode strict)
    nothing is recorded in scope agent/ignores_a_miss yet

    hint: to record it, run the same with MISTRAL_CASSETTE_MODE=replay and your key in MISTRAL_API_KEY
    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    ");
    insta::assert_snapshot!(failure("expects_an_error_that_does_not_come", &[]), @r"
    thread 'expects_an_error_that_does_not_come' panicked at tests/agent.rs
    assertion `left == right` failed
      left: Miss
     right: Api
    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    mistral-cassette: 1 request was not recorded

    not recorded: POST /v1/chat/completions ([project]/cassettes/agent/expects_an_error_that_does_not_come/chat-completions/never-recorded-199498282091b6c1.yaml, mode strict)
    nothing is recorded in scope agent/expects_an_error_that_does_not_come yet

    hint: to record it, run the same with MISTRAL_CASSETTE_MODE=replay and your key in MISTRAL_API_KEY
    ");
}
