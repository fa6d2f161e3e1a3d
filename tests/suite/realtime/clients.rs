//! The official clients, and the WebSocket libraries below them, unmodified.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{NOWHERE, cassettes};
use crate::support::project::{Project, done};
use crate::support::realtime::Realtime;
use crate::support::skip::is_installed;
use crate::support::tls::Authority;
use crate::support::{KEY, worker};

/// A program in `tests/sdks`.
struct Program {
    name: &'static str,
    interpreter: &'static str,
    script: &'static str,
    /// What exists if its clients are installed.
    installed: &'static str,
}

const PYTHON: Program = Program {
    name: "realtime.py",
    interpreter: ".venv/bin/python",
    script: "tests/sdks/realtime.py",
    installed: ".venv",
};
const NODE: Program = Program {
    name: "realtime.mjs",
    interpreter: "node",
    script: "tests/sdks/realtime.mjs",
    installed: "tests/sdks/node_modules",
};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Program {
    fn is_installed(&self) -> bool {
        is_installed(root(self.installed).exists(), self.installed)
    }

    fn command(&self) -> Command {
        let mut command = match self.interpreter {
            "node" => Command::new("node"),
            path => Command::new(root(path)),
        };
        command
            .arg(root(self.script))
            .env("MISTRAL_API_KEY", KEY)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The answers of some operations, or of all, with the proxy as their base URL.
    fn ask(&self, base: &str, names: &[&str]) -> BTreeMap<String, Value> {
        answers(&self.lines(base, names))
    }

    fn lines(&self, base: &str, names: &[&str]) -> String {
        let line = json!({ "base": base, "seed": 1, "names": names });
        let command = || {
            let mut command = self.command();
            command.arg("--worker");
            command
        };
        worker::ask(self.name, command, &line.to_string())
    }
}

/// The answer of each operation.
fn answers(lines: &str) -> BTreeMap<String, Value> {
    let answer = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let name = line["operation"].as_str().unwrap().to_owned();
        assert_ne!(name, "failed", "{line}");
        (name, line["answer"].take())
    };
    lines.lines().map(answer).collect()
}

/// Records all operations of a program through the base URL, and replays them.
async fn replays_through_the_base_url(program: &Program) -> Option<BTreeMap<String, Value>> {
    if !program.is_installed() {
        return None;
    }
    let (project, server) = (Project::new(), Realtime::start().await);
    let mut all = Vec::new();
    for (mode, upstream) in [("record", server.url.as_str()), ("strict", NOWHERE)] {
        let more: &[&str] = if mode == "record" { &["--allow-ci"] } else { &[] };
        let proxy = project.proxy(mode, upstream, more);
        all.push(program.ask(&proxy.url, &[]));
        let stopped = proxy.stop();
        assert_eq!(stopped.code(), 0, "{mode}: {}", stopped.stderr);
    }
    let sessions = server.sessions();
    let is_authorized = |name: &str| format!("Bearer {KEY}") == name;
    assert!(
        sessions
            .iter()
            .all(|session| is_authorized(session.headers["authorization"].to_str().unwrap()))
    );
    assert_eq!(sessions.len(), all[0].len());
    let replayed = all.pop();
    assert_eq!(all.pop(), replayed);
    replayed
}

