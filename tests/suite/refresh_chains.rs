//! `refresh` of requests that use values of earlier responses: the same program replays afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;

use mistral_cassette::client::Client;
use mistral_cassette::{Mode, Recorder, Request, Scope};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::kills::{Hit, Kills, rounds};
use crate::support::project::{Done, Project, done};
use crate::support::resources;
use crate::support::server::{Call, Reply, Server};
use crate::support::session;
use crate::support::skip::{is_installed, is_left_out};

/// A program in one scope. All its requests must succeed or get the status that the program expects.
struct Program {
    client: Client,
    recorder: Recorder,
}

impl Program {
    fn new(directory: &Path, scope: &str, mode: Mode, upstream: &str) -> Self {
        let scope = Scope::new(scope).unwrap();
        let (client, recorder) = session(directory, mode, upstream, |recorder| recorder.scope(scope));
        Self { client, recorder }
    }

    async fn send(&self, request: Request) -> (u16, Value) {
        let line = format!("{} {}", request.method(), request.path());
        let response = self
            .client
            .request(request)
            .await
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        self.send(Request::get(path).unwrap()).await.1
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.send(Request::post(path).unwrap().json(body).unwrap()).await.1
    }

    async fn delete(&self, path: &str) -> u16 {
        self.send(Request::delete(path).unwrap()).await.0
    }

    async fn upload(&self, path: &str, content: &str) -> String {
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n{content}\r\n--b--\r\n"
        );
        let kind = http::HeaderValue::from_static("multipart/form-data; boundary=b");
        let request = Request::post(path)
            .unwrap()
            .body(body)
            .header(http::header::CONTENT_TYPE, kind);
        id(&self.send(request).await.1)
    }

    async fn finish(self) {
        self.recorder.finish().await.unwrap();
    }
}

fn id(value: &Value) -> String {
    value["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no id: {value}"))
        .to_owned()
}

/// A random program: each step uses what earlier steps have made.
#[derive(Default)]
struct Made {
    files: Vec<String>,
    deleted: Vec<String>,
    urls: Vec<String>,
    agents: Vec<String>,
    /// Each conversation with its last entry.
    conversations: Vec<(String, String)>,
    libraries: Vec<String>,
    /// Each document with its library.
    documents: Vec<(String, String)>,
    messages: Vec<Value>,
}

fn pick<'a, T>(all: &'a [T], number: &mut impl FnMut(usize) -> usize) -> Option<&'a T> {
    match all.len() {
        0 => None,
        count => Some(&all[number(count)]),
    }
}

async fn wait(program: &Program, path: &str, member: &str, end: &str) -> Value {
    for _ in 0..20 {
        let state = program.get(path).await;
        if state[member] == end {
            return state;
        }
    }
    panic!("{path} does not end");
}

