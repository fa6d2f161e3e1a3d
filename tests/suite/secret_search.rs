//! Secrets that are escaped, said back by the upstream, or in the environment: they are not written, and no message has them.
//!
//! All secrets are invented. Each is assembled from parts, so that secret scanners find none in this file.

use std::fs;

use crate::secrets::{answer, files_below, post, record, recorder};
use crate::support::KEY;
use crate::support::project::{Done, Project, done};
use crate::support::server::{Reply, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, HeaderName};
use mistral_cassette::Request;
use mistral_cassette::client::{Client, Retries};
use serde_json::json;

/// Escapes hide no secret, and no message repeats one: neither its letters nor the words of a file name.
#[tokio::test]
async fn escaped_secrets_are_refused_and_not_repeated() {
    let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
    let rest = &token[1..];
    let get = |path: &str| Request::get(path).unwrap();
    let plain = || answer("{}", "application/json");
    let json = |body: String| answer(body.into_bytes(), "application/json");
    let events = |text: &str| {
        answer(
            format!("data: {{\"content\":\"{text}\"}}\n\ndata: [DONE]\n\n").into_bytes(),
            "text/event-stream",
        )
    };
    let located = |location: String| plain().header(http::header::LOCATION, location.parse().unwrap());
    let ask = |prompt: String| {
        let body = format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}");
        let request = Request::post("/v1/chat/completions").unwrap().body(body);
        request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    };
    for (request, response, location) in [
        (
            get("/v1/models"),
            events(&format!("\\u201c{token}\\u201d")),
            "event 1 of the response at /content",
        ),
        (
            get("/v1/models"),
            events(&format!("\\u0067{rest}")),
            "event 1 of the response at /content",
        ),
        (
            get("/v1/models"),
            json(format!("{{}}\n{{\"a\":\"\\ud83d\\udd11{token}\"}}\n")),
            "line 2 of the response at /a",
        ),
        (
            get("/v1/models"),
            json(format!("{{\"a\":{{\"{token}\":\"{token}\"}}}}")),
            "the response at /a",
        ),
        (
            ask(format!("\\b{token}")),
            plain(),
            "the request at /messages/0/content",
        ),
        (
            get("/v1/models"),
            located(format!("/cb?u=%22{token}")),
            "the header location of the response",
        ),
        (
            get("/v1/models"),
            located(format!("/cb?u=%67{rest}")),
            "the header location of the response",
        ),
        (
            get(&format!("/v1/files/%67{rest}/content")),
            plain(),
            "the path of the request",
        ),
        (get(&format!("/{token}")), plain(), "the path of the request"),
        (
            get(&format!("/v1/models?q=a+%67{rest}")),
            plain(),
            "the query of the request",
        ),
        (
            get("/v1/models?key=k7Hs02LmQx94Tz"),
            plain(),
            "the query of the request",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path(), |builder| builder);
        record(&recorder, request, response).await;
        let error = recorder.finish().await.unwrap_err().report().to_lowercase();
        assert!(error.contains(&location.to_lowercase()), "{location}: {error}");
        assert!(!error.contains("k7hs02"), "{location}: {error}");
        assert_eq!(files_below(folder.path()), 0, "{location}");
    }
}