/// The text of a transcription whose deltas make that text.
fn transcribed(answer: &Value) -> String {
    let events = answer.as_array().unwrap();
    let deltas = events
        .iter()
        .filter(|event| event["type"] == "transcription.text.delta");
    let text: String = deltas.map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(events.last().unwrap()["text"], text, "{events:?}");
    assert_eq!(
        text.split_whitespace().count() - text.matches("à Marseille").count(),
        3,
        "{text}"
    );
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_clients_replay_through_the_base_url() {
    let Some(answers) = replays_through_the_base_url(&PYTHON).await else {
        return;
    };
    let text = transcribed(&answers["transcribe"]);
    assert_eq!(transcribed(&answers["transcribe, cut differently"]), text);
    let spoken = answers["speak"].as_array().unwrap();
    assert_eq!(spoken[1]["session"]["voice"], "fr_marie_neutral");
    assert_eq!(spoken.last().unwrap()["type"], "speech.audio.done");
    assert_eq!(answers["bare"].as_array().unwrap().len(), 4, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_clients_replay_through_the_base_url() {
    let Some(answers) = replays_through_the_base_url(&NODE).await else {
        return;
    };
    let text = transcribed(&answers["transcribe"]);
    assert_eq!(transcribed(&answers["transcribe, cut differently"]), text);
    assert_eq!(answers["bare"].as_array().unwrap().last().unwrap(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_the_python_client_replays_for_the_typescript_client() {
    if !PYTHON.is_installed() || !NODE.is_installed() {
        return;
    }
    let (project, server) = (Project::new(), Realtime::start().await);
    let proxy = project.proxy("record", &server.url, &["--allow-ci"]);
    let recorded = PYTHON.ask(&proxy.url, &["transcribe"]);
    assert_eq!(proxy.stop().code(), 0);
    let proxy = project.proxy("strict", NOWHERE, &[]);
    let replayed = NODE.ask(&proxy.url, &["transcribe, cut differently"]);
    let stopped = proxy.stop();
    assert_eq!(stopped.code(), 0, "{}", stopped.stderr);
    assert_eq!(
        transcribed(&recorded["transcribe"]),
        transcribed(&replayed["transcribe, cut differently"])
    );
    assert_eq!(cassettes(&project.cassettes()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_an_exception_of_the_python_client_with_the_reason() {
    if !PYTHON.is_installed() {
        return;
    }
    let project = Project::new();
    let proxy = project.proxy("strict", NOWHERE, &[]);
    for name in ["transcribe", "speak", "bare"] {
        let raised = PYTHON.lines(&proxy.url, &[name]);
        let is_clear = raised.contains("4404") && raised.contains("not recorded: GET /v1/audio/");
        assert!(is_clear, "{name}: {raised}");
    }
    assert_eq!(proxy.stop().code(), 1);
}

/// `wss://api.mistral.ai`, with an HTTPS upstream that has a certificate for that name.
#[tokio::test(flavor = "multi_thread")]
async fn unmodified_clients_replay_through_interception_with_the_upstream_gone() {
    let programs: Vec<Program> = [PYTHON, NODE].into_iter().filter(Program::is_installed).collect();
    if programs.is_empty() {
        return;
    }
    let authority = Authority::new();
    let server = Realtime::start_tls(authority.server(&["api.mistral.ai", "127.0.0.1"])).await;
    let project = Project::new();
    project.write("authority.pem", authority.pem());
    // At the same time, each with a seed of its own.
    let mut script = String::new();
    for (seed, program) in programs.iter().enumerate() {
        let command = program.command();
        let program = [command.get_program()].into_iter().chain(command.get_args());
        let words: Vec<_> = program.map(|word| word.to_str().unwrap()).collect();
        script.push_str(&format!("{} {seed} > {seed}.txt & all=\"$all $!\"\n", words.join(" ")));
    }
    script.push_str("for one in $all; do wait $one || exit 1; done; cat *.txt\n");
    let intercept = format!("--intercept=api.mistral.ai={}", server.url);
    let run = |mode: &str, more: &[&str]| {
        let mut command = project.command(&["run", "--mode", mode, "--allow-ci", &intercept]);
        command.args(more).args(["--", "sh", "-c", &script]);
        command.env("SSL_CERT_FILE", project.path().join("authority.pem"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let done = done(&mut command);
        assert_eq!(done.code(), 0, "{mode}: {}\n{}", done.stderr, done.stdout);
        done
    };
    let recorded = run("record", &[]);
    let sessions = server.sessions().len();
    drop(server);
    let replayed = run("strict", &["--block-network"]);
    assert_eq!(recorded.stdout, replayed.stdout);
    assert_eq!(recorded.stdout.lines().count(), sessions);
    let summary = format!("{sessions} replayed, 0 recorded\n");
    assert!(replayed.stderr.contains(&summary), "{}", replayed.stderr);
}
