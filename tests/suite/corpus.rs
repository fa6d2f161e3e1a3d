//! Responses, parsed by the typed client and serialized again: no member may be lost, no `null` added or removed.
//!
//! Responses of real traffic are in `../shared/corpus/mistral.jsonl`, which is not public; without it that test is
//! skipped. `tests/answers.jsonl` has responses written for this test, in the form of the API reference and of the
//! real traffic.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::KEY;
use crate::support::corpus::corpus;
use crate::support::server::{Reply, Server};
use base64::Engine as _;
use futures_util::{Stream, StreamExt};
use mistral_cassette::Result;
use mistral_cassette::client::*;
use serde::Serialize;
use serde_json::{Value, json};

/// One response: its request and its bytes.
struct Row {
    id: String,
    method: String,
    path: String,
    is_stream: bool,
    body: Vec<u8>,
    status: u16,
}

fn rows(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answered = rows.filter(|row| matches!(row["response"]["status"].as_u64(), Some(200 | 204)));
    answered
        .map(|row| {
            let body = row["response"]["body"].as_str().unwrap_or_default();
            let body = if row["response"]["body_encoding"] == "base64" {
                base64::engine::general_purpose::STANDARD.decode(body).unwrap()
            } else {
                body.as_bytes().to_vec()
            };
            let url = row["request"]["url"].as_str().unwrap();
            let path = url.trim_start_matches("https://api.mistral.ai");
            Row {
                id: row["id"].as_str().unwrap().to_owned(),
                method: row["request"]["method"].as_str().unwrap().to_owned(),
                path: path.split(['#', '?']).next().unwrap().to_owned(),
                is_stream: body.starts_with(b"data:") || body.starts_with(b"event:"),
                body,
                status: row["response"]["status"].as_u64().unwrap() as u16,
            }
        })
        .collect()
}

/// The serialized result: one value, or one for each event.
enum BackgroundTransport {
    Whole(Value),
    Events(Vec<Value>),
    Nothing,
}

fn whole(answer: impl Serialize) -> BackgroundTransport {
    BackgroundTransport::Whole(serde_json::to_value(answer).unwrap())
}

async fn events<T: Serialize>(stream: impl Stream<Item = Result<T>>) -> Result<BackgroundTransport> {
    let events: Vec<Result<T>> = stream.collect().await;
    let events: Result<Vec<T>> = events.into_iter().collect();
    Ok(BackgroundTransport::Events(
        events?
            .iter()
            .map(|event| serde_json::to_value(event).unwrap())
            .collect(),
    ))
}