async fn random_step(program: &Program, made: &mut Made, number: &mut impl FnMut(usize) -> usize) {
    match number(15) {
        0 | 1 => {
            let content = format!("content {}", number(3));
            made.files.push(program.upload("/v1/files", &content).await);
        }
        2 => match number(3) {
            0 => drop(program.get("/v1/files").await),
            _ => drop(program.get(&format!("/v1/files?page_size=2&page={}", number(2))).await),
        },
        3 => {
            if let Some(file) = pick(&made.files, number) {
                assert_eq!(id(&program.get(&format!("/v1/files/{file}")).await), *file);
            }
        }
        4 => {
            if let Some(file) = pick(&made.files, number) {
                let url = program.get(&format!("/v1/files/{file}/url")).await;
                let url = url["url"].as_str().unwrap().to_owned();
                let document = json!({ "type": "document_url", "document_url": url });
                let read = program
                    .post("/v1/ocr", &json!({ "model": "ocr", "document": document }))
                    .await;
                assert_eq!(read["pages"][0]["markdown"], "# A page");
                made.urls.push(url);
            }
        }
        5 if made.files.len() > 1 => {
            let file = made.files.remove(number(made.files.len()));
            assert_eq!(program.delete(&format!("/v1/files/{file}")).await, 200);
            made.deleted.push(file);
        }
        6 => {
            if let Some(file) = pick(&made.deleted, number) {
                let (status, _) = program.send(Request::get(&format!("/v1/files/{file}")).unwrap()).await;
                assert_eq!(status, 404);
            }
        }
        7 => {
            if let Some(file) = pick(&made.files, number).cloned() {
                let job = json!({ "input_files": [file], "model": "m", "endpoint": "/v1/chat/completions" });
                let job = id(&program.post("/v1/batch/jobs", &job).await);
                let job = wait(program, &format!("/v1/batch/jobs/{job}"), "status", "SUCCESS").await;
                let output = job["output_file"].as_str().unwrap().to_owned();
                program.get(&format!("/v1/files/{output}/content")).await;
                made.files.push(output);
            }
        }
        8 => {
            let agent = json!({ "model": "m", "name": format!("agent {}", number(2)) });
            made.agents.push(id(&program.post("/v1/agents", &agent).await));
        }
        9 => {
            if let Some(agent) = pick(&made.agents, number) {
                let started = program
                    .post("/v1/conversations", &json!({ "agent_id": agent, "inputs": "hello" }))
                    .await;
                made.conversations.push((
                    started["conversation_id"].as_str().unwrap().to_owned(),
                    id(&started["outputs"][0]),
                ));
            }
        }
        10 => {
            let count = made.conversations.len();
            if count > 0 {
                let (conversation, entry) = &mut made.conversations[number(count)];
                let path = format!("/v1/conversations/{conversation}");
                let more = program
                    .post(&path, &json!({ "inputs": format!("more {}", number(3)) }))
                    .await;
                *entry = id(&more["outputs"][0]);
            }
        }
        11 => {
            if let Some((conversation, entry)) = pick(&made.conversations, number).cloned() {
                let path = format!("/v1/conversations/{conversation}/restart");
                let again = program
                    .post(&path, &json!({ "inputs": "again", "from_entry_id": entry }))
                    .await;
                let conversation = again["conversation_id"].as_str().unwrap().to_owned();
                made.conversations.push((conversation, id(&again["outputs"][0])));
            }
        }
        12 => made
            .libraries
            .push(id(&program.post("/v1/libraries", &json!({ "name": "ours" })).await)),
        13 => {
            if let Some(library) = pick(&made.libraries, number).cloned() {
                let documents = format!("/v1/libraries/{library}/documents");
                let document = program.upload(&documents, &format!("text {}", number(2))).await;
                wait(
                    program,
                    &format!("{documents}/{document}/status"),
                    "processing_status",
                    "Completed",
                )
                .await;
                made.documents.push((library, document));
            }
        }
        14 if !made.documents.is_empty() && number(2) == 0 => {
            let (library, document) = made.documents.remove(number(made.documents.len()));
            let path = format!("/v1/libraries/{library}/documents");
            assert_eq!(program.delete(&format!("{path}/{document}")).await, 204);
            program.get(&path).await;
        }
        _ => chat(program, &mut made.messages).await,
    }
}

/// Continues a chat that begins with a tool call.
async fn chat(program: &Program, messages: &mut Vec<Value>) {
    if messages.is_empty() {
        messages.push(json!({ "role": "user", "content": "What is it?" }));
    }
    let tools = json!([{ "type": "function", "function": { "name": "look", "parameters": {} } }]);
    let body = json!({ "model": "m", "messages": messages, "tools": tools });
    let answer = program.post("/v1/chat/completions", &body).await;
    let message = answer["choices"][0]["message"].clone();
    let next = match message["tool_calls"][0]["id"].as_str() {
        Some(call) => json!({ "role": "tool", "tool_call_id": call, "content": "it" }),
        None => json!({ "role": "user", "content": "And now?" }),
    };
    messages.extend([message, next]);
}

async fn random_program(program: &Program, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut number = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 40).unwrap() % below
    };
    let mut made = Made::default();
    for _ in 0..4 + number(14) {
        random_step(program, &mut made, &mut number).await;
    }
}

fn refresh(project: &Project, upstream: &str, more: &[&str]) -> Done {
    project.run(&[&["refresh", "--upstream", upstream], more].concat())
}

