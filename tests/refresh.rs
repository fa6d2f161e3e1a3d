//! `refresh`: drift, chains, what cannot be sent, what stays as it was.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use mistral_cassette::client::{
    AppendRequest, ChatMessage, ChatRequest, Client, ConversationRequest, FileUpload, Tool,
};
use mistral_cassette::{DirectoryEngine, Mode, Recorder};
use serde_json::{Value, json};
use support::KEY;
use support::api;
use support::project::{Done, Project};
use support::server::{Reply, Server};

/// A program: a tool conversation of three turns, a conversation that the API keeps, a file that is asked for by its id.
async fn program(directory: &Path, mode: Mode, upstream: &str) -> Vec<String> {
    let recorder = Recorder::builder(DirectoryEngine::new(directory))
        .mode(mode)
        .allow_record_in_ci()
        .test("program")
        .build()
        .unwrap();
    let client = Client::builder()
        .api_key(KEY)
        .base_url(upstream)
        .recorder(recorder.clone())
        .build()
        .unwrap();
    let mut said = Vec::new();

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
    said.extend([id, second.text()]);
    let third = client
        .chat(answered.assistant(second.text()).user("And tomorrow?"))
        .await
        .unwrap();
    said.push(third.text());

    let started = client
        .start_conversation(ConversationRequest::with_model("m", "Which wind is cold?"))
        .await
        .unwrap();
    said.extend([started.conversation_id.clone(), started.text()]);
    for question in ["And which is warm?", "And which is dry?"] {
        let more = client
            .append_to_conversation(&started.conversation_id, AppendRequest::new(question))
            .await
            .unwrap();
        said.push(more.text());
    }
    let history = client.conversation_history(&started.conversation_id).await.unwrap();
    said.push(history.conversation_id);

    let file = client
        .upload_file(FileUpload::new("a.txt", "some text").purpose("ocr"))
        .await
        .unwrap();
    said.push(client.file(&file.id).await.unwrap().id);
    recorder.finish().await.unwrap();
    said
}

fn refresh(project: &Project, upstream: &str, more: &[&str]) -> Done {
    let mut arguments = vec!["refresh", "--upstream", upstream];
    arguments.extend(more);
    project.run(&arguments)
}

/// A stand-in whose ids are others than those of one that was just started.
async fn later() -> Server {
    let server = api::start().await;
    let client = Client::builder().api_key(KEY).base_url(&server.url).build().unwrap();
    for _ in 0..25 {
        client.models().await.unwrap();
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_are_asked_with_the_new_ids_and_replay() {
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
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("asked otherwise now"), "{}", done.stdout);
    let replayed = program(&project.cassettes(), Mode::Strict, "http://127.0.0.1:9").await;
    assert_ne!(recorded, replayed);
    // Ids are new ones, and no file was left behind.
    assert!(
        recorded.iter().zip(&replayed).filter(|(old, new)| old == new).count() <= 1,
        "{recorded:?} {replayed:?}"
    );
    assert_eq!(project.tree().len(), files);
    assert_eq!(project.run(&["verify"]).code(), 0);
    // Whoever recorded it still has.
    assert!(
        project
            .tree()
            .values()
            .all(|text| String::from_utf8_lossy(text).contains("test: program"))
    );
}

fn steady() -> impl Fn(usize, &support::server::Call) -> Reply {
    |number, call| {
        let asked = String::from_utf8_lossy(&call.body);
        if asked.contains("stream") {
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
    let recorder = Recorder::builder(DirectoryEngine::new(project.cassettes()))
        .mode(Mode::Record)
        .allow_record_in_ci()
        .build()
        .unwrap();
    let client = Client::builder()
        .api_key(KEY)
        .base_url(upstream)
        .recorder(recorder.clone())
        .build()
        .unwrap();
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
async fn what_says_the_same_stays_byte_for_byte() {
    let (project, server) = (Project::new(), Server::start(steady()).await);
    for text in ["one", "two", "stream", "with history"] {
        let mut body = chat(text);
        if text == "with history" {
            let before = json!({ "role": "assistant", "content": "Paris" });
            body["messages"].as_array_mut().unwrap().insert(0, before);
        }
        ask(&project, &server.url, &body).await;
    }
    let before = project.tree();
    let done = refresh(&project, &server.url, &[]);
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (0, "4 recordings asked for, 4 say the same\n"),
        "{}",
        done.stderr
    );
    assert_eq!(before, project.tree());
    assert_eq!(server.call_count(), 8);
    assert_eq!(refresh(&project, &server.url, &["--dry-run"]).code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_again_is_listed_and_left() {
    let (project, server) = (Project::new(), Server::start(steady()).await);
    ask(&project, &server.url, &chat("fine")).await;
    ask(&project, &server.url, &chat(&format!("my key is {KEY}"))).await;
    drop(server);
    let limited = Server::start(|_, _| Reply::new(401, "application/json", r#"{"detail":"Unauthorized"}"#)).await;
    let before = project.tree();
    let done = refresh(&project, &limited.url, &[]);
    assert_eq!(done.code(), 1);
    assert!(
        done.stdout.contains("not asked: a secret in it was redacted"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("failed: the upstream answers 401"),
        "{}",
        done.stdout
    );
    assert_eq!(before, project.tree());
    assert_eq!(limited.call_count(), 1);

    let no_key = support::project::done(
        project
            .command(&["refresh", "--upstream", &limited.url])
            .env_remove("MISTRAL_API_KEY"),
    );
    assert_eq!(no_key.code(), 2);
    assert!(no_key.stderr.contains("there is no API key"), "{}", no_key.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_call_that_changes_breaks_its_chain_and_says_so() {
    let call = |city: &str| json!({ "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": { "role": "assistant", "content": "", "tool_calls": [{ "id": "call_abc1", "function": { "name": "f", "arguments": format!("{{\"city\":\"{city}\"}}") } }] } }] });
    let answers = move |city: &'static str| {
        move |_: usize, request: &support::server::Call| {
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
    let done = refresh(&project, &server.url, &["--show"]);
    assert_eq!(done.code(), 1);
    assert!(done.stdout.contains("tool call\n"), "{}", done.stdout);
    assert!(
        done.stdout.contains("not asked: the tool call before it has changed"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains(r#"+ {"city":"Lyon"}"#), "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_chosen_and_the_budget_is_kept() {
    let (project, server) = (Project::new(), Server::start(steady()).await);
    for (model, text) in [("small", "one"), ("small", "two"), ("large", "three")] {
        let mut body = chat(text);
        body["model"] = model.into();
        ask(&project, &server.url, &body).await;
    }
    let asked = |more: &[&str]| {
        let before = server.call_count();
        let done = refresh(&project, &server.url, more);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        server.call_count() - before
    };
    let counts: BTreeMap<&str, usize> = BTreeMap::from([
        ("model", asked(&["--model", "small"])),
        ("name", asked(&["three"])),
        ("endpoint", asked(&["--endpoint", "embeddings"])),
        ("old", asked(&["--older-than", "1d"])),
        ("scope", asked(&["--scope", "other"])),
        ("test", asked(&["--test", "nothing"])),
        ("budget", asked(&["--max-requests", "2"])),
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
    assert_eq!(project.run(&["refresh", "--older-than", "soon"]).code(), 2);
}