/// Sends the request of this row, and parses the response.
async fn read(client: &Client, row: &Row) -> Result<BackgroundTransport> {
    let chat = || ChatRequest::new("m").user("?");
    let agent_chat = || AgentChatRequest::new("a").user("?");
    let fim = || FimRequest::new("m", "p");
    let conversation = || ConversationRequest::with_model("m", "?");
    let transcription = || TranscriptionRequest::new("m").file("a.wav", "x");
    let segments: Vec<&str> = row.path.trim_start_matches("/v1/").split('/').collect();
    Ok(match (row.method.as_str(), segments.as_slice(), row.is_stream) {
        ("POST", ["chat", "completions"], false) => whole(client.chat(chat()).await?),
        ("POST", ["chat", "completions"], true) => events(client.chat_stream(chat()).await?).await?,
        ("POST", ["agents", "completions"], false) => whole(client.agent_chat(agent_chat()).await?),
        ("POST", ["agents", "completions"], true) => events(client.agent_chat_stream(agent_chat()).await?).await?,
        ("POST", ["fim", "completions"], false) => whole(client.fim(fim()).await?),
        ("POST", ["fim", "completions"], true) => events(client.fim_stream(fim()).await?).await?,
        ("POST", ["embeddings"], _) => whole(client.embeddings(EmbeddingsRequest::new("m", "?")).await?),
        ("POST", ["moderations"], _) => whole(client.moderate(ModerationRequest::new("m", "?")).await?),
        ("POST", ["chat", "moderations"], _) => whole(client.moderate_chat(ChatModerationRequest::new("m", [])).await?),
        ("POST", ["classifications"], _) => whole(client.classify(ClassificationRequest::new("m", "?")).await?),
        ("POST", ["ocr"], _) => whole(client.ocr(OcrRequest::new("m", ContentChunk::file("f"))).await?),
        ("GET", ["models"], _) => whole(client.models().await?),
        ("GET", ["models", id], _) => whole(client.model(id).await?),
        ("DELETE", ["models", id], _) => whole(client.delete_model(id).await?),
        ("POST", ["files"], _) => whole(client.upload_file(FileUpload::new("f", "x")).await?),
        ("GET", ["files"], _) => whole(client.files(ListQuery::new()).await?),
        ("GET", ["files", id], _) => whole(client.file(id).await?),
        ("GET", ["files", id, "url"], _) => whole(client.file_url(id, 24).await?),
        ("DELETE", ["files", id], _) => whole(client.delete_file(id).await?),
        ("POST", ["conversations"], false) => whole(client.start_conversation(conversation()).await?),
        ("POST", ["conversations"], true) => events(client.start_conversation_stream(conversation()).await?).await?,
        ("POST", ["conversations", id], false) => {
            whole(client.append_to_conversation(id, AppendRequest::new("?")).await?)
        }
        ("GET", ["conversations"], _) => whole(client.conversations(ListQuery::new()).await?),
        ("GET", ["conversations", id], _) => whole(client.conversation(id).await?),
        ("GET", ["conversations", id, "history"], _) => whole(client.conversation_history(id).await?),
        ("GET", ["conversations", id, "messages"], _) => whole(client.conversation_messages(id).await?),
        ("POST", ["agents"], _) => whole(client.create_agent(AgentRequest::new("m", "n")).await?),
        ("GET", ["agents"], _) => whole(client.agents(ListQuery::new()).await?),
        ("DELETE", ["agents", id], _) => {
            client.delete_agent(id).await?;
            BackgroundTransport::Nothing
        }
        ("POST", ["audio", "transcriptions"], false) => whole(client.transcribe(transcription()).await?),
        ("POST", ["audio", "transcriptions"], true) => events(client.transcribe_stream(transcription()).await?).await?,
        ("POST", ["audio", "speech"], false) => whole(client.speech(SpeechRequest::new("?")).await?),
        ("POST", ["audio", "speech"], true) => events(client.speech_stream(SpeechRequest::new("?")).await?).await?,
        ("POST", ["batch", "jobs"], _) => whole(client.create_batch_job(BatchRequest::new("/v1/ocr")).await?),
        ("GET", ["batch", "jobs"], _) => whole(client.batch_jobs(ListQuery::new()).await?),
        ("GET", ["batch", "jobs", id], _) => whole(client.batch_job(id).await?),
        other => panic!("{}: no method of the client for {other:?}", row.id),
    })
}

/// The differences of two values; numbers are compared by value (1 equals 1.0).
fn difference(at: &str, sent: &Value, again: &Value) -> Option<String> {
    match (sent, again) {
        (Value::Object(sent), Value::Object(again)) => {
            let lost = sent.keys().find(|name| !again.contains_key(*name));
            let come = again.keys().find(|name| !sent.contains_key(*name));
            if let Some(name) = lost.or(come) {
                return Some(format!(
                    "{at}/{name}: {:?} became {:?}",
                    sent.get(name),
                    again.get(name)
                ));
            }
            sent.iter()
                .find_map(|(name, value)| difference(&format!("{at}/{name}"), value, &again[name]))
        }
        (Value::Array(sent), Value::Array(again)) if sent.len() == again.len() => sent
            .iter()
            .zip(again)
            .enumerate()
            .find_map(|(index, (sent, again))| difference(&format!("{at}/{index}"), sent, again)),
        (Value::Number(sent), Value::Number(again)) if sent.as_f64() == again.as_f64() => None,
        _ if sent == again => None,
        _ => Some(format!("{at}: {sent} became {again}")),
    }
}