/// The upstream says the key of the request back. No file contains it, however it is written.
#[tokio::test]
async fn a_key_that_the_upstream_says_back_is_redacted_wherever_it_stands() {
    let units: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let percent: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let ask = || {
        let authorization = HeaderValue::from_str(&format!("Bearer {KEY}")).unwrap();
        Request::get("/v1/models")
            .unwrap()
            .header(http::header::AUTHORIZATION, authorization)
    };
    let header = |name: &str, value: &str| {
        let name: HeaderName = name.parse().unwrap();
        answer("{}", "application/json").header(name, value.parse().unwrap())
    };
    for (response, redacted) in [
        (
            answer(
                format!("data: {{\"a\":\"{units}\"}}\n\n").into_bytes(),
                "text/event-stream",
            ),
            "[REDACTED]",
        ),
        (
            answer(
                format!("{{}}\n{{\"a\":\"{units}\"}}\n").into_bytes(),
                "application/jsonl",
            ),
            "[REDACTED]",
        ),
        (
            header("location", &format!("/cb?key={percent}&n=1")),
            "/cb?key=[REDACTED]&n=1",
        ),
        (header(&format!("x-ratelimit-{KEY}"), "5"), "x-ratelimit-redacted: "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path(), |builder| builder);
        record(&recorder, ask(), response).await;
        recorder.finish().await.unwrap();
        let file = fs::read_dir(folder.path().join("models"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(text.contains(redacted), "{redacted}: {text}");
        for key in [KEY, &units, &percent] {
            assert!(!text.to_lowercase().contains(&key.to_lowercase()), "{text}");
        }
    }
}

/// The values of environment variables that look like credentials are searched in all that would be written.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_credentials_in_the_environment_are_refused() {
    const PASSWORD: &str = "Blue_horse+7";
    let server = Server::start(move |_, request| {
        let is_asked = String::from_utf8_lossy(&request.body).contains("say it");
        let text = if is_asked { PASSWORD } else { "no" };
        Reply::json(json!({ "content": text }).to_string())
    })
    .await;
    let chat = |prompt: &str| post(&json!({ "model": "m", "messages": [{ "role": "user", "content": prompt }] }));
    let escaped = || {
        let request = Request::post("/v1/chat/completions")
            .unwrap()
            .body(r#"{"prompt":"Bl\u0075e_horse\u002b7"}"#);
        request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    };
    for (scope, request, location) in [
        ("", chat("say it"), "the response at /content"),
        ("", chat(PASSWORD), "the request at /messages/0/content"),
        ("", escaped(), "the request at /prompt"),
        (
            "",
            chat(&format!(
                "data:text/plain;base64,{}",
                STANDARD.encode(format!("a {PASSWORD}"))
            )),
            "the request at /messages/0/content",
        ),
        (
            "",
            Request::post("/v1/notes")
                .unwrap()
                .body("hello")
                .header(CONTENT_TYPE, HeaderValue::from_static("text/plain; a=Blue_horse+7")),
            "the content type of the request",
        ),
        (
            "",
            Request::get("/v1/files/Blue_horse%2B7").unwrap(),
            "the path of the request",
        ),
        ("/c/try_blue_horse_7", chat("hello"), "the name of the scope"),
    ] {
        let project = Project::new()
            .with("DATABASE_PASSWORD", PASSWORD)
            .with("APP_MODE_KEY", "messages");
        let proxy = project.proxy("replay", &server.url, &[]);
        let url = format!("{}{scope}", proxy.url);
        let client = Client::builder().base_url(&url).api_key(KEY).build().unwrap();
        client.request(request).await.unwrap().bytes().await.unwrap();
        let done = proxy.stop();
        let output = done.stderr.to_lowercase();
        assert_eq!(
            (done.code(), files_below(project.path())),
            (1, 0),
            "{location}: {output}"
        );
        let expected = format!("the value of DATABASE_PASSWORD in {location}");
        assert!(done.stderr.contains(&expected), "{expected}: {}", done.stderr);
        assert!(
            !output.contains("blue_horse+") && !output.contains("blue-horse"),
            "{output}"
        );
    }
    // Without the variable, and with a value that is a word, nothing is refused.
    let project = Project::new().with("DATABASE_PASSWORD", "production");
    let proxy = project.proxy("replay", &server.url, &[]);
    let client = Client::builder().base_url(&proxy.url).api_key(KEY).build().unwrap();
    client
        .request(chat("say it in production"))
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(proxy.stop().code(), 0);
    assert_eq!(project.run(&["verify"]).code(), 0);
    let found = done_with(&project, PASSWORD, &["verify"]);
    assert_eq!(found.code(), 1);
    assert!(
        found.stdout.contains("the value of SERVICE_TOKEN") && !found.stdout.contains(PASSWORD),
        "{}",
        found.stdout
    );

    let line = json!({
        "request": { "method": "GET", "url": format!("https://proxy.example.com/v1/models?q={PASSWORD}") },
        "response": { "status": 200, "body": "{}" },
    });
    project.write("in.jsonl", line.to_string());
    let imported = done_with(&project, PASSWORD, &["import", "in.jsonl"]);
    assert_eq!(imported.code(), 1);
    assert!(
        imported.stderr.contains("the value of SERVICE_TOKEN") && !imported.stderr.contains(PASSWORD),
        "{}",
        imported.stderr
    );
}

fn done_with(project: &Project, value: &str, arguments: &[&str]) -> Done {
    done(project.command(arguments).env("SERVICE_TOKEN", value))
}

/// The log and the verdict name requests without the secrets in their paths.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_about_a_request_repeats_a_secret() {
    let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
    let server = Server::start(|_, request| match &*request.method {
        "GET" => Reply::new(500, "application/json", "{}"),
        _ => Reply::json(""),
    })
    .await;
    let project = Project::new();
    for (mode, upstream) in [
        ("replay", &*server.url),
        ("live", &*server.url),
        ("strict", "http://127.0.0.1:9"),
    ] {
        let proxy = project.proxy(mode, upstream, &["-v"]);
        let client = Client::builder()
            .base_url(&proxy.url)
            .api_key(KEY)
            .retries(Retries::new(0));
        let client = client.build().unwrap();
        for method in [Request::get, Request::delete] {
            let response = client.request(method(&format!("/v1/files/{token}")).unwrap()).await;
            if let Ok(response) = response {
                let _ = response.bytes().await;
            }
        }
        let done = proxy.stop();
        assert!(done.stderr.contains("/v1/files/[REDACTED]"), "{mode}: {}", done.stderr);
        if mode != "strict" {
            // A miss shows the request to the client that has sent it.
            assert!(!done.stderr.contains(&token), "{mode}: {}", done.stderr);
        }
    }
}
