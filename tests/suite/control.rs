//! The control channel of `serve`: sessions of a test runner, with the real binary.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::support::project::Project;
use crate::support::realtime::{Realtime, SPEECH};
use crate::support::server::{Reply, Server};
use crate::support::websocket::Client;
use crate::support::wire::{Answer, ask};

/// A running `serve`; it is killed when dropped.
struct Runner {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    ready: Value,
}

impl Runner {
    fn start(project: &Project, upstream: &str, more: &[&str]) -> Self {
        let mut arguments = vec!["serve", "--control", "stdio", "--upstream", upstream];
        arguments.extend(more);
        let mut child = project
            .command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let ready = read(&mut answers);
        Self {
            child,
            commands,
            answers,
            ready,
        }
    }

    /// Sends a command, and returns its answer.
    fn send(&mut self, command: &Value) -> Value {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        read(&mut self.answers)
    }

    /// What a command has done.
    fn done(&mut self, command: &Value) -> Value {
        let answer = self.send(command);
        assert_eq!(
            (&answer["id"], &answer["error"]),
            (&command["id"], &Value::Null),
            "{answer}"
        );
        answer["ok"].clone()
    }

    fn open(&mut self, command: Value) -> (u64, String) {
        let mut command = command;
        command["id"] = 1.into();
        command["do"] = "open".into();
        let opened = self.done(&command);
        let session = opened["session"].as_u64().unwrap();
        (session, opened["base_url"].as_str().unwrap().to_owned())
    }

    fn verdict(&mut self, session: impl Into<Value>) -> Value {
        self.done(&json!({ "id": 2, "do": "verdict", "session": session.into() }))
    }

    fn close(&mut self, session: u64) -> Value {
        self.done(&json!({ "id": 3, "do": "close", "session": session }))
    }

