//! The official clients, unmodified, and libraries based on them: recorded from the stand-in, replayed without it,
//! and all of them from one cassette.

mod operations;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::project::{Done, Project, RunningProxy, done};
use crate::support::skip::{is_installed, is_left_out, print};
use crate::support::{KEY, api, worker};
use mistral_cassette::client::{Client, Retries};
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Result};
use serde_json::Value;

/// Where `./scripts/test` installs them.
const PYTHON: &str = ".venv/bin/python";
const PYTHON_1: &str = ".venv-1/bin/python";
const NODE: &str = "node";

/// A program in `tests/sdks`, with its interpreter.
struct Program(&'static str, &'static str);

impl Program {
    /// Whether it can run. In CI it must; elsewhere the test is reported as skipped.
    fn is_installed(&self) -> bool {
        let installed = match self.0 {
            NODE => root("tests/sdks/node_modules"),
            python => root(python),
        };
        is_installed(installed.exists(), &installed.display().to_string())
    }

    /// The command under `mistral-cassette run` with these flags.
    fn under_run(&self, project: &Project, flags: &[&str], operations: &BTreeSet<String>) -> Command {
        let mut command = project.command(&["run"]);
        let program = self.command();
        command
            .args(flags)
            .arg("--")
            .arg(program.get_program())
            .args(program.get_args());
        command.args(operations);
        // The clients know nothing of the proxy.
        command.env("UNMODIFIED", "1");
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The program itself.
    fn command(&self) -> Command {
        let mut command = Command::new(if self.0 == NODE {
            PathBuf::from(NODE)
        } else {
            root(self.0)
        });
        command.arg(root("tests/sdks").join(self.1));
        command
    }

    fn record(&self, project: &Project, upstream: &str) -> String {
        let flags = [
            "--mode",
            "record",
            "--allow-ci",
            "--save-errors",
            "--upstream",
            upstream,
        ];
        transcript(done(&mut self.under_run(project, &flags, &BTreeSet::new())))
    }

    fn replay(&self, project: &Project, upstream: &str, operations: &BTreeSet<String>) -> String {
        let flags = ["--mode", "strict", "--upstream", upstream];
        transcript(done(&mut self.under_run(project, &flags, operations)))
    }
}

/// All calls of an official client, by a worker that has the proxy as its base URL: the client takes seconds to load.
struct Operations(Program);

const PYTHON_OPERATIONS: Operations = Operations(Program(PYTHON, "operations.py"));
const PYTHON_1_OPERATIONS: Operations = Operations(Program(PYTHON_1, "operations.py"));
const TYPESCRIPT_OPERATIONS: Operations = Operations(Program(NODE, "operations.mjs"));

impl Operations {
    fn is_installed(&self) -> bool {
        self.0.is_installed()
    }

    fn record(&self, project: &Project, upstream: &str) -> String {
        let proxy = project.proxy("record", upstream, &["--allow-ci", "--save-errors"]);
        self.call(proxy, &BTreeSet::new())
    }

    /// Replays these, or all if there are none.
    fn replay(&self, project: &Project, upstream: &str, operations: &BTreeSet<String>) -> String {
        self.call(project.proxy("strict", upstream, &[]), operations)
    }

    fn call(&self, proxy: RunningProxy, operations: &BTreeSet<String>) -> String {
        let command = || {
            let mut command = self.0.command();
            command.arg("--worker").env("MISTRAL_API_KEY", KEY);
            command
        };
        let line = serde_json::json!({ "base": proxy.url, "names": operations });
        let answers = worker::ask(self.0.0, command, &line.to_string());
        let done = proxy.stop();
        assert_eq!(done.code(), 0, "{}\n{answers}", done.stderr);
        answers
    }
}

fn root(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn transcript(done: Done) -> String {
    assert_eq!(done.code(), 0, "{}\n{}", done.stderr, done.stdout);
    done.stdout
}

/// The result of each operation.
fn answers(transcript: &str) -> BTreeMap<String, Value> {
    transcript
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            (line["operation"].as_str().unwrap().to_owned(), line["answer"].take())
        })
        .collect()
}

/// Records a program whose client knows nothing of the proxy, and replays it: the transcripts are equal, and the upstream
/// gets no connection.
async fn replays(Operations(program): Operations) -> Option<BTreeMap<String, Value>> {
    if !program.is_installed() {
        return None;
    }
    let (project, server) = (Project::new(), api::start().await);
    let upstream = server.url.clone();
    let recorded = program.record(&project, &upstream);
    let requested = (server.call_count(), server.connection_count());
    assert_eq!(recorded, program.replay(&project, &upstream, &BTreeSet::new()));
    assert_eq!(requested, (server.call_count(), server.connection_count()));
    Some(answers(&recorded))
}

