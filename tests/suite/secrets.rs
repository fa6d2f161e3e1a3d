//! Secrets: recording refuses them, `verify` finds them at every location, and no message contains them.
//!
//! All secrets are invented. Each is assembled from parts, so that secret scanners find none in this file.

use std::fs;
use std::path::Path;

use crate::support::KEY;
use crate::support::corpus::corpus;
use crate::support::project::Project;
use crate::support::server::{Reply, Server};
use crate::support::skip::is_left_out;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use mistral_cassette::client::Client;
use mistral_cassette::recorder::RecorderBuilder;
use mistral_cassette::{DirectoryEngine, ErrorKind, Mode, Recorder, Request, Response, Scope, Settings};
use serde_json::{Value, json};

const SURE: bool = true;
const LIKELY: bool = false;

/// The location of a secret.
enum Place {
    Prompt,
    /// JSON inside JSON, as the value of this name.
    ToolArguments(&'static str),
    /// Text in a stream, in one event.
    StreamEvent,
    ResponseText,
    ResponseHeader(&'static str),
    Query(&'static str),
    /// A text file in a multipart body.
    Part,
    /// Binary data, which the cassette contains as base64.
    Bytes,
    /// A response that is stored in `bodies/`.
    LargeBody,
    /// A member of this name in the response.
    Member(&'static str),
    /// In a prompt, written with escapes.
    Escaped,
    /// A text file in the data URL of a document.
    DataUrl,
    /// The name of a part in a multipart body.
    PartName,
    /// The content type of a part in a multipart body.
    PartType,
}

use Place::*;

struct Plant {
    kind: &'static str,
    is_sure: bool,
    place: Place,
    text: String,
    /// The text that must not be printed.
    value: String,
}

fn plant(kind: &'static str, is_sure: bool, place: Place, before: &str, value: &[&str], behind: &str) -> Plant {
    let value = value.concat();
    Plant {
        kind,
        is_sure,
        place,
        text: format!("{before}{value}{behind}"),
        value,
    }
}

/// More than thirty secrets, each at a realistic location.
fn planted() -> Vec<Plant> {
    let basic = STANDARD.encode("deploy:S3nd-m0re-Tea");
    let pem = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    vec![
        plant(
            "a Mistral API key",
            SURE,
            Prompt,
            "export MISTRAL_API_KEY=",
            &["aB3dE5gH7jK9mN1p", "Q3sT5vX7zA9cE1gI"],
            " and run",
        ),
        plant(
            "a Mistral API key",
            SURE,
            ToolArguments("api_key"),
            "",
            &["k7Hs02LmQx94TzRb", "Vn61WcYp83GdJf5E"],
            "",
        ),
        plant(
            "a Mistral API key",
            SURE,
            ResponseText,
            "curl -H 'x-api-key: ",
            &["q8Wn3Ed6Rf5Tg2Yh", "J9kU4iO1pL7aZ0xC"],
            "'",
        ),
        plant(
            "an OpenAI API key",
            SURE,
            Prompt,
            "my key:\n",
            &["sk-pr", "oj-Zx81_kQpW37-vLmN52sTbR96dYfGhJ"],
            "",
        ),
        plant(
            "an API key",
            SURE,
            StreamEvent,
            "use ",
            &["sk", "-4Kd93LsmX72bQwTz6vPn"],
            "",
        ),
        plant(
            "an Anthropic API key",
            SURE,
            Part,
            "ANTHROPIC=",
            &["sk-a", "nt-api03-7fGh2JkL9mNpQ4rStV6wXyZ"],
            "\n",
        ),
        plant(
            "an AWS access key id",
            SURE,
            Prompt,
            "id ",
            &["AKI", "AQ7RT5WXN2LPV6K3M"],
            ".",
        ),
        plant(
            "an AWS access key id",
            SURE,
            Bytes,
            "\u{0}",
            &["ASI", "AZ3MK7PWXQ5RT2LNV"],
            "\u{0}",
        ),
        plant(
            "an AWS secret key",
            SURE,
            Part,
            "aws_secret_access_key = ",
            &["x7Qd2/kLm9+ZsT4vBn6", "WcYp83GdJf5Er1HuA0iKo"],
            "\n",
        ),
        plant(
            "a Google API key",
            SURE,
            Query("key"),
            "",
            &["AIz", "aSyB4kT7wQ9xL2mN5pR8sV1zC3dF6gH0jKuW"],
            "",
        ),
        plant(
            "a Google OAuth token",
            SURE,
            ResponseText,
            "",
            &["ya2", "9.a0Kd93LsmX72bQwTz6vPn51RhYc"],
            "",
        ),
        plant(
            "a private key",
            SURE,
            ToolArguments("private_key"),
            &format!("-----BEGIN PRIV{}-----\n", "ATE KEY"),
            &[pem],
            "\n-----END",
        ),
        plant(
            "a private key",
            SURE,
            LargeBody,
            &format!("-----BEGIN OPENSSH PRIV{}-----\n", "ATE KEY"),
            &["b3BlbnNzaC1rZXktdjEAAAAABG5v", "bmUAAAAEbm9uZQAA"],
            "\n",
        ),
        plant(
            "a GitHub token",
            SURE,
            ToolArguments("command"),
            "git clone https://",
            &["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"],
            "@github.com/a/b",
        ),
        plant(
            "a GitHub token",
            SURE,
            StreamEvent,
            "",
            &["git", "hub_pat_11ABCDEFG0k7Hs02LmQx94_TzRbVn61WcYp"],
            "",
        ),
        plant(
            "a GitHub token",
            SURE,
            Escaped,
            "",
            &["gh", "s_Zt51kQpW37vLmN52sTbR96dYfGhJ4xBc8nAe"],
            "",
        ),
        plant(
            "a GitLab token",
            SURE,
            Prompt,
            "",
            &["glp", "at-7fGh2JkL9mNpQ4rStV6w"],
            "",
        ),
        plant(
            "a Slack token",
            SURE,
            ResponseText,
            "",
            &["xo", "xb-263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1"],
            "",
        ),
        plant(
            "a Stripe key",
            SURE,
            Member("stripe"),
            "",
            &["sk_", "live_4eC39HqLyjWDarjtT1zdp7dc"],
            "",
        ),
        plant(
            "a Hugging Face token",
            SURE,
            Part,
            "login --token ",
            &["h", "f_QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi"],
            "\n",
        ),
        plant(
            "a JSON web token",
            SURE,
            ResponseHeader("location"),
            "/callback?t=",
            &[
                "eyJhbGciOiJIUzI1NiJ9",
                ".eyJzdWIiOiI5OTQxMjM3In0.dozjgNryP4J3jVmNHl0w5N",
            ],
            "",
        ),
        plant(
            "a session cookie",
            SURE,
            Prompt,
            "Set-Cookie: ",
            &["__cf", "_bm=IK1dow55_tCwD2U80a3k-1736892101-1.0.1.1-95gs1"],
            "; path=/",
        ),
        plant(
            "a session cookie",
            SURE,
            ToolArguments("cookie"),
            "theme=dark; sessionid=",
            &["h4k7Hs02LmQx94TzRbVn61"],
            "; b=1",
        ),
        plant(
            "a bearer token",
            SURE,
            Prompt,
            "Authorization: Bearer ",
            &["t0k7Hs02LmQx94TzRbVn61Wc"],
            "",
        ),
        plant(
            "a bearer token",
            SURE,
            Bytes,
            "\u{0}\u{1}authorization: bearer ",
            &["m4k7Hs02LmQx94TzRbVn61Wc"],
            "\r\n",
        ),
        plant(
            "basic authorization",
            SURE,
            ToolArguments("authorization"),
            "Basic ",
            &[&basic],
            "",
        ),
        plant(
            "a password in a URL",
            SURE,
            Prompt,
            "postgres://app:",
            &["p9X-72bQwTz6vPn"],
            "@db.internal:5432/main",
        ),
        plant(
            "a password in a URL",
            LIKELY,
            LargeBody,
            "amqp://app:",
            &["hunting-season"],
            "@queue.internal",
        ),
        plant(
            "a signed URL",
            LIKELY,
            Member("url"),
            "https://files.blob.core.windows.net/a?se=2026&sig=",
            &["kQ7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2uAbCdEf8%3D"],
            "",
        ),
        plant(
            "a possible password or token",
            LIKELY,
            Member("access_token"),
            "",
            &["k7Hs02-LmQx94-TzRbVn61"],
            "",
        ),
        plant(
            "a possible password or token",
            LIKELY,
            ToolArguments("password"),
            "",
            &["Tr0ub4dor&3xKq"],
            "",
        ),
        plant(
            "a credential in a query",
            SURE,
            Query("client_secret"),
            "",
            &["8f14e45fceea167a5a36dedd4bea2543"],
            "",
        ),
        plant(
            "a GitHub token",
            SURE,
            DataUrl,
            "# .env\nGITHUB=",
            &["gh", "p_q8Wn3Ed6Rf5Tg2YhJ9kU4iO1pL7aZ0xCvB"],
            "\nMODE=replay\n",
        ),
        plant(
            "a GitLab token",
            SURE,
            PartName,
            "",
            &["glp", "at-q8Wn3Ed6Rf5Tg2YhJ9kU"],
            "",
        ),
        plant(
            "a Slack token",
            SURE,
            PartType,
            "text/plain; name=",
            &["xo", "xb-q8Wn3Ed6Rf5Tg2YhJ9kU4iO1"],
            "",
        ),
    ]
}

pub(crate) fn post(body: &Value) -> Request {
    Request::post("/v1/chat/completions").unwrap().json(body).unwrap()
}

pub(crate) fn answer(body: impl Into<mistral_cassette::Body>, kind: &'static str) -> Response {
    Response::new(StatusCode::OK, body).header(CONTENT_TYPE, kind.parse().unwrap())
}

/// The request and the response with this secret.
fn exchange(number: usize, plant: &Plant) -> (Request, Response, Vec<u8>) {
    const JSON: &str = "application/json";
    let text = &plant.text;
    let ask =
        |text: &str| post(&json!({ "model": "m", "n": number, "messages": [{ "role": "user", "content": text }] }));
    let output = |value: Value| value.to_string().into_bytes();
    let well = || output(json!({ "choices": [{ "message": { "content": "Well." } }] }));
    let (request, kind, body) = match &plant.place {
        Prompt => (ask(text), JSON, well()),
        Escaped => {
            let first = format!("\\u{:04x}", text.as_bytes()[0]);
            let body = format!("{{\"n\":{number},\"prompt\":\"{first}{}\"}}", &text[1..]);
            let request = Request::post("/v1/fim/completions").unwrap().body(body);
            (request.header(CONTENT_TYPE, JSON.parse().unwrap()), JSON, well())
        }
        ToolArguments(name) => {
            let arguments = json!({ "a": 1, *name: text }).to_string();
            let call = json!({ "id": "abc123def", "function": { "name": "f", "arguments": arguments } });
            (
                ask("?"),
                JSON,
                output(json!({ "choices": [{ "message": { "tool_calls": [call] } }] })),
            )
        }
        StreamEvent => {
            let event = |text: &str| format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }));
            let body = format!("{}{}data: [DONE]\n\n", event("first"), event(text));
            (ask("?"), "text/event-stream", body.into_bytes())
        }
        ResponseText => (
            ask("?"),
            JSON,
            output(json!({ "choices": [{ "message": { "content": text } }] })),
        ),
        Member(name) => (ask("?"), JSON, output(json!({ *name: text }))),
        ResponseHeader(_) => (ask("?"), JSON, well()),
        Query(name) => {
            let query = format!("/v1/models?n={number}&{name}={text}");
            (Request::get(&query).unwrap(), JSON, well())
        }
        DataUrl => {
            let url = format!("data:text/plain;base64,{}", STANDARD.encode(text));
            let content = json!([{ "type": "document_url", "document_url": url }]);
            let body = json!({ "model": "m", "n": number, "messages": [{ "role": "user", "content": content }] });
            (post(&body), JSON, well())
        }
        Part | PartName | PartType => {
            let (mut name, mut kind, mut content) = ("file", "text/plain", "nothing");
            match plant.place {
                PartName => name = text,
                PartType => kind = text,
                _ => content = text,
            }
            let body = format!(
                "--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nn{number}\r\n\
                 --XX\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"notes.txt\"\r\n\
                 Content-Type: {kind}\r\n\r\n{content}\r\n--XX--\r\n"
            );
            let request = Request::post("/v1/files").unwrap().body(body);
            let request = request.header(CONTENT_TYPE, "multipart/form-data; boundary=XX".parse().unwrap());
            (request, JSON, well())
        }
        Bytes => {
            let mut body = vec![0xff, 0xfe];
            body.extend_from_slice(text.as_bytes());
            (ask("?"), "application/octet-stream", body)
        }
        LargeBody => (
            ask("?"),
            "text/plain",
            format!("{}\n{text}\n", "a line of text\n".repeat(6000)).into_bytes(),
        ),
    };
    let mut response = answer(body.clone(), kind);
    if let ResponseHeader(name) = plant.place {
        response = response.header(HeaderName::from_static(name), text.parse().unwrap());
    }
    (request, response, body)
}

pub(crate) fn recorder(root: &Path, with: impl FnOnce(RecorderBuilder) -> RecorderBuilder) -> Recorder {
    let builder = Recorder::builder(DirectoryEngine::new(root)).mode(Mode::Record);
    with(builder.allow_record_in_ci()).build().unwrap()
}

/// The body that the caller received.
pub(crate) async fn record(recorder: &Recorder, request: Request, response: Response) -> Vec<u8> {
    let answered = recorder.answer(request, async move |_: Request| Ok(response)).await;
    answered.unwrap().bytes().await.unwrap().to_vec()
}

pub(crate) fn files_below(root: &Path) -> usize {
    let Ok(entries) = fs::read_dir(root) else { return 0 };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}

#[tokio::test]
async fn verify_finds_every_planted_secret_and_prints_none() {
    let project = Project::new();
    let planted = planted();
    assert!(planted.len() >= 30);
    for (number, plant) in planted.iter().enumerate() {
        let (request, response, _) = exchange(number, plant);
        let scope = Scope::new(&format!("plant_{number:02}")).unwrap();
        let recorder = recorder(&project.cassettes(), |builder| builder.allow_secrets().scope(scope));
        record(&recorder, request, response).await;
        recorder.finish().await.unwrap();
    }
    let done = project.run(&["verify", "--format", "json"]);
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    let text = project.run(&["verify"]);
    let bodies: Vec<String> = (0..planted.len())
        .map(|number| {
            // The file that refers to a large body is not the file that contains it.
            let folder = project.cassettes().join(format!("plant_{number:02}/chat-completions"));
            let file = fs::read_dir(folder).ok().and_then(|mut entries| entries.next());
            let text = file
                .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
                .unwrap_or_default();
            let body = text.lines().find_map(|line| line.trim().strip_prefix("file: "));
            body.unwrap_or("nowhere").to_owned()
        })
        .collect();
    let mut wrong = Vec::new();
    for (number, plant) in planted.iter().enumerate() {
        let list = if plant.is_sure { "problems" } else { "warnings" };
        let here: Vec<&Value> = found[list]
            .as_array()
            .unwrap()
            .iter()
            .filter(|problem| {
                let file = problem["file"].as_str().unwrap();
                file.contains(&format!("plant_{number:02}/")) || file.contains(&bodies[number])
            })
            .collect();
        let is_found = here
            .iter()
            .any(|problem| problem["problem"].as_str().unwrap().contains(plant.kind));
        let has_line = matches!(plant.place, Bytes | Escaped) || here.iter().all(|problem| problem["line"].is_u64());
        if !is_found || !has_line {
            wrong.push(format!("{number}: {} {}: {here:?}", plant.kind, plant.text));
        }
        for output in [&done.stdout, &text.stdout, &done.stderr, &text.stderr] {
            assert!(!output.contains(&plant.value), "{number}: {output}");
        }
        // Not in a file name either.
        let words = plant.value.to_lowercase();
        let mut words = words.split(|letter: char| !letter.is_ascii_alphanumeric());
        assert!(
            !words.any(|word| word.len() > 7 && text.stdout.contains(word)),
            "{number}: {}",
            text.stdout
        );
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), text.stdout);
    assert_eq!(done.code(), 1);
}

