//! `refresh`: drift, chains, recordings that cannot be requested, recordings that do not change.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::api;
use crate::support::kills::{Hit, Kills};
use crate::support::project::{Done, Project};
use crate::support::server::{Reply, Server};
use crate::support::skip::is_left_out;
use crate::support::{KEY, session};
use mistral_cassette::Mode;
use mistral_cassette::client::{
    AppendRequest, ChatMessage, ChatRequest, Client, ConversationRequest, FileUpload, Tool,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A program: a tool conversation of three turns, a conversation stored by the API, a file requested by its id.
async fn program(directory: &Path, mode: Mode, upstream: &str) -> Vec<String> {
    let (client, recorder) = session(directory, mode, upstream, |recorder| recorder.test("program"));
    let mut printed = Vec::new();

    let tool = Tool::with_parameters("get_weather", "The weather", json!({ "type": "object" }));
    let question = ChatRequest::new("m")
        .user("What is the weather in Paris?")
        .with_tool(tool);
    let first = client.chat(question.clone()).await.unwrap();
    let call = first.tool_calls()[0].clone();
    let id = call.id.as_deref().unwrap().to_owned();
    let assistant: ChatMessage = first.choices[0].message.clone();
    let answered = question.message(assistant).tool(id.clone(), "get_weather", "sunny");
    let second = client.chat(answered.clone()).await.unwrap();
    printed.extend([id, second.text()]);
    let third = client
        .chat(answered.assistant(second.text()).user("And tomorrow?"))
        .await
        .unwrap();
    printed.push(third.text());

    let started = client
        .start_conversation(ConversationRequest::with_model("m", "Which wind is cold?"))
        .await
        .unwrap();
    printed.extend([started.conversation_id.clone(), started.text()]);
    for question in ["And which is warm?", "And which is dry?"] {
        let more = client
            .append_to_conversation(&started.conversation_id, AppendRequest::new(question))
            .await
            .unwrap();
        printed.push(more.text());
    }
    let history = client.conversation_history(&started.conversation_id).await.unwrap();
    printed.push(history.conversation_id);

    let file = client
        .upload_file(FileUpload::new("a.txt", "some text").purpose("ocr"))
        .await
        .unwrap();
    printed.push(client.file(&file.id).await.unwrap().id);
    recorder.finish().await.unwrap();
    printed
}

fn refresh(project: &Project, upstream: &str, more: &[&str]) -> Done {
    let mut arguments = vec!["refresh", "--upstream", upstream];
    arguments.extend(more);
    project.run(&arguments)
}

/// A stand-in whose ids differ from those of a new one.
async fn later() -> Server {
    let server = api::start().await;
    let client = Client::builder().api_key(KEY).base_url(&server.url).build().unwrap();
    for _ in 0..25 {
        client.models().await.unwrap();
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_are_requested_with_the_new_ids_and_replay() {
    let (project, server) = (Project::new(), api::start().await);
    let recorded = program(&project.cassettes(), Mode::Record, &server.url).await;
    let files = project.tree().len();
    drop(server);
    let server = later().await;
    let before = project.tree();
    let dry = refresh(&project, &server.url, &["--dry-run"]);
    assert_eq!(dry.code(), 1, "{}{}", dry.stdout, dry.stderr);
    assert_eq!(before, project.tree());
    let done = refresh(&project, &server.url, &[]);
    assert_eq!(done.code(), 1, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("with a new request"), "{}", done.stdout);
    let replayed = program(&project.cassettes(), Mode::Strict, "http://127.0.0.1:9").await;
    assert_ne!(recorded, replayed);
    // The ids of chains with a change are new: not those of the file, of which nothing else has changed. No extra file was left.
    assert_eq!(
        recorded.iter().zip(&replayed).filter(|(old, new)| old == new).count(),
        2,
        "{recorded:?} {replayed:?}"
    );
    assert_eq!(project.tree().len(), files);
    assert_eq!(project.run(&["verify"]).code(), 0);
    // The times of recording stay.
    assert!(
        project
            .tree()
            .values()
            .all(|text| String::from_utf8_lossy(text).contains("test: program"))
    );
}

fn steady() -> impl Fn(usize, &crate::support::server::Call) -> Reply {
    |number, call| {
        let sent_requests = String::from_utf8_lossy(&call.body);
        if sent_requests.contains("stream") {
            return Reply::events(format!(
                "data: {{\"id\":\"{number}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"Paris\"}}}}]}}\n\ndata: [DONE]\n\n"
            ));
        }
        Reply::json(format!(
            r#"{{"id":"{number}","created":{number},"choices":[{{"message":{{"content":"Paris"}}}}]}}"#
        ))
    }
}

async fn ask(project: &Project, upstream: &str, body: &Value) {
    let (client, recorder) = session(&project.cassettes(), Mode::Record, upstream, |recorder| recorder);
    let request = mistral_cassette::Request::post("/v1/chat/completions")
        .unwrap()
        .json(body)
        .unwrap();
    client.request(request).await.unwrap().bytes().await.unwrap();
    recorder.finish().await.unwrap();
}

fn chat(text: &str) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn equivalent_responses_leave_the_file_unchanged() {
    let (project, server) = (Project::new(), Server::start(steady()).await);
    for text in ["one", "two", "stream", "with history"] {
        let mut body = chat(text);
        if text == "with history" {
            let before = json!({ "role": "assistant", "content": "Paris" });
            body["messages"].as_array_mut().unwrap().insert(0, before);
        }
        ask(&project, &server.url, &body).await;
    }
    commit(&project);
    let before = project.tree();
    let done = refresh(&project, &server.url, &[]);
    assert_eq!(project.git(&["status", "--porcelain", "--ignored"]), "");
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (
            0,
            "4 recordings, 0 changed, 4 unchanged, 4 requests sent, $0.00 spent\n"
        ),
        "{}",
        done.stderr
    );
    assert_eq!(before, project.tree());
    assert_eq!(server.call_count(), 8);
    assert_eq!(refresh(&project, &server.url, &["--dry-run"]).code(), 0);
}

/// A recording whose key differs from its file name would never be found.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_with_a_different_key_is_reported_and_not_changed() {
    let (project, server) = (Project::new(), Server::start(steady()).await);
    ask(&project, &server.url, &chat("one")).await;
    let (name, document) = project
        .tree()
        .into_iter()
        .find(|(name, _)| name.ends_with(".yaml"))
        .unwrap();
    let document = String::from_utf8(document).unwrap();
    let key = document.lines().find(|line| line.starts_with("key: ")).unwrap();
    for wrong in ["key: ab", "key: 'ééééééééé'", &format!("key: {}", "0".repeat(64))] {
        project.write(&name, document.replace(key, wrong));
        let before = project.tree();
        let done = refresh(&project, &server.url, &[]);
        assert_eq!(done.code(), 2, "{wrong}: {}", done.stderr);
        assert!(
            done.stderr.contains(&name) && done.stderr.contains("the name has the key"),
            "{}",
            done.stderr
        );
        assert_eq!(before, project.tree());
    }
    assert_eq!(server.call_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_that_cannot_be_requested_again_are_listed_and_not_changed() {
    let (project, server) = (Project::new(), Server::start(steady()).await);
    ask(&project, &server.url, &chat("fine")).await;
    ask(&project, &server.url, &chat(&format!("my key is {KEY}"))).await;
    let before = project.tree();
    let done = refresh(&project, &server.url, &[]);
    assert_eq!(done.code(), 2);
    assert!(
        done.stdout.contains("not sent: it contains a redacted secret"),
        "{}",
        done.stdout
    );
    assert_eq!(before, project.tree());
    drop(server);
    let limited = Server::start(|_, _| Reply::new(401, "application/json", r#"{"detail":"Unauthorized"}"#)).await;
    let before = project.tree();
    let done = refresh(&project, &limited.url, &[]);
    assert_eq!(done.code(), 2);
    assert!(
        done.stderr.contains("the upstream refused the API key (status 401)"),
        "{}",
        done.stderr
    );
    assert!(
        done.stdout
            .contains("failed: the upstream returned the transient error 401")
            && done.stdout.contains("left: the API key was refused"),
        "{}",
        done.stdout
    );
    assert_eq!(before, project.tree());
    assert_eq!(limited.call_count(), 1);

    let no_key = crate::support::project::done(
        project
            .command(&["refresh", "--upstream", &limited.url])
            .env_remove("MISTRAL_API_KEY"),
    );
    assert_eq!(no_key.code(), 2);
    assert!(no_key.stderr.contains("refresh needs an API key"), "{}", no_key.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_tool_call_ends_its_chain_and_is_reported() {
    let call = |city: &str| json!({ "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": { "role": "assistant", "content": "", "tool_calls": [{ "id": "call_abc1", "function": { "name": "f", "arguments": format!("{{\"city\":\"{city}\"}}") } }] } }] });
    let answers = move |city: &'static str| {
        move |_: usize, request: &crate::support::server::Call| {
            let is_first = request.json()["messages"].as_array().unwrap().len() == 1;
            Reply::json(if is_first {
                call(city).to_string()
            } else {
                json!({ "choices": [{ "message": { "content": "sunny" } }] }).to_string()
            })
        }
    };
    let (project, server) = (Project::new(), Server::start(answers("Paris")).await);
    let mut body = chat("weather?");
    ask(&project, &server.url, &body).await;
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(call("Paris")["choices"][0]["message"].clone());
    messages.push(json!({ "role": "tool", "tool_call_id": "call_abc1", "content": "sunny" }));
    ask(&project, &server.url, &body).await;
    let server = Server::start(answers("Lyon")).await;
    let before = project.tree();
    let done = refresh(&project, &server.url, &["--show"]);
    assert_eq!(done.code(), 2);
    // The whole chain stays as it was, and still replays.
    assert!(
        done.stdout
            .contains("tool call, not saved: it belongs to the chain of chat-completions/"),
        "{}",
        done.stdout
    );
    assert_eq!(project.tree(), before);
    assert!(
        done.stdout.contains("not sent: the tool call before it has changed"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains(r#"+ {"city":"Lyon"}"#), "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_selected_and_the_budget_is_respected() {
    let (project, server) = (Project::new(), Server::start(steady()).await);
    for (model, text) in [("small", "one"), ("small", "two"), ("large", "three")] {
        let mut body = chat(text);
        body["model"] = model.into();
        ask(&project, &server.url, &body).await;
    }
    let sent_requests = |more: &[&str]| {
        let before = server.call_count();
        let done = refresh(&project, &server.url, more);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        server.call_count() - before
    };
    let counts: BTreeMap<&str, usize> = BTreeMap::from([
        ("model", sent_requests(&["--model", "small"])),
        ("name", sent_requests(&["three"])),
        ("endpoint", sent_requests(&["--endpoint", "embeddings"])),
        ("old", sent_requests(&["--older-than", "1d"])),
        ("scope", sent_requests(&["--scope", "other"])),
        ("test", sent_requests(&["--test", "nothing"])),
        ("budget", sent_requests(&["--max-requests", "2"])),
    ]);
    let expected = [
        ("budget", 2),
        ("endpoint", 0),
        ("model", 2),
        ("name", 1),
        ("old", 0),
        ("scope", 0),
        ("test", 0),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
    let done = refresh(&project, &server.url, &["--scope", "other", "--model", "small"]);
    assert!(
        done.stderr
            .contains("warning: no recording in cassettes matches --scope other --model small\n"),
        "{}",
        done.stderr
    );
    let old = refresh(&project, &server.url, &["--older-than", "1d"]);
    assert!(!old.stderr.contains("warning"), "{}", old.stderr);
    assert!(old.stdout.contains(", $0.00 spent"), "{}", old.stdout);
    assert_eq!(project.run(&["refresh", "--older-than", "soon"]).code(), 2);
}

/// Makes all recordings two years older.
fn age(project: &Project) {
    let year = regex::Regex::new("(?m)^  at: \"[0-9]{4}").unwrap();
    for (name, text) in project.tree().iter().filter(|(name, _)| name.ends_with(".yaml")) {
        let text = String::from_utf8_lossy(text);
        project.write(name, year.replace(&text, "  at: \"2024").as_ref());
    }
}

/// A weekly job does not pay again for what has not changed; what was not checked as it is now is sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_recording_is_remembered_as_checked() {
    let (project, server) = (Project::new(), Server::start(steady()).await);
    for text in ["one", "two"] {
        ask(&project, &server.url, &chat(text)).await;
    }
    age(&project);
    commit(&project);
    let sent = |server: &Server, more: &[&str]| {
        let before = server.call_count();
        let done = refresh(&project, &server.url, &[&["--older-than", "30d"], more].concat());
        assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
        server.call_count() - before
    };
    let dry = sent(&server, &["--dry-run"]);
    assert_eq!((dry, sent(&server, &[]), sent(&server, &[])), (2, 2, 0));
    // Git shows nothing.
    assert_eq!(project.git(&["status", "--porcelain"]), "");
    let changed = project
        .tree()
        .into_iter()
        .find(|(name, _)| name.contains("/two-"))
        .unwrap();
    let text = String::from_utf8(changed.1).unwrap().replace("Paris", "Rome");
    project.write(&changed.0, text);
    let other = Server::start(steady()).await;
    let is_changed = |server: &Server| {
        let before = server.call_count();
        let done = refresh(&project, &server.url, &["--older-than", "30d"]);
        (done.code(), server.call_count() - before)
    };
    assert_eq!(is_changed(&server), (1, 1));
    // The new recording is not old, and the other one was checked with another upstream.
    assert_eq!((sent(&server, &[]), sent(&other, &[])), (0, 1));

    // A fresh clone with the file that an earlier job has committed.
    project.git(&["clean", "-xdff", "--quiet"]);
    let file = ["--checked", "cassettes/checked.jsonl"];
    assert_eq!((sent(&server, &file), sent(&server, &file)), (1, 0));
    let lines = std::fs::read_to_string(project.cassettes().join("checked.jsonl")).unwrap();
    assert!(
        lines.starts_with(r#"{"name":"chat-completions/one-"#) && lines.lines().count() == 1,
        "{lines}"
    );
    assert_eq!(project.run(&["verify"]).code(), 0);
    assert!(!project.cassettes().join(".refresh").exists());
    project.write("cassettes/checked.jsonl", "<<<<<<< HEAD\n");
    let done = refresh(&project, &server.url, &file);
    assert_eq!(done.code(), 2);
    assert!(
        done.stderr.contains("checked.jsonl:1: the line is not a check"),
        "{}",
        done.stderr
    );
}

fn commit(project: &Project) {
    project.git(&["init", "--quiet"]);
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "--message", "recorded"]);
}

/// The exit status says whether something has changed, and the summary what, for a pull request.
#[tokio::test(flavor = "multi_thread")]
async fn a_summary_shows_the_changes_by_their_meaning() {
    let (project, server) = (Project::new(), Server::start(priced(3)).await);
    for text in ["one", "two | three", &format!("my key is {KEY}")] {
        ask(&project, &server.url, &chat(text)).await;
    }
    let done = refresh(&project, &server.url, &["--summary", "summary.md"]);
    assert_eq!(done.code(), 2, "{}{}", done.stdout, done.stderr);
    let summary = std::fs::read_to_string(project.path().join("summary.md")).unwrap();
    let without_names = regex::Regex::new("`chat-completions/[a-z0-9-]+.yaml`").unwrap();
    insta::assert_snapshot!(without_names.replace_all(&summary, "`NAME`"), @"
    ## Refreshed recordings

    3 recordings: 2 wording; 2 requests sent, $0.00 spent

    | recording | change | where | old | new |
    | --- | --- | --- | --- | --- |
    | `NAME` | wording | `/choices/0/message/content` | Paris | Lyon |
    | `NAME` | wording | `/choices/0/message/content` | Paris | Lyon |

    ### Left as they were

    - `NAME`: not sent: it contains a redacted secret: record it again with the program that has the secret
    ");
    let again = refresh(&project, &server.url, &["one", "two"]);
    assert_eq!(again.code(), 0, "{}{}", again.stdout, again.stderr);
    let unwritable = refresh(&project, &server.url, &["one", "--summary", "no/folder.md"]);
    assert_eq!(unwritable.code(), 2);
    assert!(
        unwritable.stderr.contains("cannot write no/folder.md"),
        "{}",
        unwritable.stderr
    );
}

/// Each number of an embedding differs a little with each version of a model: one line says so, not one for each number.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_embedding_is_one_line() {
    let server = Server::start(|number, _| {
        let shift = if number < 1 { 0.0 } else { 0.25 };
        let vector: Vec<f64> = (0..1024).map(|at| f64::from(at) + shift).collect();
        Reply::json(json!({ "object": "list", "data": [{ "index": 0, "embedding": vector }] }).to_string())
    })
    .await;
    let project = Project::new();
    ask(&project, &server.url, &chat("one")).await;
    commit(&project);
    let done = refresh(&project, &server.url, &["--summary", "summary.md"]);
    assert_eq!(done.code(), 1, "{}{}", done.stdout, done.stderr);
    let summary = std::fs::read_to_string(project.path().join("summary.md")).unwrap();
    let row = "| numbers | `/data/0/embedding` | – | 1024 of 1024 numbers differ (by 0.25 at most) |";
    assert!(summary.contains(row), "{summary}");
    let shown = project.run(&["diff", "HEAD", "--show"]).stdout;
    let line = "    @ /data/0/embedding: 1024 of 1024 numbers differ (by 0.25 at most)";
    assert_eq!(shown.lines().nth(1), Some(line), "{shown}");
    assert!(shown.lines().next().unwrap().ends_with(".yaml: numbers"), "{shown}");
    let document = project.run(&["diff", "HEAD", "--format", "json"]).stdout;
    let document: Value = serde_json::from_str(&document).unwrap();
    let difference = &document["cassettes"][0]["differences"][0];
    assert_eq!(
        (&difference["old"][1], &difference["new"][1]),
        (&json!(1.0), &json!(1.25))
    );
}

/// Echoes the request with a price of a dollar for a thousand requests; the text changes after the first `same` calls.
fn priced(same: usize) -> impl Fn(usize, &crate::support::server::Call) -> Reply {
    move |number, _| {
        let text = if number < same { "Paris" } else { "Lyon" };
        Reply::json(format!(
            r#"{{"id":"{number}","usage":{{"prompt_tokens":1000,"completion_tokens":0}},"choices":[{{"message":{{"content":"{text}"}}}}]}}"#
        ))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_price_is_printed_first_and_the_budget_is_respected() {
    let (project, server) = (Project::new(), Server::start(priced(usize::MAX)).await);
    for text in ["one", "two", "three"] {
        let mut body = chat(text);
        body["model"] = "mistral-small-latest".into();
        ask(&project, &server.url, &body).await;
    }
    let done = refresh(&project, &server.url, &["--dry-run"]);
    assert!(
        done.stderr
            .contains("refreshing 3 recordings with 3 requests: about $0.00045 at the prices of 2026-"),
        "{}",
        done.stderr
    );
    assert!(done.stdout.contains("$0.00045 spent"), "{}", done.stdout);

    let before = server.call_count();
    let done = refresh(&project, &server.url, &["--max-cost", "0.0003", "--at-once", "1"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(done.stdout.contains("left: the budget is spent"), "{}", done.stdout);
    assert!(done.stdout.contains("$0.0003 spent"), "{}", done.stdout);
    assert_eq!(server.call_count() - before, 2);
    // The same command requests the others.
    let done = refresh(&project, &server.url, &["--max-cost", "0.0003"]);
    assert!(done.stderr.contains("resuming the refresh"), "{}", done.stderr);
    assert_eq!((done.code(), server.call_count() - before), (0, 3));
    // Everything is done, so the next run starts from the beginning.
    refresh(&project, &server.url, &[]);
    assert_eq!(server.call_count() - before, 6);

    ask(&project, &server.url, &chat("of a model without a price")).await;
    let before = server.call_count();
    let done = refresh(&project, &server.url, &["--max-cost", "1"]);
    assert_eq!(done.code(), 2);
    assert!(done.stderr.contains("there is no price for m"), "{}", done.stderr);
    assert!(!project.cassettes().join(".refresh").exists());
    assert_eq!(server.call_count(), before);
    project.write(
        "prices.yaml",
        "date: '2030-01-01'\nsource: ours\nmodels:\n- names: [m, mistral-*]\n  input: 1000\n",
    );
    let done = refresh(
        &project,
        &server.url,
        &["--max-cost", "1", "--prices", "prices.yaml", "--dry-run"],
    );
    assert!(
        done.stderr.contains("about $4.00 at the prices of 2030-01-01"),
        "{}",
        done.stderr
    );
    assert_eq!(server.call_count() - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_waits_for_a_rate_limit() {
    let server = Server::start(|number, _| match number {
        1 => Reply::new(429, "application/json", r#"{"message":"Requests rate limit exceeded"}"#)
            .header("retry-after", "1"),
        _ => Reply::json(r#"{"choices":[{"message":{"content":"Paris"}}]}"#),
    })
    .await;
    let project = Project::new();
    ask(&project, &server.url, &chat("one")).await;
    let begin = Instant::now();
    let done = refresh(&project, &server.url, &[]);
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(server.call_count(), 3);
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

/// The response after the retries is recorded, whether errors are recorded or not; a recorded one causes no wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_retried_response_is_not_recorded() {
    let limited = (429, r#"{"message":"Requests rate limit exceeded"}"#);
    let wrong = (422, r#"{"detail":"no such model"}"#);
    let well = (200, r#"{"choices":[{"message":{"content":"Paris"}}]}"#);
    for (recorded, again, calls) in [(wrong, limited, 2), (well, limited, 2), (limited, limited, 1)] {
        let server = Server::start(move |number, _| {
            let (status, body) = if number == 1 { again } else { recorded };
            Reply::new(status, "application/json", body).header("retry-after", "0")
        })
        .await;
        let project = Project::new();
        project.write("cassettes/settings.yaml", "save_errors: true\n");
        ask(&project, &server.url, &chat("one")).await;
        let (tree, before) = (project.tree(), server.call_count());
        let done = refresh(&project, &server.url, &[]);
        assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
        assert_eq!(server.call_count() - before, calls, "{}{}", done.stdout, done.stderr);
        assert_eq!(project.tree(), tree);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_response_is_not_recorded() {
    let server = Server::start(|number, call| {
        let printed = call.header("authorization").unwrap();
        assert!(printed.contains(KEY));
        Reply::json(json!({ "choices": [{ "message": { "content": format!("{number}: {printed}") } }] }).to_string())
    })
    .await;
    let project = Project::new();
    ask(&project, &server.url, &chat("one")).await;
    let before = project.tree();
    let done = refresh(&project, &server.url, &[]);
    assert_eq!(done.code(), 1, "{}{}", done.stdout, done.stderr);
    let tree = project.tree();
    assert_ne!(tree, before);
    assert!(!tree.values().any(|text| String::from_utf8_lossy(text).contains(KEY)));
}

/// `review` in this project, with these lines as input.
fn review(project: &Project, flags: &[&str], answers: &str) -> Done {
    project.write("answers", answers);
    let mut command = project.command(&[&["review"], flags].concat());
    let output = command
        .stdin(std::fs::File::open(project.path().join("answers")).unwrap())
        .output()
        .unwrap();
    std::fs::remove_file(project.path().join("answers")).unwrap();
    Done {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_recordings_wait_for_a_review() {
    let (project, server) = (Project::new(), Server::start(priced(4)).await);
    for text in ["one", "two", "three", "four"] {
        ask(&project, &server.url, &chat(text)).await;
    }
    assert_eq!(review(&project, &[], "").stdout, "there is nothing to review\n");
    let before = project.tree();
    let done = refresh(&project, &server.url, &["--review"]);
    assert_eq!(done.code(), 1, "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("run mistral-cassette review"), "{}", done.stderr);
    let unchanged = |project: &Project| {
        let now = project.tree();
        before
            .iter()
            .filter(|(name, text)| now.get(*name) == Some(text))
            .count()
    };
    assert_eq!(unchanged(&project), 4);
    // There is nothing to commit.
    project.git(&["init", "--quiet"]);
    let untracked = project.git(&["status", "--porcelain", "--untracked-files=all"]);
    assert!(
        untracked.contains("chat-completions") && !untracked.contains(".refresh"),
        "{untracked}"
    );
    std::fs::remove_dir_all(project.path().join(".git")).unwrap();
    // They are not recordings yet, neither for replay nor for `list`.
    assert_eq!(project.run(&["list"]).stdout.lines().count(), before.len() + 2);
    let done = refresh(&project, &server.url, &[]);
    assert!(done.stderr.contains("new recordings wait"), "{}", done.stderr);
    assert_eq!(done.code(), 2);

    // Sorted by name: four, one, three, two.
    let done = review(&project, &[], "a\nr\ns\n");
    assert_eq!(done.code(), 1);
    assert!(
        done.stdout.contains("1 of 4  chat-completions/four-"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("wording\n") && done.stdout.contains("+ Lyon"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("1 accepted, 1 rejected, 2 left"),
        "{}",
        done.stdout
    );
    assert_eq!(unchanged(&project), 3);
    for decision in ["accepted\n", "rejected\n", "skipped\n", "quit\n"] {
        let echo = format!("[q]uit: {decision}");
        assert_eq!(done.stdout.matches(&echo).count(), 1, "{decision}: {}", done.stdout);
    }
    let done = review(&project, &[], "x\nd\nw\na\n");
    assert!(
        done.stdout.contains("\nthe keys are a or y (accept), "),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("\n- Paris\n+ Lyon\n"), "{}", done.stdout);
    assert!(
        done.stdout.contains("1 of 2  chat-completions/three-"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("1 accepted, 0 rejected, 1 left"),
        "{}",
        done.stdout
    );
    let done = review(&project, &["--reject-all"], "");
    assert_eq!((done.code(), unchanged(&project)), (0, 2), "{}", done.stdout);
    assert_eq!(project.tree().len(), before.len());
    let accepted = String::from_utf8(project.tree().remove(before.keys().next().unwrap()).unwrap()).unwrap();
    assert!(accepted.contains("Lyon") && !accepted.contains("Paris"), "{accepted}");
    assert_eq!(project.run(&["verify"]).code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_reviewed_as_one() {
    let (project, server) = (Project::new(), api::start().await);
    let recorded = program(&project.cassettes(), Mode::Record, &server.url).await;
    let before = project.tree();
    let server = later().await;
    assert_eq!(refresh(&project, &server.url, &["--review"]).code(), 1);
    // The old recording is replayed until the new one is accepted, and after a rejection.
    let replayed = program(&project.cassettes(), Mode::Strict, "http://127.0.0.1:9").await;
    assert_eq!(recorded, replayed);
    let done = review(&project, &["--reject-all"], "");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(before, project.tree());

    assert_eq!(refresh(&project, &server.url, &["--review"]).code(), 1);
    let done = review(&project, &[], "a\nr\nr\nr\n");
    assert!(done.stdout.contains("which depend on each other"), "{}", done.stdout);
    assert!(done.stdout.contains("with a new request"), "{}", done.stdout);
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    let replayed = program(&project.cassettes(), Mode::Strict, "http://127.0.0.1:9").await;
    assert_ne!(recorded, replayed);
    assert_eq!(before.len(), project.tree().len());
}

/// `review` at a terminal of 120 columns, where each of these keys is pressed at a prompt, as soon as the command reads keys and
/// not lines: the terminal itself would take Ctrl-D.
fn review_at_terminal(project: &Project, keys: &str, environment: &[(&str, &str)]) -> Done {
    let terminal = "import fcntl, os, pty, signal, struct, sys, termios\n\
         signal.alarm(60)\n\
         pid, terminal = pty.fork()\n\
         if pid == 0:\n    \
             fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 120, 0, 0))\n    \
             os.execv(sys.argv[1], [sys.argv[1], 'review'])\n\
         said = b''\n\
         for prompt, key in enumerate(sys.argv[2]):\n    \
             while said.count(b'uit: ') <= prompt: said += os.read(terminal, 4096)\n    \
             while termios.tcgetattr(terminal)[3] & termios.ICANON: os.sched_yield()\n    \
             os.write(terminal, key.encode())\n\
         try:\n    \
             while True: said += os.read(terminal, 4096) or exit(9)\n\
         except OSError: pass\n\
         sys.stdout.buffer.write(said)\n\
         sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let binary = env!("CARGO_BIN_EXE_mistral-cassette");
    let mut python = std::process::Command::new("python3");
    python.args(["-c", terminal, binary, keys]).current_dir(project.path());
    python.env("TERM", "xterm").envs(environment.iter().copied());
    crate::support::project::done(&mut python)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_key_press_is_enough_at_a_terminal() {
    let (project, server) = (Project::new(), Server::start(priced(1)).await);
    ask(&project, &server.url, &chat("one")).await;
    assert_eq!(refresh(&project, &server.url, &["--review"]).code(), 1);

    let done = review_at_terminal(&project, "x\u{4}", &[]);
    assert_eq!(done.code(), 1, "{}", done.stdout);
    assert!(done.stdout.contains("the keys are a or y (accept)"), "{}", done.stdout);
    assert!(
        done.stdout.contains("0 accepted, 0 rejected, 1 left"),
        "{}",
        done.stdout
    );
    let done = review_at_terminal(&project, "w\u{4}", &[("TERM", "dumb"), ("PAGER", "")]);
    assert!(
        done.stdout.contains("Lyon") && !done.stdout.contains("\u{1b}[3"),
        "{:?}",
        done.stdout
    );

    let done = review_at_terminal(&project, "wa", &[("PAGER", "sed 's/^/paged: /'")]);
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("1 accepted"), "{}", done.stdout);
    // In colour, since it is a terminal.
    assert!(done.stdout.contains("\u{1b}[32m    + Lyon"), "{:?}", done.stdout);
    // Both answers side by side, in the pager.
    let row = format!(
        "paged: \u{1b}[31mParis\u{1b}[0m{} | \u{1b}[32mLyon\u{1b}[0m\r\n",
        " ".repeat(58 - "Paris".len())
    );
    assert!(done.stdout.contains(&row), "{:?}", done.stdout);
}

/// An interrupted refresh leaves complete files, and the next one completes the chains.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_refresh_resumes() {
    if is_left_out() {
        return;
    }
    let (project, server) = (Project::new(), api::start().await);
    program(&project.cassettes(), Mode::Record, &server.url).await;
    let original = project.tree();
    let begin_again = || {
        for (name, text) in &original {
            project.write(name, text);
        }
        for name in project.tree().keys().filter(|name| !original.contains_key(*name)) {
            std::fs::remove_file(project.path().join(name)).unwrap();
        }
    };
    let run = |server: &Server| {
        let mut command = project.command(&["refresh", "--upstream", &server.url, "--at-once", "1"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    // A line after the first: a request was sent.
    let journal = project.cassettes().join(".refresh/journal.jsonl");
    let has_begun = || std::fs::read_to_string(&journal).is_ok_and(|journal| journal.matches('\n').count() > 1);
    let is_recording = |name: &&String| !name.contains("/.");
    let mut kills = Kills::new("refresh");
    for _ in 0..2 {
        begin_again();
        kills.measure(&mut run(&later().await), has_begun);
    }
    while let Some(round) = kills.next_round() {
        begin_again();
        let server = later().await;
        let signal = [Signal::KILL, Signal::KILL, Signal::INT, Signal::INT][round % 4];
        let round = kills.end(&mut run(&server), signal, has_begun);
        // Complete files, each with the key of its request; a killed process leaves temporary files only.
        assert_eq!(project.run(&["verify"]).code(), 0, "{round}");
        let left = project.tree();
        let is_changed = original.iter().any(|(name, text)| left.get(name) != Some(text));
        let is_left = has_begun();
        assert!(!is_left || !round.status.success(), "{round}");
        kills.note(match (is_left, is_changed) {
            (true, _) => Hit::Middle,
            (false, false) => Hit::Before,
            (false, true) => Hit::Behind,
        });
        let done = refresh(&project, &server.url, &[]);
        assert_ne!(done.code(), 2, "{round}: {}{}", done.stdout, done.stderr);
        assert_eq!(done.stderr.contains("resuming"), is_left, "{round}: {}", done.stderr);
        program(&project.cassettes(), Mode::Strict, "http://127.0.0.1:9").await;
        let left = project.tree();
        assert_eq!(
            left.keys().filter(is_recording).count(),
            original.len(),
            "{round}: {:?}",
            left.keys()
        );
        assert!(
            !left.keys().any(|name| name.contains(".refresh")),
            "{round}: {:?}",
            left.keys()
        );
    }
    kills.tell();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_refresh_runs_at_a_time() {
    let (sender, reply) = Reply::directed("application/json");
    let held = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |number, _| match number {
        0 => Reply::json(r#"{"choices":[]}"#),
        _ => held.lock().unwrap().take().unwrap(),
    })
    .await;
    let project = Project::new();
    ask(&project, &server.url, &chat("one")).await;
    let mut first = project
        .command(&["refresh", "--upstream", &server.url])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    crate::support::process::wait_for("the first refresh to ask", || server.call_count() == 2);
    for command in [&["refresh", "--upstream", &server.url][..], &["review"]] {
        let second = project.run(command);
        assert_eq!(second.code(), 2);
        assert!(
            second.stderr.contains("another process has locked"),
            "{}",
            second.stderr
        );
    }
    first.kill().unwrap();
    first.wait().unwrap();
    drop(sender);
}
