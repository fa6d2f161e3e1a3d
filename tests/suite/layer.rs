//! The `tower` layer around a `hyper` client.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mistral_cassette::layer::{BoxError, CassetteLayer, CassetteService};
use mistral_cassette::{DirectoryEngine, Error, ErrorKind, Mode, Recorder};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::support::server::{Reply, Server, Step};
use crate::support::{KEY, api};

type Service = CassetteService<Client<HttpConnector, Full<Bytes>>>;

fn service(directory: &std::path::Path, mode: Mode) -> (Recorder, Service) {
    let recorder = Recorder::builder(DirectoryEngine::new(directory))
        .mode(mode)
        .build()
        .unwrap();
    let hyper = Client::builder(TokioExecutor::new()).build_http();
    (recorder.clone(), CassetteLayer::new(recorder).layer(hyper))
}

fn chat(url: &str, stream: bool) -> http::Request<Full<Bytes>> {
    let messages = json!([{ "role": "user", "content": "What is the capital of France?" }]);
    let body = json!({ "model": "mistral-small-latest", "messages": messages, "stream": stream });
    http::Request::post(format!("{url}/v1/chat/completions"))
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

async fn sent(service: &Service, request: http::Request<Full<Bytes>>) -> Result<(u16, Bytes), BoxError> {
    let response = service.clone().oneshot(request).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

#[tokio::test]
async fn a_hyper_client_records_and_replays_without_the_api() {
    let server = api::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (recorder, client) = service(directory.path(), Mode::Replay);
    let mut live = Vec::new();
    for stream in [false, true] {
        live.push(sent(&client, chat(&server.url, stream)).await.unwrap());
    }
    assert_eq!(recorder.finish().await.unwrap().recorded, 2);
    let answer: Value = serde_json::from_slice(&live[0].1).unwrap();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        "The capital of France is **Paris**."
    );
    assert_eq!(
        server.calls()[0].header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
    drop(server);

    // The host and the path of the base URL are not part of the key, and nothing listens on this port.
    let (recorder, client) = service(directory.path(), Mode::Strict);
    for (at, stream) in [false, true].into_iter().enumerate() {
        let replayed = sent(&client, chat("http://127.0.0.1:9", stream)).await.unwrap();
        assert_eq!(replayed, live[at]);
    }
    assert_eq!(recorder.finish().await.unwrap().replayed, 2);
    // The typed client replays the same cassette.
    let typed = mistral_cassette::client::Client::builder()
        .recorder(recorder)
        .build()
        .unwrap();
    let question =
        mistral_cassette::client::ChatRequest::new("mistral-small-latest").user("What is the capital of France?");
    assert!(typed.chat(question).await.unwrap().text().contains("Paris"));
}

#[tokio::test]
async fn errors_of_the_service_are_unchanged_and_misses_are_errors_of_this_crate() {
    let directory = tempfile::tempdir().unwrap();
    let (recorder, client) = service(directory.path(), Mode::Strict);
    let error = sent(&client, chat("http://127.0.0.1:9", false)).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::Miss);
    assert_eq!(recorder.finish().await.unwrap_err().kind(), ErrorKind::Miss);

    let (recorder, client) = service(directory.path(), Mode::Replay);
    let error = sent(&client, chat("http://127.0.0.1:9", false)).await.unwrap_err();
    let error = error.downcast_ref::<hyper_util::client::legacy::Error>().unwrap();
    assert!(error.is_connect());
    let failed = recorder.finish().await.unwrap_err();
    assert!(
        failed.report().contains("http://127.0.0.1:9 did not respond"),
        "{failed}"
    );
}

#[tokio::test]
async fn an_incomplete_response_is_an_error_of_the_body_and_not_recorded() {
    let (sender, reply) = Reply::directed("application/json");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let directory = tempfile::tempdir().unwrap();
    let (recorder, client) = service(directory.path(), Mode::Replay);
    sender.send(Step::Send("{\"id\":".into())).unwrap();
    let mut body = client.oneshot(chat(&server.url, false)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{\"id\":");
    sender.send(Step::Cut).unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Upstream, "{error:?}");
    assert_eq!(recorder.finish().await.unwrap_err().kind(), ErrorKind::Upstream);
    assert!(!directory.path().join("chat-completions").exists());
}