/// The data of all events that are JSON.
fn data(body: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(body)
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter(|data| data.trim() != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// The number of responses and events of each endpoint that were serialized unchanged, and the differences.
async fn round_trip(rows: Vec<Row>) -> (BTreeMap<String, usize>, usize, Vec<String>) {
    let replies: Vec<(u16, &str, Vec<u8>)> = rows
        .iter()
        .map(|row| {
            let kind = if row.is_stream {
                "text/event-stream"
            } else {
                "application/json"
            };
            (row.status, kind, row.body.clone())
        })
        .collect();
    let server = Server::start(move |number, _| {
        let (status, kind, body) = replies[number].clone();
        Reply::new(status, kind, body)
    })
    .await;
    let client = Client::builder().base_url(&server.url).api_key(KEY).build().unwrap();
    let (mut counts, mut event_count, mut failures) = (BTreeMap::new(), 0, Vec::new());
    for row in &rows {
        let difference = match read(&client, row).await {
            Err(error) => Some(error.to_string()),
            Ok(BackgroundTransport::Whole(again)) => {
                difference("", &serde_json::from_slice(&row.body).unwrap(), &again)
            }
            Ok(BackgroundTransport::Events(again)) => {
                event_count += again.len();
                difference("", &data(&row.body).into(), &again.into())
            }
            Ok(BackgroundTransport::Nothing) => None,
        };
        match difference {
            Some(difference) => failures.push(format!("{} ({} {}): {difference}", row.id, row.method, row.path)),
            None => *counts.entry(format!("{} {}", row.method, row.path)).or_insert(0) += 1,
        }
    }
    assert_eq!(server.call_count(), rows.len(), "one call an answer");
    (counts, event_count, failures)
}

#[tokio::test]
async fn responses_of_real_traffic_are_serialized_unchanged() {
    let Some(corpus) = corpus() else { return };
    let rows = rows(&corpus);
    let all = rows.len();
    let (counts, events, failures) = round_trip(rows).await;
    println!("{events} events; answers: {counts:#?}");
    assert!(
        failures.is_empty(),
        "{} of {all}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(
        all > 500 && events > 1000,
        "{all} answers with {events} events: is this the corpus?"
    );
}

#[tokio::test]
async fn responses_of_the_test_set_are_serialized_unchanged() {
    let rows = rows(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answers.jsonl"));
    let all = rows.len();
    let (counts, _, failures) = round_trip(rows).await;
    assert!(
        failures.is_empty(),
        "{} of {all}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(counts.len() > 20, "{counts:#?}");
}

#[tokio::test]
async fn a_streamed_response_of_real_traffic_is_assembled() {
    let Some(corpus) = corpus() else { return };
    let mut rows = rows(&corpus);
    rows.retain(|row| row.is_stream && row.path == "/v1/chat/completions");
    let bodies: Vec<_> = rows.iter().map(|row| row.body.clone()).collect();
    let server = Server::start(move |number, _| Reply::events(bodies[number].clone())).await;
    let client = Client::builder().base_url(&server.url).api_key(KEY).build().unwrap();
    for row in &rows {
        let stream = client.chat_stream(ChatRequest::new("m").user("?")).await.unwrap();
        let answer = stream.collect_answer().await.unwrap();
        let chunks = data(&row.body);
        let deltas = || {
            let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
            choices.filter(|choice| choice["index"] == 0)
        };
        let output: String = deltas()
            .map(|choice| match &choice["delta"]["content"] {
                Value::String(text) => text.clone(),
                Value::Array(chunks) => chunks.iter().filter_map(|chunk| chunk["text"].as_str()).collect(),
                _ => String::new(),
            })
            .collect();
        assert_eq!(answer.text(), output, "{}", row.id);
        let called: Vec<_> = deltas()
            .filter_map(|choice| choice["delta"]["tool_calls"].as_array())
            .flatten()
            .filter_map(|call| call["id"].as_str())
            .collect();
        let joined: Vec<_> = answer
            .tool_calls()
            .iter()
            .filter_map(|call| call.id.as_deref())
            .collect();
        assert_eq!(joined, called, "{}", row.id);
        for call in answer.tool_calls() {
            call.function.parse::<serde_json::Map<String, Value>>().unwrap();
        }
        assert_eq!(
            answer.usage.is_some(),
            chunks.iter().any(|chunk| chunk.get("usage").is_some()),
            "{}",
            row.id
        );
        assert!(answer.choices[0].finish_reason.as_ref().is_some(), "{}", row.id);
    }
    println!("{} streams put together", rows.len());
    assert!(rows.len() > 50, "{} streams: is this the corpus?", rows.len());
}

#[test]
fn the_comparison_finds_lost_and_added_members() {
    let is_different = |sent: Value, again: Value| difference("", &sent, &again).is_some();
    assert!(!is_different(
        json!({ "a": [1, null], "b": 0.5 }),
        json!({ "b": 0.5, "a": [1.0, null] })
    ));
    assert!(is_different(json!({ "a": null }), json!({})));
    assert!(is_different(json!({}), json!({ "a": null })));
    assert!(is_different(json!({ "a": [1] }), json!({ "a": [1, 2] })));
    assert!(is_different(json!({ "a": 1 }), json!({ "a": 2 })));
}