/// `MISTRAL_CASSETTE_SEED` takes the seed of an earlier run.
fn seed() -> u64 {
    let given = std::env::var("MISTRAL_CASSETTE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

/// Random programs, ten in each directory: 60, or with `MISTRAL_CASSETTE_ROUNDS` five for each round.
#[tokio::test(flavor = "multi_thread")]
async fn random_chains_replay_after_a_refresh() {
    if is_left_out() {
        return;
    }
    const PROGRAMS: u64 = 10;
    let directories = u64::try_from(rounds()).unwrap().div_ceil(2);
    let seed = seed();
    println!("seed {seed}");
    for directory in 0..directories {
        let (project, server) = (Project::new(), resources::start(seed % 1000 + directory).await);
        let programs = || (0..PROGRAMS).map(|number| seed * 10_000 + directory * PROGRAMS + number);
        for number in programs() {
            let program = Program::new(&project.cassettes(), &format!("p{number}"), Mode::Record, &server.url);
            random_program(&program, number).await;
            program.finish().await;
        }
        let before: BTreeMap<String, Vec<u8>> = project.tree();
        let server = resources::start(seed % 1000 + 500 + directory * 7).await;
        let done = refresh(&project, &server.url, &[]);
        let context = format!("seed {seed}, directory {directory}: {}{}", done.stdout, done.stderr);
        assert_eq!(done.code(), 1, "{context}");
        for number in programs() {
            println!("program {number}");
            let program = Program::new(
                &project.cassettes(),
                &format!("p{number}"),
                Mode::Strict,
                "http://127.0.0.1:9",
            );
            random_program(&program, number).await;
            program.finish().await;
        }
        assert_eq!(project.tree().len(), before.len(), "{context}");
        let verified = project.run(&["verify", "--references"]);
        assert_eq!(verified.code(), 0, "{context}{}", verified.stdout);
    }
}

/// A killed refresh changes each chain completely or not at all, and the next one completes the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_refresh_of_chains_resumes() {
    if is_left_out() {
        return;
    }
    let (project, server) = (Project::new(), resources::start(1).await);
    let programs = async |mode, upstream: &str| {
        for number in 0..4 {
            let program = Program::new(&project.cassettes(), &format!("p{number}"), mode, upstream);
            random_program(&program, number).await;
            program.finish().await;
        }
    };
    programs(Mode::Record, &server.url).await;
    let original = project.tree();
    let begin_again = || {
        std::fs::remove_dir_all(project.cassettes()).unwrap();
        for (name, text) in &original {
            project.write(name, text);
        }
    };
    let run = |server: &Server| {
        let mut command = project.command(&["refresh", "--upstream", &server.url, "--at-once", "2"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let journal = project.cassettes().join(".refresh/journal.jsonl");
    let has_begun = || std::fs::read_to_string(&journal).is_ok_and(|journal| journal.matches('\n').count() > 1);
    let mut kills = Kills::new("refresh of chains");
    for seed in [2, 3] {
        begin_again();
        kills.measure(&mut run(&resources::start(seed).await), has_begun);
    }
    while let Some(round) = kills.next_round() {
        begin_again();
        let server = resources::start(100 + round as u64).await;
        let round = kills.end(&mut run(&server), Signal::KILL, has_begun);
        assert_eq!(project.run(&["verify"]).code(), 0, "{round}");
        let is_left = has_begun();
        let is_changed = original
            .iter()
            .any(|(name, text)| project.tree().get(name) != Some(text));
        kills.note(match (is_left, is_changed) {
            (true, _) => Hit::Middle,
            (false, false) => Hit::Before,
            (false, true) => Hit::Behind,
        });
        let done = refresh(&project, &server.url, &[]);
        assert_ne!(done.code(), 2, "{round}: {}{}", done.stdout, done.stderr);
        programs(Mode::Strict, "http://127.0.0.1:9").await;
    }
    kills.tell();
}

/// The official client, in one process for all chains: recorded, refreshed against a server with other ids, and replayed.
#[tokio::test(flavor = "multi_thread")]
async fn chains_of_the_official_python_client_replay_after_a_refresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    if !is_installed(python.exists(), &python.display().to_string()) {
        return;
    }
    let project = Project::new();
    let run = |flags: &[&str]| {
        let mut command = project.command(&["run"]);
        command
            .args(flags)
            .arg("--")
            .arg(&python)
            .arg(root.join("tests/sdks/chains.py"));
        done(command.env("PYTHONDONTWRITEBYTECODE", "1"))
    };
    let server = resources::start(1).await;
    let recorded = run(&["--mode", "record", "--allow-ci", "--upstream", &server.url]);
    assert_eq!(recorded.code(), 0, "{}{}", recorded.stdout, recorded.stderr);
    let before = project.tree();
    let server = resources::start(2).await;
    let refreshed = refresh(&project, &server.url, &[]);
    assert_eq!(refreshed.code(), 1, "{}{}", refreshed.stdout, refreshed.stderr);
    let replayed = run(&["--mode", "strict"]);
    assert_eq!(
        (replayed.code(), replayed.stdout.as_str()),
        (0, "done\n"),
        "{}",
        replayed.stderr
    );
    assert_ne!(project.tree(), before);
}

/// What is sent and spent is what the server counts, also if the budget is spent in the middle, and the rest follows later.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_sent_within_the_budget_and_counted() {
    let (project, server) = (Project::new(), resources::start(1).await);
    project.write("prices.yaml", resources::PRICES);
    let document = Program::new(&project.cassettes(), "a", Mode::Record, &server.url);
    let file = document.upload("/v1/files", "content").await;
    let url = document.get(&format!("/v1/files/{file}/url")).await["url"].clone();
    let read = json!({ "model": "ocr", "document": { "type": "document_url", "document_url": url } });
    document.post("/v1/ocr", &read).await;
    document.finish().await;
    let talk = Program::new(&project.cassettes(), "b", Mode::Record, &server.url);
    let mut messages = Vec::new();
    for _ in 0..2 {
        chat(&talk, &mut messages).await;
    }
    talk.finish().await;

    let (server, bill) = resources::start_with_bill(2).await;
    let run = |dollars: &str| {
        let before = (server.call_count(), bill());
        let flags = ["--prices", "prices.yaml", "--max-cost", dollars, "--at-once", "1"];
        let done = refresh(&project, &server.url, &flags);
        assert_ne!(done.code(), 2, "{}{}", done.stdout, done.stderr);
        let (sent, spent) = (server.call_count() - before.0, bill() - before.1);
        let counted = format!(", {sent} requests sent, ${spent}.00 spent\n");
        assert!(done.stdout.ends_with(&counted), "{counted}{}", done.stdout);
        (sent, spent, done.stdout.matches("left: the budget is spent").count())
    };
    assert_eq!(run("3"), (3, 1, 2));
    assert_eq!(run("3.99"), (0, 0, 2));
    assert_eq!(run("4"), (2, 4, 0));
}

/// A job that takes longer than in the recording is asked for again, within `--max-requests`.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_requests_for_the_state_of_a_job_count() {
    let (project, server) = (Project::new(), resources::start(1).await);
    let program = async |mode, upstream: &str| {
        let program = Program::new(&project.cassettes(), "p", mode, upstream);
        let file = program.upload("/v1/files", "content").await;
        let job = json!({ "input_files": [file], "model": "m", "endpoint": "/v1/chat/completions" });
        let job = id(&program.post("/v1/batch/jobs", &job).await);
        let job = wait(&program, &format!("/v1/batch/jobs/{job}"), "status", "SUCCESS").await;
        let output = job["output_file"].as_str().unwrap();
        program.get(&format!("/v1/files/{output}/content")).await;
        program.finish().await;
    };
    program(Mode::Record, &server.url).await;
    let before = project.tree();
    // Two requests for the state were recorded, and this server needs four.
    let server = resources::start(3).await;
    let run = |limit: &str| refresh(&project, &server.url, &["--max-requests", limit]);
    let done = run("6");
    assert!(
        done.stdout.contains("left: the budget is spent") && done.stdout.contains(", 5 requests sent, "),
        "{}",
        done.stdout
    );
    assert_eq!(
        (server.call_count(), project.tree().keys().eq(before.keys())),
        (5, true)
    );
    program(Mode::Strict, "http://127.0.0.1:9").await;
    let server = resources::start(3).await;
    let done = refresh(&project, &server.url, &["--max-requests", "7"]);
    assert!(done.stdout.contains(", 7 requests sent, "), "{}", done.stdout);
    assert_eq!((done.code(), server.call_count()), (1, 7), "{}", done.stdout);
    program(Mode::Strict, "http://127.0.0.1:9").await;
}

/// Requests that create, change or delete something are listed and not sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_sends_no_request_that_writes() {
    let (project, server) = (Project::new(), resources::start(1).await);
    let program = Program::new(&project.cassettes(), "p", Mode::Record, &server.url);
    let file = program.upload("/v1/files", "content").await;
    program.get(&format!("/v1/files/{file}")).await;
    program.get("/v1/files").await;
    program.get("/v1/files/unknown").await;
    program.delete(&format!("/v1/files/{file}")).await;
    program
        .post("/v1/chat/completions", &json!({ "model": "m", "messages": [] }))
        .await;
    program.finish().await;
    let before = project.tree();
    let server = resources::start(1).await;
    let dry = refresh(&project, &server.url, &["--dry-run"]);
    let mut sent: Vec<String> = server
        .calls()
        .iter()
        .map(|call| format!("{} {}", call.method, call.target))
        .collect();
    sent.sort();
    // The completion stores nothing, and no response made what the other request reads.
    assert_eq!(
        sent,
        ["GET /v1/files/unknown", "POST /v1/chat/completions"],
        "{}",
        dry.stdout
    );
    assert!(
        dry.stdout
            .contains("left: a dry run sends no request that writes; --send-writes sends it")
            && dry
                .stdout
                .contains("left: it needs the response of a request that a dry run does not send"),
        "{}",
        dry.stdout
    );
    let sent = server.call_count();
    refresh(&project, &server.url, &["--dry-run", "--send-writes"]);
    assert_eq!(server.call_count() - sent, 6);
    assert_eq!(project.tree(), before);
}