#[tokio::test]
async fn recording_refuses_certain_secrets_and_passes_the_response_through() {
    for (number, plant) in planted().iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (request, response, body) = exchange(number, plant);
        let recorder = recorder(folder.path(), |builder| builder);
        assert_eq!(record(&recorder, request, response).await, body, "{number}");
        let verdict = recorder.finish().await;
        if !plant.is_sure {
            assert_eq!(verdict.unwrap().recorded, 1, "{number}");
            continue;
        }
        let error = verdict.unwrap_err();
        let output = error.report();
        assert_eq!(error.kind(), ErrorKind::Cassette);
        assert!(output.contains(plant.kind), "{number}: {output}");
        assert!(
            output.contains("settings.yaml") && output.contains("--allow-secrets"),
            "{output}"
        );
        assert!(!output.contains(&plant.value), "{number}: {output}");
        assert_eq!(files_below(folder.path()), 0, "{number}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_location_of_the_secret() {
    let mut output = String::new();
    for number in [0, 1, 4, 5, 9, 20, 32, 33, 34] {
        let folder = tempfile::tempdir().unwrap();
        let (request, response, _) = exchange(number, &planted()[number]);
        let recorder = recorder(folder.path(), |builder| builder);
        record(&recorder, request, response).await;
        output.push_str(recorder.session().failures()[0].message());
        output.push('\n');
    }
    insta::assert_snapshot!(output, @r#"
    not recorded: POST chat-completions: it contains a secret: a Mistral API key in the request at /messages/0/content
    not recorded: POST chat-completions: it contains a secret: a Mistral API key in the response at /choices/0/message/tool_calls/0/function/arguments
    not recorded: POST chat-completions: it contains a secret: an API key in event 2 of the response at /choices/0/delta/content
    not recorded: POST files: it contains a secret: an Anthropic API key in the body of the part "file" of the request
    not recorded: GET models: it contains a secret: a Google API key in the query of the request
    not recorded: POST chat-completions: it contains a secret: a JSON web token in the header location of the response
    not recorded: POST chat-completions: it contains a secret: a GitHub token in the request at /messages/0/content/0/document_url
    not recorded: POST files: it contains a secret: a GitLab token in the part "[REDACTED]" of the request
    not recorded: POST files: it contains a secret: a Slack token in the part "file" of the request
    "#);
}

#[tokio::test]
async fn settings_and_redactions_control_the_secret_scan() {
    let (request, ..) = exchange(0, &planted()[0]);
    for (settings, is_kept) in [
        ("secrets: refuse", false),
        ("secrets: warn", true),
        ("secrets: allow", true),
        ("redaction:\n- pattern: 'aB3dE5gH\\w+'\n", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::from_yaml(settings.as_bytes(), "settings").unwrap();
        let recorder = recorder(folder.path(), |builder| builder.settings(settings));
        record(&recorder, request.clone(), answer("{}", "application/json")).await;
        assert_eq!(recorder.finish().await.is_ok(), is_kept);
        assert_eq!(files_below(folder.path()), usize::from(is_kept));
    }
}

#[tokio::test]
async fn secrets_that_the_settings_allow_are_warnings_in_verify() {
    let project = Project::new();
    let (request, response, _) = exchange(0, &planted()[0]);
    let recorder = recorder(&project.cassettes(), |builder| builder.allow_secrets());
    record(&recorder, request, response).await;
    assert_eq!(project.run(&["verify"]).code(), 1);
    project.write("cassettes/settings.yaml", "secrets: allow\n");
    let done = project.run(&["verify"]);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    assert!(
        done.stdout.ends_with("1 cassette, 0 problems, 1 warning\n"),
        "{}",
        done.stdout
    );
}

/// An encoded body is refused and reported; a decoded body that still has the header is searched.
#[tokio::test]
async fn data_that_cannot_be_searched_is_refused_and_a_warning_in_verify() {
    let project = Project::new();
    let ask = || Request::get("/v1/models").unwrap();
    let answer = |body: &'static [u8]| {
        Response::new(StatusCode::OK, body.to_vec())
            .header(http::header::CONTENT_ENCODING, HeaderValue::from_static("br"))
    };
    let (coded, text) = (&b"\x1b\x09\x00\xf8\xa5[\xca\xe6"[..], &br#"{"data":[]}"#[..]);
    let refusing = recorder(&project.cassettes(), |builder| builder);
    assert_eq!(record(&refusing, ask(), answer(coded)).await, coded);
    assert_eq!(files_below(&project.cassettes()), 0);
    assert!(refusing.finish().await.is_err());
    for (body, warnings) in [(text, ""), (coded, ", 1 warning")] {
        let allowing = recorder(&project.cassettes(), |builder| {
            if body == coded {
                builder.allow_secrets()
            } else {
                builder
            }
        });
        record(&allowing, ask(), answer(body)).await;
        allowing.finish().await.unwrap();
        let done = project.run(&["verify"]);
        assert_eq!(done.code(), 0, "{}", done.stdout);
        assert!(
            done.stdout.ends_with(&format!("1 cassette, 0 problems{warnings}\n")),
            "{}",
            done.stdout
        );
    }
}

#[tokio::test]
async fn a_file_in_the_root_folder_is_reported_without_its_slug() {
    let project = Project::new();
    let (request, response, _) = exchange(0, &planted()[0]);
    let recorder = recorder(&project.cassettes(), |builder| builder.allow_secrets());
    record(&recorder, request, response).await;
    let files = project.tree();
    let (name, content) = files.first_key_value().unwrap();
    let short = name.rsplit_once('-').unwrap().1;
    // The slug starts with the secret; the same request is in another file, which is listed later.
    project.write(&format!("cassettes/ab3de5gh-{short}"), content);
    let done = project.run(&["verify"]);
    let report_text = format!("the same request is recorded in …-{short}: delete one of them");
    assert!(done.stdout.contains(&report_text), "{}", done.stdout);
    assert!(
        done.stdout.contains(&format!("\ncassettes/…-{short}")),
        "{}",
        done.stdout
    );
    assert!(!done.stdout.contains("ab3de5gh"), "{}", done.stdout);
}

/// The exchanges with secrets in the formats of other tools: JSON lines and HAR.
fn sources() -> [(&'static str, String); 2] {
    let headers = |headers: &HeaderMap| -> Vec<Value> {
        let one = |(name, value): (&HeaderName, &HeaderValue)| json!({ "name": name.as_str(), "value": value.to_str().unwrap() });
        headers.iter().map(one).collect()
    };
    let (mut lines, mut entries) = (String::new(), Vec::new());
    for (number, plant) in planted().iter().enumerate() {
        let (request, response, body) = exchange(number, plant);
        let url = format!("https://api.example.com{}", request.target());
        let (requested, answered) = (STANDARD.encode(request.body_bytes()), STANDARD.encode(body));
        let (method, heads) = (
            request.method().as_str(),
            (headers(request.header_map()), headers(response.header_map())),
        );
        let line = json!({
            "request": { "method": method, "url": url, "headers": heads.0, "body": requested, "body_encoding": "base64" },
            "response": { "status": 200, "headers": heads.1, "body": answered, "body_encoding": "base64" },
        });
        lines.push_str(&format!("{line}\n"));
        let mut request = json!({ "method": method, "url": url, "headers": heads.0 });
        if !requested.is_empty() {
            request["postData"] = json!({ "mimeType": "", "text": requested, "encoding": "base64" });
        }
        let content = json!({ "text": answered, "encoding": "base64" });
        entries
            .push(json!({ "request": request, "response": { "status": 200, "headers": heads.1, "content": content } }));
    }
    let har = json!({ "log": { "version": "1.2", "entries": entries } });
    [("lines.jsonl", lines), ("browser.har", har.to_string())]
}

#[test]
fn import_refuses_what_recording_refuses() {
    let planted = planted();
    let sure = planted.iter().filter(|plant| plant.is_sure).count();
    for (name, source) in sources() {
        let project = Project::new();
        project.write(name, source);
        let done = project.run(&["import", name]);
        assert_eq!(done.code(), 1, "{name}: {}", done.stderr);
        let was_stored = planted.len() - sure;
        let summary =
            format!("{was_stored} interactions in {was_stored} cassettes imported, 0 unchanged, {sure} not imported\n");
        assert_eq!(done.stdout, summary, "{name}: {}", done.stderr);
        let report_text: Vec<&str> = done.stderr.lines().collect();
        for (number, plant) in planted.iter().enumerate() {
            let of_this = |line: &&&str| {
                ["line", "entry"]
                    .iter()
                    .any(|kind| line.contains(&format!(": {kind} {} ", number + 1)))
            };
            match report_text.iter().find(of_this) {
                Some(line) => assert!(plant.is_sure && line.contains(plant.kind), "{name}: {line}"),
                None => assert!(!plant.is_sure, "{name}: {number} is not told: {}", done.stderr),
            }
            assert!(!done.stderr.contains(&plant.value), "{name}: {number}: {}", done.stderr);
            let files = project.tree();
            let holds = |(file, content): (&String, &Vec<u8>)| {
                file != name && memchr::memmem::find(content, plant.value.as_bytes()).is_some()
            };
            assert!(!plant.is_sure || !files.iter().any(holds), "{name}: {number}");
        }
        let hint = report_text.last().unwrap();
        assert!(
            hint.contains("settings.yaml") && hint.contains("--allow-secrets"),
            "{hint}"
        );
        let verified = project.run(&["verify"]);
        assert!(verified.stdout.contains(" 0 problems"), "{}", verified.stdout);
    }
}

#[test]
fn import_refuses_data_that_cannot_be_searched() {
    let project = Project::new();
    let line = json!({
        "request": { "method": "GET", "url": "https://proxy.example.com/v1/models" },
        "response": {
            "status": 200,
            "headers": { "content-encoding": ["compress"] },
            "body": STANDARD.encode(b"\x1f\x9d\x90coded"),
            "body_encoding": "base64",
        },
    });
    project.write("in.jsonl", format!("{line}\n"));
    let done = project.run(&["import", "in.jsonl"]);
    assert_eq!(done.code(), 1, "{}", done.stdout);
    assert!(
        done.stderr.contains("its body has the content encoding compress"),
        "{}",
        done.stderr
    );
    assert_eq!(files_below(&project.cassettes()), 0);
    let done = project.run(&["import", "in.jsonl", "--allow-secrets"]);
    assert_eq!(
        (done.code(), files_below(&project.cassettes())),
        (0, 1),
        "{}",
        done.stderr
    );
}

#[test]
fn import_prints_no_secret_of_its_source() {
    let project = Project::new();
    let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
    let line = json!({
        "request": { "method": "GET", "url": "https://proxy.example.com/v1/models" },
        "response": { "status": 200, "body": "{}" },
        "test": format!("with {token}"),
        "from": format!("https://proxy.example.com/{token}"),
    });
    project.write("lines.jsonl", line.to_string());
    assert_eq!(project.run(&["import", "lines.jsonl"]).code(), 0);
    let files = project.tree();
    let (_, cassette) = files.iter().find(|(name, _)| name.ends_with(".yaml")).unwrap();
    let cassette = String::from_utf8_lossy(cassette);
    assert!(
        cassette.contains("with [REDACTED]") && !cassette.contains(&token),
        "{cassette}"
    );
    assert_eq!(project.run(&["verify"]).code(), 0);
}

#[test]
fn settings_control_what_import_refuses() {
    let all = planted().len();
    let sure = planted().iter().filter(|plant| plant.is_sure).count();
    for (settings, flags, code, refused, warned) in [
        ("secrets: refuse\n", &[][..], 1, sure, 0),
        ("secrets: refuse\n", &["--allow-secrets"], 0, 0, 0),
        ("secrets: allow\n", &[], 0, 0, 0),
        ("secrets: warn\n", &[], 0, 0, sure),
        // Redacted text is not a secret.
        ("redaction:\n- pattern: 'sk-[\\w-]+'\n", &[], 1, sure - 3, 0),
    ] {
        let project = Project::new();
        let [(name, lines), _] = sources();
        project.write(name, lines);
        project.write("cassettes/settings.yaml", settings);
        let done = project.run(&[&["import", name], flags].concat());
        let count = |beginning: &str| done.stderr.lines().filter(|line| line.starts_with(beginning)).count();
        assert_eq!(done.code(), code, "{settings}{flags:?}: {}", done.stderr);
        assert_eq!(
            (count("not imported: "), count("warning: imported: ")),
            (refused, warned),
            "{}",
            done.stderr
        );
        let was_stored = format!("{} interactions in", all - refused);
        assert!(done.stdout.starts_with(&was_stored), "{settings}: {}", done.stdout);
        // Existing recordings are not imported again, so there is no warning.
        let again = project.run(&[&["import", name], flags].concat());
        assert!(!again.stderr.contains("warning"), "{settings}: {}", again.stderr);
        assert!(
            !planted().iter().any(|plant| done.stderr.contains(&plant.value)),
            "{}",
            done.stderr
        );
    }
}

/// Recorded exchanges of real traffic: nothing is refused, and `verify` reports nothing.
#[tokio::test]
async fn real_traffic_contains_no_false_positives() {
    if is_left_out() {
        return;
    }
    let Some(corpus) = corpus() else { return };
    let text = fs::read_to_string(&corpus).unwrap();
    let project = Project::new();
    let root = recorder(&project.cassettes(), |builder| builder.save_errors());
    let bytes = |side: &Value| -> Vec<u8> {
        let body = side["body"].as_str().unwrap_or_default();
        if side["body_encoding"] == "base64" {
            STANDARD.decode(body).unwrap()
        } else {
            body.as_bytes().to_vec()
        }
    };
    let headers = |side: &Value| -> Vec<(HeaderName, String)> {
        let all = side["headers"].as_object().cloned().unwrap_or_default();
        all.iter()
            .flat_map(|(name, values)| {
                let values = values.as_array().cloned().unwrap_or_default();
                let name: HeaderName = name.to_lowercase().parse().unwrap();
                values
                    .into_iter()
                    .map(move |value| (name.clone(), value.as_str().unwrap().to_owned()))
            })
            .collect()
    };
    let (mut number, mut sent) = (0, Vec::new());
    for row in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let (requested, answered) = (&row["request"], &row["response"]);
        let url = requested["url"].as_str().unwrap();
        let target = format!("/{}", url.splitn(4, '/').nth(3).unwrap_or_default());
        let method: Method = requested["method"].as_str().unwrap().parse().unwrap();
        let all = headers(requested).into_iter().chain(headers(answered));
        sent.extend(all.map(|(name, value)| format!("{name}: {value}")));
        let Ok(mut request) = Request::new(method, &target) else {
            continue;
        };
        if let Some((name, value)) = headers(requested).into_iter().find(|(name, _)| *name == CONTENT_TYPE) {
            request = request.header(name, value.parse().unwrap());
        }
        let status = u16::try_from(answered["status"].as_u64().unwrap_or(200)).unwrap();
        let mut response = Response::new(StatusCode::from_u16(status).unwrap(), bytes(answered));
        for (name, value) in headers(answered) {
            if let Ok(value) = value.parse() {
                response = response.header(name, value);
            }
        }
        let recorder = root.scoped(Scope::new(&format!("row_{number}")).unwrap());
        record(&recorder, request.body(bytes(requested)), response).await;
        number += 1;
    }
    let summary = root.finish().await.unwrap_or_else(|error| panic!("{}", error.report()));
    assert!(number > 500 && summary.recorded == number, "{number}: {summary}");
    let done = project.run(&["verify"]);
    assert_eq!(done.stdout, format!("{number} cassettes, 0 problems\n"));

    // In the headers, only the cookies that are not redacted are secrets.
    project.write("cassettes/bodies/headers", sent.join("\n"));
    let done = project.run(&["verify", "--format", "json"]);
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    let found: Vec<u64> = ["problems", "warnings"]
        .iter()
        .flat_map(|list| found[list].as_array().unwrap())
        .map(|problem| problem["line"].as_u64().unwrap())
        .collect();
    let is_cookie = |line: &str| {
        ["__cf_bm=", "_cfuvid="].iter().any(|name| {
            line.split_once(name)
                .is_some_and(|(_, value)| !value.starts_with("REDACTED"))
        })
    };
    let cookies: Vec<u64> = (1..)
        .zip(&sent)
        .filter(|(_, line)| is_cookie(line))
        .map(|(line, _)| line)
        .collect();
    println!("{number} exchanges, {} headers, {} cookies", sent.len(), cookies.len());
    assert_eq!(found, cookies);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_passes_a_response_with_a_secret_through_and_fails_the_verdict_unless_allowed() {
    let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
    let output = token.clone();
    let server = Server::start(move |_, _| Reply::json(json!({ "content": output }).to_string())).await;
    for (flags, code, files) in [(&[][..], 1, 0), (&["--allow-secrets"], 0, 1)] {
        let project = Project::new();
        let proxy = project.proxy("replay", &server.url, flags);
        let client = Client::builder().base_url(&proxy.url).api_key(KEY).build().unwrap();
        let response = client.request(Request::get("/v1/models").unwrap()).await.unwrap();
        assert!(response.text().await.unwrap().contains(&token));
        let done = proxy.stop();
        assert_eq!(
            (done.code(), files_below(project.path())),
            (code, files),
            "{}",
            done.stderr
        );
        assert!(!done.stderr.contains(&token), "{}", done.stderr);
        assert_eq!(
            done.stderr.contains("a GitHub token in the response at /content"),
            code == 1
        );
    }
}