/// Those operations that failed, with their status.
fn failed(answers: &BTreeMap<String, Value>) -> BTreeMap<&str, &Value> {
    answers
        .iter()
        .filter(|(_, answer)| answer.get("error").is_some())
        .map(|(name, answer)| (name.as_str(), &answer["status"]))
        .collect()
}

fn official(answers: Option<BTreeMap<String, Value>>, at_least: usize) {
    let Some(answers) = answers else { return };
    assert!(answers.len() >= at_least, "{}", answers.len());
    assert_eq!(
        failed(&answers),
        BTreeMap::from([("chat.complete, refused", &Value::from(400))]),
        "{answers:#?}"
    );
    print(&format!("{} operations\n", answers.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmodified_python_client_replays_without_the_api() {
    official(replays(PYTHON_OPERATIONS).await, 75);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmodified_python_client_of_the_first_major_version_replays_without_the_api() {
    if is_left_out() {
        return;
    }
    official(replays(PYTHON_1_OPERATIONS).await, 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmodified_typescript_client_replays_without_the_api() {
    official(replays(TYPESCRIPT_OPERATIONS).await, 75);
}

/// The clients in the order of the table; the others are compared with the first.
const CLIENTS: [&str; 4] = ["Python", "TypeScript", "Python 1", "Rust"];

/// Operations for which a client sends a different request than the first one, and why.
const DIFFERENT: &[(&str, &[&str], &str)] = &[
    (
        "chat.parse",
        &["TypeScript", "Rust"],
        "pydantic, zod and schemars write different JSON schemas for one type; TypeScript calls each of them placeholderName",
    ),
    ("beta.agents.list", &["TypeScript", "Rust"], SENTINEL),
    ("beta.conversations.list", &["TypeScript", "Rust"], SENTINEL),
    (
        "beta.libraries.list",
        &["TypeScript", "Python 1"],
        "Python sends page=0 and page_size=100 when they are not given",
    ),
    ("beta.libraries.update", &["Python 1"], "PUT, now PATCH"),
    (
        "chat.complete, result of a tool",
        &["Python 1"],
        "no type: function in the tool calls of an assistant",
    ),
    ("files.upload", &["Python 1"], "no visibility: workspace"),
    ("fim.complete", &["Python 1"], "top_p: 1.0 when it is not given"),
    ("fim.stream", &["Python 1"], "top_p: 1.0 when it is not given"),
    ("ocr.process", &["Python 1"], "no include_blocks: true"),
    ("ocr.process, image", &["Python 1"], "no include_blocks: true"),
];

const SENTINEL: &str =
    "Python sends its own placeholder as metadata when none is given; ignore_query: [metadata] makes them one";

/// The keys in each scope of a cassette directory.
fn keys(directory: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let project = Project::new();
    let listed = project.run(&["list", "--format", "json", "--dir", directory.to_str().unwrap()]);
    assert_eq!(listed.code(), 0, "{}", listed.stderr);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let mut keys = BTreeMap::<_, BTreeSet<_>>::new();
    for cassette in listed["cassettes"].as_array().unwrap() {
        let (scope, _) = cassette["name"].as_str().unwrap().split_once('/').unwrap();
        keys.entry(scope.to_owned())
            .or_default()
            .insert(cassette["key"].as_str().unwrap().to_owned());
    }
    keys
}

/// The scope of an operation; the other programs derive it in the same way.
fn scope(operation: &str) -> String {
    operation
        .chars()
        .map(|letter| {
            if letter.is_alphanumeric() || "._".contains(letter) {
                letter
            } else {
                '-'
            }
        })
        .collect()
}

/// All operations by the client of this crate, with the cassettes of another client or its own.
async fn rust(
    operations: &BTreeSet<String>,
    mode: Mode,
    directory: &Path,
    upstream: &str,
) -> BTreeMap<String, Result<Value>> {
    let mut answers = BTreeMap::new();
    for operation in operations {
        let recorder = Recorder::builder(DirectoryEngine::new(directory.join(scope(operation))))
            .mode(mode)
            .allow_record_in_ci()
            .save_errors()
            .build()
            .unwrap();
        let client = Client::builder()
            .api_key(KEY)
            .base_url(upstream)
            .retries(Retries::new(2).first_wait(Duration::from_millis(1)))
            .recorder(recorder.clone())
            .build()
            .unwrap();
        if let Some(answer) = operations::call(operation, &client).await {
            recorder.finish().await.unwrap();
            answers.insert(operation.clone(), answer);
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cassette_serves_every_client() {
    if is_left_out() {
        return;
    }
    let programs = [PYTHON_OPERATIONS, TYPESCRIPT_OPERATIONS, PYTHON_1_OPERATIONS];
    if !programs.iter().all(Operations::is_installed) {
        return;
    }
    let server = api::start().await;
    let upstream = server.url.clone();
    let projects = [Project::new(), Project::new(), Project::new(), Project::new()];
    let mut operations = BTreeSet::new();
    for (program, project) in programs.iter().zip(&projects) {
        operations.extend(answers(&program.record(project, &upstream)).into_keys());
    }
    rust(&operations, Mode::Record, &projects[3].cassettes(), &upstream).await;
    drop(server);

    let keys = projects.each_ref().map(|project| keys(&project.cassettes()));
    let (mut table, mut equal) = (String::new(), CLIENTS.map(|_| BTreeSet::new()));
    writeln!(
        table,
        "{:<42}{}  why not the same",
        "operation",
        CLIENTS.map(|name| format!("{name:<12}")).concat()
    )
    .unwrap();
    for operation in &operations {
        let found = keys.each_ref().map(|keys| keys.get(&scope(operation)));
        let (mut line, mut reason) = (format!("{operation:<42}"), String::new());
        for ((client, keys), equal) in CLIENTS.iter().zip(found).zip(&mut equal) {
            let shown = keys.map_or("-", |keys| &keys.first().unwrap()[..8]);
            write!(line, "{shown:<12}").unwrap();
            let why = DIFFERENT
                .iter()
                .find(|(name, clients, _)| name == operation && clients.contains(client));
            match keys {
                Some(_) if keys == found[0] => {
                    assert!(why.is_none(), "{client} sends the same for {operation} now");
                    equal.insert(operation.clone());
                }
                Some(_) => {
                    let (_, _, why) = why.unwrap_or_else(|| panic!("{client} sends something else for {operation}"));
                    reason = format!("  {why}");
                }
                None => assert!(why.is_none(), "{client} has no {operation}"),
            }
        }
        writeln!(table, "{}{reason}", line.trim_end()).unwrap();
    }
    for (client, equal) in CLIENTS.iter().zip(&equal) {
        writeln!(table, "{client}: {} as from Python", equal.len()).unwrap();
    }
    print(&table);
    assert!(equal[1].len() >= 57 && equal[3].len() >= 57, "{table}");

    // Recordings of Python replay for the others without the upstream, with the same responses.
    let python = &projects[0];
    let printed = answers(&PYTHON_OPERATIONS.replay(python, &upstream, &BTreeSet::new()));
    let ours = rust(&equal[3], Mode::Strict, &python.cassettes(), &upstream).await;
    assert_eq!(ours.keys().collect::<Vec<_>>(), equal[3].iter().collect::<Vec<_>>());
    let ours: BTreeMap<String, Value> = ours
        .into_iter()
        .map(|(operation, answer)| match answer {
            Ok(answer) => (operation, answer),
            Err(error) => {
                assert_eq!(operation, "chat.complete, refused", "{error}");
                (operation, Value::Null)
            }
        })
        .collect();
    let mut with_ids = 0;
    for (client, answers) in [
        (
            "TypeScript",
            answers(&TYPESCRIPT_OPERATIONS.replay(python, &upstream, &equal[1])),
        ),
        (
            "Python 1",
            answers(&PYTHON_1_OPERATIONS.replay(python, &upstream, &equal[2])),
        ),
        ("Rust", ours),
    ] {
        for (operation, answer) in answers {
            let expected = ids(&printed[&operation]);
            assert_eq!(ids(&answer), expected, "{client}: {operation}");
            with_ids += usize::from(!expected.is_empty());
        }
    }
    assert!(with_ids > 120, "{with_ids}");
}

/// The unique ids in a response of the stand-in.
fn ids(answer: &Value) -> BTreeSet<String> {
    let answer = answer.to_string();
    let id = regex::Regex::new("[0-9a-f]{32}").unwrap();
    id.find_iter(&answer).map(|found| found.as_str().to_owned()).collect()
}

/// A library based on the API, recorded and replayed like the official clients.
async fn library(program: Program, name: &str, calls: &[&str]) {
    if !program.is_installed() {
        return;
    }
    let (project, server) = (Project::new(), api::start().await);
    let upstream = server.url.clone();
    let name = BTreeSet::from([name.to_owned()]);
    let record = ["--mode", "record", "--allow-ci", "--upstream", &upstream];
    let recorded = transcript(done(&mut program.under_run(&project, &record, &name)));
    drop(server);
    assert_eq!(recorded, program.replay(&project, &upstream, &name));
    let answers = answers(&recorded);
    assert_eq!(
        answers.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from_iter(calls.iter().copied())
    );
    for (call, answer) in answers {
        assert!(answer.as_str().is_none_or(|text| !text.is_empty()), "{call}");
        assert!(answer.as_array().is_none_or(|pieces| !pieces.is_empty()), "{call}");
    }
}

const PYTHON_OTHERS: Program = Program(PYTHON, "others.py");
const NODE_OTHERS: Program = Program(NODE, "others.mjs");

#[tokio::test(flavor = "multi_thread")]
async fn langchain_for_python_replays_without_the_api() {
    if is_left_out() {
        return;
    }
    library(
        PYTHON_OTHERS,
        "langchain",
        &["async", "chat", "embeddings", "stream", "tools"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pydantic_ai_replays_without_the_api() {
    if is_left_out() {
        return;
    }
    library(PYTHON_OTHERS, "pydantic_ai", &["chat", "stream", "tools"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn litellm_replays_without_the_api() {
    if is_left_out() {
        return;
    }
    library(PYTHON_OTHERS, "litellm", &["chat", "embeddings", "stream"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instructor_replays_without_the_api() {
    if is_left_out() {
        return;
    }
    library(PYTHON_OTHERS, "instructor", &["structured"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ai_sdk_replays_without_the_api() {
    library(
        NODE_OTHERS,
        "ai_sdk",
        &["chat", "embeddings", "stream", "structured", "tools"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_for_javascript_replays_without_the_api() {
    if is_left_out() {
        return;
    }
    library(NODE_OTHERS, "langchain", &["chat", "stream"]).await;
}

/// The output of a short program that is run with recordings that do not match.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client_prints_how_a_request_differs_when_it_misses() {
    const ASK: &str = r#"
import os, sys
from mistralai.client import Mistral
mistral = Mistral(api_key=os.environ["MISTRAL_API_KEY"], server_url=os.environ["MISTRAL_SERVER_URL"])
print(mistral.chat.complete(model="mistral-small-latest", messages=[{"role": "user", "content": sys.argv[1]}]).model)
"#;
    if !PYTHON_OPERATIONS.is_installed() {
        return;
    }
    let (project, server) = (Project::new(), api::start().await);
    let ask = |mode: &str, question: &str| {
        let mut command = project.command(&["run", "--mode", mode, "--allow-ci", "--upstream", &server.url, "--"]);
        done(command.arg(root(PYTHON)).args(["-c", ASK, question]))
    };
    let question = format!(
        "{} What is the capital of France?",
        "Think before you answer. ".repeat(40)
    );
    assert_eq!(ask("record", &question).code(), 0);
    let missed = ask("strict", &question.replace("France", "Spain"));
    assert_eq!(missed.code(), 1);
    for report_text in [
        "not recorded: POST /v1/chat/completions",
        "the nearest recording is cassettes/chat-completions/",
        "@ /messages/0/content",
        "What is the capital of France?",
        "What is the capital of Spain?",
    ] {
        // Once in the error that the client prints, and once in the verdict.
        assert!(
            missed.stderr.matches(report_text).count() >= 2,
            "{report_text}: {}",
            missed.stderr
        );
    }
    assert!(missed.stderr.contains("mistralai.client.errors"), "{}", missed.stderr);
}

/// All recordings of the official client, exported to the file format of another tool and imported again.
#[tokio::test(flavor = "multi_thread")]
async fn exported_and_imported_recordings_replay_through_the_official_python_client() {
    if is_left_out() {
        return;
    }
    if !PYTHON_OPERATIONS.is_installed() {
        return;
    }
    let (project, server) = (Project::new(), api::start().await);
    let recorded = PYTHON_OPERATIONS.record(&project, &server.url);
    for format in ["har", "jsonl"] {
        let file = project.path().join("export");
        let exported = project.run(&["export", "--to", format, "--out", file.to_str().unwrap()]);
        assert_eq!(exported.code(), 0, "{}", exported.stderr);
        let other = Project::new();
        let imported = other.run(&["import", file.to_str().unwrap()]);
        assert_eq!(imported.code(), 0, "{}", imported.stderr);
        let replayed = PYTHON_OPERATIONS.replay(&other, "http://127.0.0.1:9", &BTreeSet::new());
        assert_eq!(answers(&recorded), answers(&replayed), "{format}");
    }
}

/// A test suite that used VCR.py: the official client with both tools.
#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_vcr_py_replay_through_the_official_python_client() {
    const ASK: &str = r#"
import contextlib, os, sys
from mistralai.client import Mistral
under = contextlib.nullcontext()
if len(sys.argv) > 1:
    import vcr
    under = vcr.use_cassette(sys.argv[1], record_mode="all")
with under:
    mistral = Mistral(api_key=os.environ["MISTRAL_API_KEY"], server_url=os.environ["MISTRAL_SERVER_URL"])
    ask = dict(model="mistral-small-latest", messages=[{"role": "user", "content": "Which winds blow at the Rhône?"}])
    print(mistral.chat.complete(**ask).choices[0].message.content)
    print("".join(chunk.data.choices[0].delta.content or "" for chunk in mistral.chat.stream(**ask)))
    print(mistral.embeddings.create(model="mistral-embed", inputs=["Mistral", "Tramontane"]).data[1].embedding)
"#;
    if !PYTHON_OPERATIONS.is_installed() {
        return;
    }
    let (project, server) = (Project::new(), api::start().await);
    let mut python = Command::new(root(PYTHON));
    python.args(["-c", ASK, "vcr.yaml"]).current_dir(project.path());
    let url = server.url.trim_end_matches("/stand-in");
    python.envs([("MISTRAL_API_KEY", KEY), ("MISTRAL_SERVER_URL", url)]);
    let recorded = transcript(done(&mut python));
    drop(server);
    let imported = project.run(&["import", "vcr.yaml"]);
    assert_eq!(imported.code(), 0, "{}", imported.stderr);
    let mut run = project.command(&["run", "--mode", "strict", "--"]);
    assert_eq!(recorded, transcript(done(run.arg(root(PYTHON)).args(["-c", ASK]))));
    assert_eq!(recorded.lines().count(), 3, "{recorded}");
}

/// An injected 429 is retried, a truncated stream raises, and a stream with split characters does not.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client_handles_injected_faults() {
    let faults = Program(PYTHON, "faults.py");
    if !faults.is_installed() {
        return;
    }
    let (project, server) = (Project::new(), api::start().await);
    let printed = answers(&faults.record(&project, &server.url));
    drop(server);
    let run = |operations: &[&str]| {
        let operations = operations.iter().map(ToString::to_string).collect();
        let done = done(&mut faults.under_run(&project, &["--mode", "strict"], &operations));
        (answers(&done.stdout), done)
    };
    let (retried, done) = run(&["retried"]);
    assert_eq!(retried["retried"], printed["plain"]);
    assert!(
        done.code() == 0 && done.stderr.contains("1 replayed, 0 recorded, 1 injected"),
        "{done:?}"
    );

    let (torn, done) = run(&["torn stream"]);
    assert_eq!(torn["torn stream"], printed["streamed"]);
    assert!(
        done.code() == 0 && done.stderr.contains("1 replayed, 0 recorded\n"),
        "{done:?}"
    );

    let broken = ["refused", "reset", "cut", "cut stream", "malformed stream"];
    let (broken, done) = run(&broken);
    assert!(
        done.code() == 0 && done.stderr.contains("0 replayed, 0 recorded, 5 injected"),
        "{done:?}"
    );
    let connection = serde_json::json!({ "error": "RemoteProtocolError", "status": null });
    let expected = [
        ("refused", serde_json::json!({ "error": "SDKError", "status": 429 })),
        ("reset", connection.clone()),
        ("cut", connection.clone()),
        ("cut stream", connection),
        (
            "malformed stream",
            serde_json::json!({ "error": "ResponseValidationError", "status": 200 }),
        ),
    ];
    assert_eq!(broken, expected.map(|(name, answer)| (name.to_owned(), answer)).into());

    // An invalid fault header is an error at once, although the client may retry.
    let (wrong, done) = run(&["wrong"]);
    assert_eq!(
        wrong["wrong"],
        serde_json::json!({ "error": "SDKError", "status": 400 })
    );
    assert!(
        done.code() == 1 && done.stderr.contains("1 request has failed"),
        "{done:?}"
    );
}