/// No value says that a page was read before a file of another page was deleted: the times of the responses do.
#[tokio::test(flavor = "multi_thread")]
async fn pages_around_deletes_are_read_in_the_recorded_order() {
    let (project, server) = (Project::new(), resources::start(1).await);
    let program = async |mode, upstream: &str| {
        let program = Program::new(&project.cassettes(), "p", mode, upstream);
        let mut files = Vec::new();
        for number in 0..4 {
            files.push(program.upload("/v1/files", &format!("content {number}")).await);
        }
        let mut seen = Vec::new();
        for file in &files[1..] {
            for page in 0..2 {
                let list = program.get(&format!("/v1/files?page_size=2&page={page}")).await;
                let ids = list["data"].as_array().unwrap().iter().map(id);
                let positions = ids.map(|id| files.iter().position(|file| *file == id).unwrap());
                seen.push(positions.collect::<Vec<_>>());
            }
            assert_eq!(program.delete(&format!("/v1/files/{file}")).await, 200);
        }
        program.finish().await;
        seen
    };
    let recorded = program(Mode::Record, &server.url).await;
    let server = resources::start(502).await;
    let done = refresh(&project, &server.url, &[]);
    assert_eq!(done.code(), 1, "{}{}", done.stdout, done.stderr);
    assert_eq!(program(Mode::Strict, "http://127.0.0.1:9").await, recorded);
    // The times of the refresh order the next one.
    let server = resources::start(7).await;
    refresh(&project, &server.url, &[]);
    assert_eq!(program(Mode::Strict, "http://127.0.0.1:9").await, recorded);
}