    /// Ends standard input. Returns the exit status and standard error.
    fn end(mut self) -> (i32, String) {
        drop(self.commands.take());
        let status = self.child.wait().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut text).unwrap();
        (status.code().unwrap(), text)
    }

    fn base(&self) -> String {
        self.ready["base_url"].as_str().unwrap().to_owned()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(answers: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Asks for a chat completion at a base URL with or without a scope.
async fn chat(base: &str, question: &str) -> Answer {
    let body = json!({ "model": "mistral-small-latest", "messages": [{ "role": "user", "content": question }] });
    let (host, scope) = match base.split_once("/c/") {
        Some((host, scope)) => (host, format!("/c/{scope}")),
        None => (base, String::new()),
    };
    ask(host, &format!("POST {scope}/v1/chat/completions"), body.to_string()).await
}

async fn api() -> Server {
    Server::start(|_, _| {
        let answer = json!({
            "id": "x", "object": "chat.completion", "model": "mistral-small-latest", "created": 1,
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Hi" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10 },
        });
        Reply::json(answer.to_string())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_test_of_a_runner_has_a_session_and_a_verdict() {
    let (project, api) = (Project::new(), api().await);
    let mut runner = Runner::start(&project, &api.url, &[]);
    assert_eq!(
        (&runner.ready["protocol"], &runner.ready["mode"]),
        (&1.into(), &"replay".into())
    );
    assert!(runner.ready["environment"]["HTTPS_PROXY"].is_string() && runner.ready["ca_file"].is_string());

    // A request without a scope belongs to the current session, one with a scope to that of the scope.
    let (first, _) = runner.open(json!({ "scope": "a", "test": "test_a" }));
    let (second, in_second) = runner.open(json!({ "scope": "b", "current": false }));
    assert_eq!(chat(&runner.base(), "one").await.status, 200);
    assert_eq!(chat(&in_second, "two").await.status, 200);
    assert_eq!(chat(&in_second, "two").await.status, 200);
    let verdict = runner.verdict(first);
    assert_eq!(verdict["outcome"], "recorded");
    assert_eq!(verdict["requests"][0]["scope"], "a");
    let verdict = runner.verdict(second);
    assert_eq!(verdict["outcome"], "partial");
    assert_eq!(verdict["requests"][1]["detail"], "1 of 1");
    assert_eq!(verdict["saved"]["tokens"], 10);
    assert!(verdict["saved"]["dollars"].as_f64().unwrap() > 0.0);
    for session in [first, second] {
        assert_eq!(runner.close(session)["saved"], 1);
    }
    let tree = project.tree();
    let file = tree.keys().find(|name| name.starts_with("cassettes/a/")).unwrap();
    assert!(String::from_utf8_lossy(&tree[file]).contains("test: test_a"));

    // A test that was renamed.
    let (renamed, _) = runner.open(json!({ "scope": "renamed", "mode": "strict" }));
    assert_eq!(chat(&runner.base(), "one").await.status, 424);
    let hint = runner.verdict(renamed)["failures"][0]["hint"].to_string();
    assert!(
        hint.contains("rename the folder a in the cassette directory to renamed"),
        "{hint}"
    );
    runner.close(renamed);

    // The mode is that of the session, and a new session begins with the first response. The miss is in its verdict.
    let (third, _) = runner.open(json!({ "scope": "a", "mode": "strict" }));
    assert_eq!(chat(&runner.base(), "three").await.status, 424);
    let verdict = runner.verdict(third);
    assert_eq!(verdict["outcome"], "missed");
    let text = verdict["failures"][0]["text"].as_str().unwrap();
    assert!(text.contains("+ three") && text.contains("hint:"), "{text}");
    assert_eq!(verdict["unused"].as_array().unwrap().len(), 1);
    runner.close(third);
    assert_eq!(api.call_count(), 2);
    assert_eq!(runner.end(), (0, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_session_is_in_the_verdict_of_its_test() {
    let (project, api) = (Project::new(), Realtime::start().await);
    let mut runner = Runner::start(&project, &api.url, &[]);
    let url = runner.base();
    let (recording, _) = runner.open(json!({ "scope": "a" }));
    let mut client = Client::open(&url, SPEECH).await;
    client.speak(&["Bonjour"]).await;
    client.close().await;
    let verdict = runner.verdict(recording);
    assert_eq!(
        (&verdict["outcome"], &verdict["requests"][0]["path"]),
        (&"recorded".into(), &SPEECH.into())
    );
    assert_eq!(runner.close(recording)["saved"], 1);

    for (text, outcome) in [("Bonjour", "replayed"), ("Bonsoir", "missed")] {
        let (replaying, _) = runner.open(json!({ "scope": "a", "mode": "strict" }));
        let mut client = Client::open(&url, SPEECH).await;
        client.say(json!({ "type": "input_text.append", "text": text })).await;
        if outcome == "replayed" {
            client.speak(&[]).await;
            client.close().await;
        } else {
            assert_eq!(client.closing().await.unwrap().0, 4404);
        }
        let verdict = runner.verdict(replaying);
        assert_eq!(verdict["outcome"], outcome, "{verdict}");
        if outcome == "missed" {
            let text = verdict["failures"][0]["text"].as_str().unwrap();
            assert!(text.contains("message 1") && text.contains("Bonsoir"), "{text}");
        }
        runner.close(replaying);
    }
    assert_eq!(api.sessions().len(), 1);
    assert_eq!(runner.end(), (0, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_test_has_recorded_can_be_discarded() {
    let (project, api) = (Project::new(), api().await);
    let mut runner = Runner::start(&project, &api.url, &[]);
    for (scope, is_kept) in [("fails", false), ("passes", true)] {
        let (session, _) = runner.open(json!({ "scope": scope, "save": "on_success" }));
        assert_eq!(chat(&runner.base(), "one").await.status, 200);
        assert_eq!(runner.verdict(session)["outcome"], "recorded");
        if !is_kept {
            assert_eq!(
                runner.done(&json!({ "id": 4, "do": "discard", "session": session }))["discarded"],
                1
            );
        }
        assert_eq!(runner.close(session)["saved"], usize::from(is_kept));
        let is_there = project
            .tree()
            .keys()
            .any(|name| name.starts_with(&format!("cassettes/{scope}/")));
        assert_eq!(is_there, is_kept);
    }
    // A runner that ends without closing its session has not said that the test succeeded.
    runner.open(json!({ "scope": "unknown", "save": "on_success" }));
    assert_eq!(chat(&runner.base(), "one").await.status, 200);
    let (status, text) = runner.end();
    assert_eq!(status, 0);
    assert!(
        text.contains("1 recording not saved: the session in the scope unknown was not closed"),
        "{text}"
    );
    assert!(!project.cassettes().join("unknown").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_no_session_and_wrong_commands_are_errors() {
    let (project, api) = (Project::new(), api().await);
    let mut runner = Runner::start(&project, &api.url, &[]);
    assert_eq!(chat(&runner.base(), "one").await.status, 400);
    let verdict = runner.verdict(Value::Null);
    assert_eq!(verdict["outcome"], "failed");
    assert_eq!(verdict["requests"][0]["path"], "/v1/chat/completions");
    for (command, message) in [
        (json!({ "id": 1, "do": "open" }), "missing field `scope`"),
        (json!({ "id": 1, "do": "open", "scope": "a b" }), "invalid scope"),
        (json!({ "id": 1, "do": "open", "scope": "a", "mode": "x" }), "mode"),
        (
            json!({ "id": 1, "do": "open", "scope": "a", "settings": "none.yaml" }),
            "none.yaml",
        ),
        (json!({ "id": 1, "do": "verdict", "session": 9 }), "no open session 9"),
        (json!({ "id": 1, "do": "what" }), "unknown variant"),
    ] {
        let answer = runner.send(&command);
        let text = answer["error"]["text"].as_str().unwrap_or_default();
        assert!(answer["id"] == 1 && text.contains(message), "{answer}");
    }
    let (session, _) = runner.open(json!({ "scope": "a" }));
    let answer = runner.send(&json!({ "id": 1, "do": "discard", "session": session }));
    assert!(
        answer["error"]["hint"].as_str().unwrap().contains("on_success"),
        "{answer}"
    );
    let (status, text) = runner.end();
    assert!(status == 1 && text.contains("no session is current"), "{text}");
    assert_eq!(api.call_count(), 0);
}

/// A request that never ends must not keep the process, whose runner has gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_keep_the_process() {
    let project = Project::new();
    let api = Server::start(|_, _| {
        let (sender, reply) = Reply::directed("application/json");
        // Never sent, and not dropped.
        std::mem::forget(sender);
        reply
    })
    .await;
    let mut runner = Runner::start(&project, &api.url, &[]);
    let (session, base) = runner.open(json!({ "scope": "a" }));
    let request = tokio::spawn(async move { chat(&base, "one").await });
    while api.call_count() == 0 {
        tokio::task::yield_now().await;
    }
    let verdict = runner.done(&json!({ "id": 2, "do": "verdict", "session": session, "wait_ms": 1 }));
    assert_eq!(
        (&verdict["outcome"], verdict["in_progress"].as_u64() > Some(0)),
        (&"none".into(), true)
    );
    let pid = rustix::process::Pid::from_raw(runner.child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::task::block_in_place(|| runner.child.wait()).unwrap();
    assert_eq!(status.code(), Some(2));
    let ca = std::path::PathBuf::from(runner.ready["ca_file"].as_str().unwrap());
    assert!(!ca.exists(), "{}", ca.display());
    request.abort();
}