/// One request of a chain does not fit, so that the complete chain keeps its recordings, and still replays.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_cannot_be_followed_stays_as_it_was() {
    let job = |id: &'static str, output: Value| {
        move |_: usize, call: &Call| match &*call.target {
            "/v1/batch/jobs" => Reply::json(format!(r#"{{"id":"{id}"}}"#)),
            "/v1/models" => Reply::json(format!(r#"{{"data":"those of {}"}}"#, &id[4..])),
            target if target.starts_with("/v1/files") => Reply::json(r#"{"text":"x"}"#),
            _ => Reply::json(json!({ "id": id, "status": "FAILED", "output_file": output }).to_string()),
        }
    };
    let (project, server) = (
        Project::new(),
        Server::start(job("job-1a2b3c4d", "out-1a2b3c4d".into())).await,
    );
    let program = async |mode, upstream: &str| {
        let program = Program::new(&project.cassettes(), "p", mode, upstream);
        let job = id(&program.post("/v1/batch/jobs", &json!({})).await);
        let output = program.get(&format!("/v1/batch/jobs/{job}")).await;
        let output = output["output_file"].as_str().unwrap().to_owned();
        program.get(&format!("/v1/files/{output}/content")).await;
        program.get("/v1/models").await;
        program.finish().await;
    };
    program(Mode::Record, &server.url).await;
    let server = Server::start(job("job-9f8e7d6c", Value::Null)).await;
    let done = refresh(&project, &server.url, &[]);
    assert_eq!(done.code(), 2);
    assert!(
        done.stdout
            .contains("not sent: the new response has no /output_file, which a later request needs")
            && done
                .stdout
                .contains("not saved: it belongs to the chain of p/batch-jobs/")
            && done
                .stdout
                .contains("4 recordings, 1 changed, 0 unchanged, 3 left as they were"),
        "{}",
        done.stdout
    );
    program(Mode::Strict, "http://127.0.0.1:9").await;
    // What is not in the chain is refreshed.
    let models = project
        .tree()
        .into_iter()
        .find(|(name, _)| name.contains("/models/"))
        .unwrap();
    assert!(String::from_utf8_lossy(&models.1).contains("those of 9f8e7d6c"));
}

/// Values that are short, have blanks, are numbers, or words of the assistant in another text; file names that only look like
/// values; states between writes of the same second.
#[tokio::test(flavor = "multi_thread")]
async fn unusual_values_are_followed() {
    let project = Project::new();
    let server = Server::start(unusual("1")).await;
    for reads_first in [true, false] {
        unusual_program(&project, reads_first, Mode::Record, &server.url).await;
    }
    for (name, text) in project.tree() {
        project.write(&name.replacen("cassettes", "old", 1), text);
    }
    let server = Server::start(unusual("22")).await;
    // One chain at a time, because the agents of both programs have one name on this server.
    let done = refresh(&project, &server.url, &["--at-once", "1"]);
    assert_eq!(done.code(), 1, "{}{}", done.stdout, done.stderr);
    // The old and the new request of a step are one row, and only the words of the assistant are others.
    let diff = project.run(&["diff", "old"]);
    let rows = |text: &str| diff.stdout.lines().filter(|line| line.contains(text)).count();
    assert_eq!(diff.code(), 1);
    assert_eq!(
        (rows(": gone"), rows(": new"), rows(": wording")),
        (0, 0, 6),
        "{}",
        diff.stdout
    );
    assert_eq!(
        rows("only volatile fields, with a new request: it was "),
        16,
        "{}",
        diff.stdout
    );
    for reads_first in [true, false] {
        unusual_program(&project, reads_first, Mode::Strict, "http://127.0.0.1:9").await;
    }
}

fn unusual(seed: &'static str) -> impl Fn(usize, &Call) -> Reply {
    let name = Mutex::new(String::new());
    move |_, call| {
        let body = String::from_utf8_lossy(&call.body).into_owned();
        let (path, method) = (&*call.target, &*call.method);
        let (id, number) = (format!("f{seed}"), 40 + seed.len());
        let reply = match (method, path) {
            ("POST", "/v1/files") => {
                json!({ "id": id, "filename": "notes-for-all.txt", "note": format!("new {seed}") })
            }
            ("GET", "/v1/files") => json!({ "data": [{ "id": id, "filename": "notes-for-all.txt" }] }),
            ("GET", _) if path == format!("/v1/files/{id}") => json!({ "id": id }),
            ("DELETE", _) if path == format!("/v1/files/{id}") => json!({ "deleted": true }),
            ("POST", "/v1/jobs") if body.contains(&format!("\"{id}\"")) => json!({ "id": number }),
            ("GET", _) if path == format!("/v1/jobs/{number}") => json!({ "id": number }),
            ("POST", "/v1/agents") => {
                *name.lock().unwrap() = "first".to_owned();
                json!({ "id": format!("agent {seed}+1"), "note": format!("new {seed}") })
            }
            (_, _) if path == format!("/v1/agents/agent%20{seed}%2B1") => {
                if method == "PATCH" {
                    *name.lock().unwrap() = call.json()["name"].as_str().unwrap().to_owned();
                }
                json!({ "id": format!("agent {seed}+1"), "name": *name.lock().unwrap() })
            }
            ("POST", "/v1/chat/completions") => {
                let text = format!("The words of server {seed}, said once.");
                let text = if body.contains("Repeat") {
                    "yes".to_owned()
                } else {
                    text
                };
                json!({ "choices": [{ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }] })
            }
            _ => return Reply::new(404, "application/json", r#"{"message":"not found"}"#),
        };
        Reply::json(reply.to_string())
    }
}

async fn unusual_program(project: &Project, reads_first: bool, mode: Mode, upstream: &str) {
    let program = Program::new(&project.cassettes(), &format!("first-{reads_first}"), mode, upstream);
    let file = program.upload("/v1/files", "content").await;
    let list = program.get("/v1/files").await;
    assert_eq!(list["data"][0]["id"], *file);
    assert_eq!(id(&program.get(&format!("/v1/files/{file}")).await), file);
    let job = program.post("/v1/jobs", &json!({ "input_files": [file] })).await["id"].clone();
    assert_eq!(program.get(&format!("/v1/jobs/{job}")).await["id"], job);
    assert_eq!(program.delete(&format!("/v1/files/{file}")).await, 200);

    let agent = id(&program.post("/v1/agents", &json!({})).await);
    let agent = format!("/v1/agents/{}", agent.replace(' ', "%20").replace('+', "%2B"));
    if reads_first {
        assert_eq!(program.get(&agent).await["name"], "first");
    }
    for name in ["zebra", "apple"] {
        let request = Request::new(http::Method::PATCH, &agent).unwrap();
        program.send(request.json(&json!({ "name": name })).unwrap()).await;
        assert_eq!(program.get(&agent).await["name"], name);
    }

    let ask = |text: String| json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
    let said = program
        .post("/v1/chat/completions", &ask("Say something".to_owned()))
        .await;
    let said = said["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let repeated = program
        .post("/v1/chat/completions", &ask(format!("Repeat: {said}")))
        .await;
    assert_eq!(repeated["choices"][0]["message"]["content"], "yes");
    program.finish().await;
}

/// What no recording has made is not deleted: another object may have its id by now.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_object_is_not_deleted() {
    let (project, server) = (Project::new(), Server::start(|_, _| Reply::json("{}")).await);
    let program = Program::new(&project.cassettes(), "p", Mode::Record, &server.url);
    program.delete("/v1/files/f1").await;
    program.finish().await;
    let done = refresh(&project, &server.url, &[]);
    assert_eq!((done.code(), server.call_count()), (2, 1), "{}", done.stdout);
    assert!(
        done.stdout
            .contains("not sent: it ends something that no other recording of the scope has made"),
        "{}",
        done.stdout
    );
}

/// `verify --references` names an id that no recording returns, without network.
#[tokio::test(flavor = "multi_thread")]
async fn references_are_verified() {
    let (project, server) = (Project::new(), resources::start(1).await);
    let program = Program::new(&project.cassettes(), "p", Mode::Record, &server.url);
    let file = program.upload("/v1/files", "content").await;
    program.get(&format!("/v1/files/{file}/url")).await;
    program.finish().await;
    let verified = project.run(&["verify", "--references"]);
    assert_eq!(
        (verified.code(), verified.stdout.as_str()),
        (0, "2 cassettes, 0 problems\n")
    );
    let tree = project.tree();
    let upload = tree.keys().find(|name| name.contains("/files/")).unwrap();
    std::fs::remove_file(project.path().join(upload)).unwrap();
    assert_eq!(project.run(&["verify"]).code(), 0);
    let verified = project.run(&["verify", "--references"]);
    let expected = format!(": its request names {file}, which no other recording of the scope returns\n");
    assert_eq!(verified.code(), 1);
    assert!(verified.stdout.contains(&expected), "{}", verified.stdout);
}

/// Without `--upstream`, the API key is not sent to another host than the one that recordings are from.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_sent_only_where_recordings_are_from() {
    let (project, server, other) = (Project::new(), resources::start(1).await, resources::start(1).await);
    let program = Program::new(&project.cassettes(), "p", Mode::Record, &server.url);
    program.get("/v1/files").await;
    program.finish().await;
    let refused = project.run(&["refresh"]);
    assert_eq!(refused.code(), 2);
    assert!(
        refused.stderr.contains(&format!(
            "was recorded from {}, and the API key would be sent to https://api.mistral.ai",
            server.url
        )),
        "{}",
        refused.stderr
    );
    let with_url = |url: &str| done(project.command(&["refresh"]).env("MISTRAL_SERVER_URL", url));
    assert_eq!((with_url(&other.url).code(), other.call_count()), (2, 0));
    assert_eq!((with_url(&server.url).code(), server.call_count()), (0, 2));
    assert_eq!((refresh(&project, &other.url, &[]).code(), other.call_count()), (0, 1));
}
