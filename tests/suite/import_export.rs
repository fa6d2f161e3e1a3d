//! `import` and `export`: files of other tools become cassettes that replay, and exported cassettes are imported
//! unchanged.
//!
//! `tests/fixtures/exchange` contains recordings of real tools, and some written by hand; its README lists them. The
//! recorded traffic of `../shared/corpus` is not public; without it that test is skipped.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::api;
use crate::support::corpus::corpus;
use crate::support::project::{Done, Project, done};
use crate::support::skip::is_left_out;
use base64::Engine as _;
use serde_json::{Value, json};

/// Secrets in the requests and cookies of the fixtures, which must not be in a cassette.
const PLANTED: [&str; 2] = ["sk-planted-0123456789abcdefghij", "planted-cookie-value-123"];

pub(crate) const WHICH_WIND: &str =
    r#"{"model":"our-model","messages":[{"role":"user","content":"Which wind blows?"}]}"#;
const STREAM: &str = r#"{"model":"our-model","messages":[{"role":"user","content":"Stream it."}],"stream":true}"#;
const SAY_IT: &str = r#"{"model":"our-model","messages":[{"role":"user","content":"Say it."}]}"#;
pub(crate) const SAY_IT_SHORT: &str = r#"{"input":"Say it."}"#;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/exchange")
        .join(name)
}

pub(crate) fn import(project: &Project, arguments: &[&str]) -> Done {
    let mut all = vec!["import"];
    all.extend(arguments);
    project.run(&all)
}

/// A project with one file to import.
pub(crate) fn with_file(name: &str) -> Project {
    let project = Project::new();
    project.write(name, std::fs::read(fixture(name)).unwrap());
    project
}

pub(crate) fn cassettes(project: &Project, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let prefix = format!("{folder}/");
    let inside = |(name, content): (String, Vec<u8>)| Some((name.strip_prefix(&prefix)?.to_owned(), content));
    project.tree().into_iter().filter_map(inside).collect()
}

pub(crate) fn bytes() -> Vec<u8> {
    (0..=255).collect()
}

/// Sends a request with curl; returns the status and the body.
pub(crate) fn requested(url: &str, arguments: &[&str]) -> (u16, Vec<u8>) {
    let output = Command::new("curl")
        .args(["--silent", "--write-out", "%{stderr}%{http_code}", url])
        .args(arguments)
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&output.stderr);
    (status.parse().unwrap_or_else(|_| panic!("{status}")), output.stdout)
}

/// Requests with their expected responses: the path, options for curl, the status and the body.
pub(crate) type Asks<'a> = Vec<(&'a str, Vec<&'a str>, u16, Vec<u8>)>;

/// Imports a fixture, and replays it with the real binary in mode strict.
pub(crate) fn replays(name: &str, summary: &str, asks: &Asks<'_>) {
    let project = with_file(name);
    project.write("our.bin", b"\x00\xff\r\n\x80");
    project.write("our.txt", "a few words");
    let imported = import(&project, &[name]);
    assert!(imported.stdout.starts_with(summary), "{name}: {imported:?}");
    for (file, content) in cassettes(&project, "cassettes") {
        let text = String::from_utf8_lossy(&content).into_owned();
        assert!(
            !PLANTED.iter().any(|planted| text.contains(planted)),
            "{name}: {file}: {text}"
        );
        assert!(
            !text.contains("cookie") && !text.contains("x-secret-internal"),
            "{name}: {file}: {text}"
        );
    }
    let verified = project.run(&["verify"]);
    assert_eq!(verified.code(), 0, "{name}: {}", verified.stdout);
    let proxy = project.proxy("strict", "http://127.0.0.1:9", &[]);
    for (path, arguments, status, body) in asks {
        let mut reported = arguments.clone();
        // curl finds the files of a form in the project.
        let form: Vec<String> = reported
            .iter()
            .map(|reported| reported.replace("=@", &format!("=@{}/", project.path().display())))
            .collect();
        reported = form.iter().map(String::as_str).collect();
        let (got, answer) = requested(&format!("{}{path}", proxy.url), &reported);
        let texts = (String::from_utf8_lossy(&answer), String::from_utf8_lossy(body));
        assert_eq!((got, &answer), (*status, body), "{name}: {path}: {texts:?}");
    }
    let stopped = proxy.stop();
    assert_eq!(stopped.code(), 0, "{name}: {}", stopped.stderr);
}

#[test]
fn vcrpy_under_requests_and_httpx_replays() {
    let answer = |number: usize, text: &str| {
        format!(
            r#"{{"id": "{number:032}", "object": "chat.completion", "choices": [{{"index": 0, "message": {{"role": "assistant", "content": "Answer {number} to: {text}"}}}}]}}"#
        )
        .into_bytes()
    };
    let stream = concat!(
        r#"data: {"choices":[{"index":0,"delta":{"content":"Our "}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"index":0,"delta":{"content":"wind.\n"}}]}"#,
        "\n\ndata: [DONE]\n\n"
    );
    let models = r#"{"object": "list", "data": [{"id": "our-model", "name": "Rhône"}]}"#;
    let file = br#"{"id":"00000000-0000-0000-0000-000000000001","object":"file"}"#;
    for name in ["vcrpy-requests.yaml", "vcrpy-httpx.yaml"] {
        let asks = vec![
            // The response was compressed: one of the two tools decodes it, the other stores it compressed.
            ("/v1/models", vec![], 200, models.into()),
            (
                "/v1/chat/completions",
                vec!["-d", WHICH_WIND],
                200,
                answer(2, "Which wind blows?"),
            ),
            (
                "/v1/chat/completions",
                vec!["-d", WHICH_WIND],
                200,
                answer(3, "Which wind blows?"),
            ),
            ("/v1/chat/completions", vec!["-d", STREAM], 200, stream.into()),
            ("/v1/audio/speech", vec!["-d", SAY_IT], 200, bytes()),
            (
                "/v1/files",
                vec!["-F", "purpose=ocr", "-F", "file=@our.bin"],
                200,
                file.to_vec(),
            ),
        ];
        replays(
            name,
            "7 interactions in 6 cassettes imported, 0 unchanged, 1 not imported\n",
            &asks,
        );
    }
    let asks = vec![
        ("/v1/models", vec![], 200, models.into()),
        (
            "/v1/chat/completions",
            vec!["-d", WHICH_WIND],
            200,
            answer(2, "Which wind blows?"),
        ),
        ("/v1/chat/completions", vec!["-d", STREAM], 200, stream.into()),
    ];
    replays(
        "vcrpy-httpx.json",
        "3 interactions in 3 cassettes imported, 0 unchanged, 0 not imported\n",
        &asks,
    );
}

#[test]
fn polly_replays() {
    let answer = |number: usize| {
        format!(r#"{{"id":"{number}","choices":[{{"index":0,"message":{{"role":"assistant","content":"Answer {number} to: Which wind blows?"}}}}]}}"#)
            .into_bytes()
    };
    let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Our wind.\"}}]}\n\ndata: [DONE]\n\n";
    let asks = vec![
        (
            "/v1/models",
            vec![],
            200,
            r#"{"object":"list","data":[{"id":"our-model","name":"Rhône"}]}"#.into(),
        ),
        ("/v1/chat/completions", vec!["-d", WHICH_WIND], 200, answer(2)),
        ("/v1/chat/completions", vec!["-d", WHICH_WIND], 200, answer(3)),
        ("/v1/chat/completions", vec!["-d", STREAM], 200, stream.into()),
        ("/v1/audio/speech", vec!["-d", SAY_IT], 200, bytes()),
    ];
    replays(
        "polly.har",
        "6 interactions in 5 cassettes imported, 0 unchanged, 0 not imported\n",
        &asks,
    );
}

#[test]
fn the_other_formats_replay() {
    let chat = |body: &str| {
        (
            "/v1/chat/completions",
            vec!["-d", WHICH_WIND],
            200,
            body.as_bytes().to_vec(),
        )
    };
    let speech = || ("/v1/audio/speech", vec!["-d", SAY_IT_SHORT], 200, bytes());
    let streamed = r#"{"model":"our-model","stream":true,"messages":[{"role":"user","content":"Which wind blows?"}]}"#;
    let stream = "data: {\"answer\":\"Our \"}\n\ndata: {\"answer\":\"wind.\"}\n\ndata: [DONE]\n\n";
    replays(
        "ruby-vcr.yml",
        "3 interactions in 2 cassettes",
        &vec![
            chat(r#"{"answer":"Le mistral, dans la vallée du Rhône."}"#),
            (
                "/v1/chat/completions",
                vec!["-d", WHICH_WIND],
                429,
                br#"{"message":"Too fast, [REDACTED]."}"#.to_vec(),
            ),
            (
                "/v1/models",
                vec![],
                200,
                r#"{"object":"list","data":[{"id":"our-model","name":"Rhône"}]}"#.into(),
            ),
        ],
    );
    replays(
        "go-vcr-v1.yaml",
        "1 interaction in 1 cassette",
        &vec![chat(r#"{"answer":"Rhône"}"#)],
    );
    replays(
        "go-vcr-v2.yaml",
        "2 interactions in 2 cassettes",
        &vec![
            ("/v1/chat/completions", vec!["-d", streamed], 200, stream.into()),
            speech(),
        ],
    );
    replays(
        "rvcr.json",
        "2 interactions in 2 cassettes",
        &vec![chat(r#"{"answer":"Rhône"}"#), speech()],
    );
    replays(
        "lines.jsonl",
        "2 interactions in 2 cassettes",
        &vec![chat(r#"{"answer":"Rhône"}"#), speech()],
    );
    replays(
        "parsed.yaml",
        "1 interaction in 1 cassette",
        &vec![chat(r#"{"answer":"Rhône","temperature":0.5,"nothing":null}"#)],
    );
    replays(
        "browser.har",
        "3 interactions in 3 cassettes",
        &vec![
            chat(r#"{"answer":"Rhône"}"#),
            speech(),
            (
                "/v1/files",
                vec!["-F", "purpose=ocr", "-F", "file=@our.txt;type=text/plain"],
                200,
                br#"{"id":"1"}"#.to_vec(),
            ),
        ],
    );
}

#[test]
fn imported_times_and_origins_are_those_of_the_source_and_secrets_are_redacted() {
    let project = with_file("ruby-vcr.yml");
    assert_eq!(import(&project, &["ruby-vcr.yml", "--scope", "suite/ruby"]).code(), 0);
    let files = cassettes(&project, "cassettes");
    let (name, chat) = files
        .iter()
        .find(|(name, _)| name.contains("which-wind-blows"))
        .unwrap();
    assert!(name.starts_with("suite/ruby/chat-completions/"), "{name}");
    let chat = String::from_utf8(chat.clone()).unwrap();
    for reported in [
        // That of the last of two responses.
        "at: \"2026-11-21T09:59:59Z\"",
        concat!("by: mistral-cassette ", env!("CARGO_PKG_VERSION"), "\n"),
        "from: https://api.example.com\n",
        "message: Too fast, [REDACTED].",
        "retry-after: \"1\"",
    ] {
        assert!(chat.contains(reported), "{reported}: {chat}");
    }
    let project = with_file("browser.har");
    project.write(
        "cassettes/settings.yaml",
        "redaction:\n- pattern: Rhône\n  with: <river>\n",
    );
    assert_eq!(import(&project, &["browser.har"]).code(), 0);
    let files = cassettes(&project, "cassettes");
    let (_, chat) = files
        .iter()
        .find(|(name, _)| name.contains("which-wind-blows"))
        .unwrap();
    let chat = String::from_utf8(chat.clone()).unwrap();
    assert!(
        chat.contains("at: \"2026-11-21T10:00:00.123000Z\"") && chat.contains("timing_ms: [412]"),
        "{chat}"
    );
    assert!(
        chat.contains("answer: <river>") && !chat.contains("content-encoding"),
        "{chat}"
    );
    // A stream has a time for each event; the source has only the total.
    let project = with_file("go-vcr-v2.yaml");
    assert_eq!(import(&project, &["go-vcr-v2.yaml"]).code(), 0);
    let files = cassettes(&project, "cassettes");
    let is_stream = |content: &&Vec<u8>| String::from_utf8_lossy(content).contains("timing_ms: [412, 412, 412]");
    assert_eq!(files.values().filter(is_stream).count(), 1);
}

#[test]
fn entries_that_cannot_be_represented_are_reported_with_their_location() {
    let project = Project::new();
    let vcrpy = |request: &str, response: &str| format!("- request:\n{request}\n  response:\n{response}\n");
    let requested = "    method: GET\n    uri: https://a.example/v1/models\n    body: null\n    headers: {}";
    let answered = "    body: {string: fine}\n    headers: {}\n    status: {code: 200, message: OK}";
    let interactions: String = [
        vcrpy("    method: GET\n    body: null", answered),
        vcrpy(requested, "    body: {string: \"\\x1F\\uFFFD\\b\\0\"}\n    headers: {content-encoding: [gzip]}\n    status: {code: 200}"),
        vcrpy(requested, "    body: {string: !!binary H4sIAA==}\n    headers: {content-encoding: [gzip]}\n    status: {code: 200}"),
        vcrpy(requested, "    body: {string: !!binary '?'}\n    headers: {}\n    status: {code: 200}"),
        vcrpy(requested, "    body: {string: fine}\n    headers: {}"),
        vcrpy(requested, "    body: {string: \"ID3\\uFFFD\"}\n    headers: {content-type: [audio/mpeg]}\n    status: {code: 200}"),
        vcrpy(&requested.replace("a.example/v1/models", "me:password@a.example/health"), answered),
        vcrpy(requested, "    body: {string: fine}\n    headers: {}\n    status: {code: 1000}"),
    ]
    .concat();
    project.write("in/a-vcrpy.yaml", format!("interactions:\n{interactions}version: 1\n"));
    let ruby = "http_interactions:\n- request: {method: get, uri: https://a.example/v1/models, headers: {}, body: {encoding: UTF-8, string: ''}}\n  response: {status: {code: 200}, headers: {}, body: {encoding: Shift_JIS, string: é}}\n";
    project.write("in/b-ruby.yml", ruby);
    let go = "version: 2\ninteractions:\n- request: {method: POST, url: https://a.example/v1/files, body: '', form: {purpose: [ocr]}, headers: {}}\n  response: {code: 200, body: fine, headers: {}}\n";
    project.write("in/c-go.yaml", go);
    let entry = |request: Value, response: Value| json!({ "request": request, "response": response });
    let get = json!({ "method": "GET", "url": "https://a.example/v1/models", "headers": [] });
    let content = |content: Value| json!({ "status": 200, "headers": [], "content": content });
    let fine = content(json!({ "text": "fine" }));
    let entries = [
        entry(
            get.clone(),
            json!({ "status": 0, "_error": "net::ERR_ABORTED", "headers": [] }),
        ),
        entry(
            json!({ "method": "GET", "url": "wss://a.example/v1/audio", "headers": [] }),
            json!({ "status": 101, "headers": [] }),
        ),
        entry(get.clone(), content(json!({ "size": 12 }))),
        entry(
            json!({ "method": "POST", "url": "https://a.example/v1/files", "headers": [], "postData": { "mimeType": "multipart/form-data", "params": [] } }),
            fine.clone(),
        ),
        entry(
            json!({ "method": "POST", "url": "https://a.example/v1/files", "headers": [], "bodySize": 12 }),
            fine,
        ),
        entry(get, content(json!({ "text": "fine", "encoding": "quoted-printable" }))),
    ];
    project.write("in/d-browser.har", json!({ "log": { "entries": entries } }).to_string());
    let line = |request: Value, response: Value| format!("{}\n", entry(request, response));
    let lines = [
        line(
            json!({ "method": "GET", "url": "a.example/v1/models" }),
            json!({ "status": 200 }),
        ),
        "{\"request\":\n".to_owned(),
        line(
            json!({ "method": "GET", "path": "/v1/models" }),
            json!({ "status": 200, "body": "??", "body_encoding": "base64" }),
        ),
        line(
            json!({ "method": "GET", "path": "/v1/models", "body": 1 }),
            json!({ "status": 200 }),
        ),
        line(
            json!({ "method": "GET", "path": "/v1/../models" }),
            json!({ "status": 200 }),
        ),
        line(
            json!({ "method": "GET", "path": "/v1/models", "headers": { "a b": "c" } }),
            json!({ "status": 200 }),
        ),
        line(
            json!({ "method": "GET", "path": "/v1/models" }),
            json!({ "status": 200, "body": "x", "body_encoding": "rot13" }),
        ),
        line(
            json!({ "method": "GET", "path": "/v1/models" }),
            json!({ "status": 200, "body": "fine" }),
        ),
    ];
    project.write("in/e-lines.jsonl", lines.concat());
    project.write("in/f-notes.md", "# Notes\n\nNo cassette of any tool.\n");
    project.write("in/.hidden", "not looked at");
    let done = import(&project, &["in"]);
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (
            1,
            "1 interaction in 1 cassette imported, 0 unchanged, 23 not imported, 1 file not read\n"
        ),
        "{}",
        done.stderr
    );
    insta::assert_snapshot!(done.stderr);
}

#[test]
fn a_file_of_unknown_format_is_an_error_before_anything_is_written() {
    let project = with_file("lines.jsonl");
    project.write("notes.md", "# Notes\n");
    project.write("damaged.json", "{\"interactions\": [\n");
    project.write("damaged.yaml", "interactions:\n- request: {\n");
    project.write("bytes.bin", b"\xff\xfe\x00");
    project.write("empty.yaml", "");
    let own = "version: 1\nkey: 0\nrecorded: {at: '', by: ''}\n";
    project.write("own.yaml", own);
    for (file, reported) in [
        ("notes.md", "notes.md: the format is not supported"),
        ("bytes.bin", "bytes.bin: the format is not supported"),
        ("empty.yaml", "empty.yaml: the format is not supported"),
        ("damaged.json", "cannot read damaged.json: line 2: "),
        ("damaged.yaml", "damaged.yaml:"),
        ("gone.yaml", "cannot read gone.yaml"),
        ("own.yaml", "own.yaml: the file is already a cassette"),
    ] {
        let done = import(&project, &["lines.jsonl", file]);
        assert_eq!(done.code(), 2, "{done:?}");
        assert!(done.stderr.contains(reported), "{}", done.stderr);
        let names_formats = done
            .stderr
            .contains("vcrpy, ruby-vcr, go-vcr, rvcr, polly, har, httpmock, wiremock, nock, cassetter, jsonl");
        assert_eq!(
            names_formats,
            !matches!(file, "gone.yaml" | "own.yaml"),
            "{}",
            done.stderr
        );
    }
    let wrong = import(&project, &["lines.jsonl", "--from-format", "har"]);
    assert!(wrong.code() == 2 && !project.cassettes().exists(), "{wrong:?}");
    let unknown = import(&project, &["lines.jsonl", "--from-format", "betamax"]);
    assert_eq!(unknown.code(), 2);
    assert!(
        unknown.stderr.contains("unknown format \"betamax\""),
        "{}",
        unknown.stderr
    );
    assert_eq!(import(&project, &["lines.jsonl", "--from-format", "jsonl"]).code(), 0);
}

#[test]
fn existing_recordings_are_not_replaced_without_force() {
    let project = with_file("lines.jsonl");
    assert_eq!(import(&project, &["lines.jsonl"]).code(), 0);
    let before = cassettes(&project, "cassettes");
    let again = import(&project, &["lines.jsonl"]);
    assert_eq!(
        (again.code(), again.stdout.as_str(), again.stderr.as_str()),
        (
            0,
            "0 interactions in 0 cassettes imported, 2 unchanged, 0 not imported\n",
            ""
        )
    );
    let lines = std::fs::read_to_string(fixture("lines.jsonl"))
        .unwrap()
        .replace("Rhône", "Durance");
    project.write("lines.jsonl", lines);
    let other = import(&project, &["lines.jsonl"]);
    assert_eq!(other.code(), 1);
    assert!(other.stdout.contains("1 unchanged, 1 not imported"), "{other:?}");
    let reported = "not imported: lines.jsonl: line 1 (POST https://api.example.com/v1/chat/completions): a cassette with other responses exists: cassettes/chat-completions/";
    assert!(other.stderr.starts_with(reported), "{}", other.stderr);
    assert_eq!(cassettes(&project, "cassettes"), before);
    let forced = import(&project, &["lines.jsonl", "--force"]);
    assert_eq!(forced.code(), 0, "{forced:?}");
    let texts: Vec<String> = cassettes(&project, "cassettes")
        .values()
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    assert!(texts.iter().any(|text| text.contains("answer: Durance")), "{texts:?}");
    // A damaged one is not replaced either.
    let (name, _) = before.iter().find(|(name, _)| name.contains("which-wind")).unwrap();
    project.write(&format!("cassettes/{name}"), "version: 1\n");
    let damaged = import(&project, &["lines.jsonl"]);
    assert!(
        damaged.code() == 1 && damaged.stderr.contains("a damaged cassette exists"),
        "{damaged:?}"
    );
}

#[test]
fn entries_over_the_limits_are_reported_and_not_written() {
    let line = |name: &str, bytes: usize| {
        let body = json!({ "model": "m", "input": name }).to_string();
        let answer = "x".repeat(bytes - body.len());
        format!(
            "{}\n",
            json!({
                "request": { "method": "POST", "path": "/v1/embeddings", "body": body },
                "response": { "status": 200, "headers": { "content-type": ["text/plain"] }, "body": answer },
            })
        )
    };
    let lines = [
        line("small", 500),
        line("large", 2000),
        line("full", 1000),
        line("again", 500),
    ]
    .concat();
    let (large, full) = (
        "lines.jsonl: line 2 (POST /v1/embeddings): too large: 2000 bytes, and limits.entry_bytes is 1000\n",
        "lines.jsonl: line 3 (POST /v1/embeddings): too large: 1000 bytes, and limits.total_bytes leaves 900\n",
    );
    let cases = [
        ("{entry_bytes: 1000}", "cassettes", vec![large], 3),
        // A directory does not know its size.
        ("{entry_bytes: 1000, total_bytes: 1400}", "cassettes", vec![large], 3),
        (
            "{entry_bytes: 1000, total_bytes: 1400}",
            "sqlite:cache.db",
            vec![large, full],
            2,
        ),
        ("{}", "cassettes", vec![], 4),
    ];
    for (limits, dir, reported, stored) in cases {
        if !cfg!(feature = "sql") && dir.starts_with("sqlite:") {
            continue;
        }
        let project = Project::new();
        project.write("lines.jsonl", &lines);
        project.write("cassettes/settings.yaml", format!("limits: {limits}\n"));
        if dir != "cassettes" {
            assert_eq!(project.run(&["copy", "cassettes", dir]).code(), 0);
        }
        let done = import(&project, &["lines.jsonl", "--dir", dir]);
        let expected: String = reported
            .iter()
            .map(|reported| format!("not imported: {reported}"))
            .collect();
        assert_eq!(done.stderr, expected, "{limits} {dir}");
        assert_eq!(done.code(), i32::from(!reported.is_empty()));
        let list = project.run(&["list", "--dir", dir, "--format", "json"]);
        let list: Value = serde_json::from_str(&list.stdout).unwrap();
        assert_eq!(list["cassettes"].as_array().unwrap().len(), stored, "{limits} {dir}");
    }
}

/// Exports to a file, imports that into an empty directory and exports again.
fn there_and_back(project: &Project, dir: &str, format: &str) -> (Vec<u8>, Vec<u8>) {
    let well = |arguments: &[&str]| {
        let done = project.run(arguments);
        assert_eq!(done.code(), 0, "{arguments:?}: {done:?}");
        done
    };
    let (first, back, second) = (
        format!("first.{format}"),
        format!("back-{format}"),
        format!("second.{format}"),
    );
    well(&["export", "--dir", dir, "--to", format, "--out", &first]);
    well(&["import", "--dir", &back, &first]);
    well(&["export", "--dir", &back, "--to", format, "--out", &second]);
    let stdout = well(&["export", "--dir", dir, "--to", format, "--out", "-"]).stdout;
    let read = |name: &str| std::fs::read(project.path().join(name)).unwrap();
    assert_eq!(stdout.as_bytes(), read(&first));
    (read(&first), read(&second))
}

/// A chat, a stream that failed the first time, a scope, a binary upload, a large body, a query, a response without a
/// body, one request to two hosts.
const ASKS: &str = r#"
set -e
ask() { curl --silent --output /dev/null "$MISTRAL_SERVER_URL$1" -d "$2"; }
ask /v1/chat/completions '{"model":"m","temperature":0.70,"messages":[{"role":"user","content":"What is the capital of France?"}]}'
ask /v1/chat/completions '{"model":"m","stream":true,"messages":[{"role":"user","content":"Are you busy?"}]}'
ask /v1/chat/completions '{"model":"m","stream":true,"messages":[{"role":"user","content":"Are you busy?"}]}'
ask /c/suite%2Fweather/v1/embeddings '{ "model": "mistral-embed", "input": ["a wind"] }'
curl --silent --output /dev/null "$MISTRAL_SERVER_URL/v1/audio/speech" -d '{"input":"Hello","voice_id":"v"}'
curl --silent --output /dev/null "$MISTRAL_SERVER_URL/v1/files" -F purpose=ocr -F file=@large.bin
curl --silent --output /dev/null "$MISTRAL_SERVER_URL/v1/files?page=0&page_size=2%2C"
curl --silent --output /dev/null -X DELETE "$MISTRAL_SERVER_URL/v1/agents/ag_1"
ask /model/mistral.x/invoke '{"prompt":"a path of another API"}'
for host in api.mistral.ai api.other.test; do
    curl --silent --output /dev/null "https://$host/v1/chat/completions" -d '{"model":"m","messages":[{"role":"user","content":"Where?"}]}'
done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_imported_unchanged() {
    let (project, server) = (Project::new(), api::start().await);
    project.write("large.bin", bytes().repeat(800));
    let recorded = done(&mut project.command(&[
        "run",
        "--mode",
        "record",
        "--allow-ci",
        "--save-errors",
        "--upstream",
        &server.url,
        "--intercept",
        &format!("api.other.test={}", server.url),
        "--",
        "sh",
        "-c",
        ASKS,
    ]));
    assert_eq!(recorded.code(), 0, "{}", recorded.stderr);
    let before = cassettes(&project, "cassettes");
    assert!(
        before.keys().any(|name| name.starts_with("bodies/")),
        "{:?}",
        before.keys()
    );
    assert!(before.len() >= 9, "{:?}", before.keys());
    for format in ["har", "jsonl"] {
        let (first, second) = there_and_back(&project, "cassettes", format);
        assert_eq!(String::from_utf8(first).unwrap(), String::from_utf8(second).unwrap());
        // Keys, statuses, headers, bodies, times and scopes: every byte of every file.
        let back = cassettes(&project, &format!("back-{format}"));
        assert_eq!(before.keys().collect::<Vec<_>>(), back.keys().collect::<Vec<_>>());
        for (name, content) in &before {
            assert_eq!(
                String::from_utf8_lossy(content),
                String::from_utf8_lossy(&back[name]),
                "{format}: {name}"
            );
        }
    }
    let one = project.run(&["export", "--to", "jsonl", "--out", "-", "--scope", "suite/weather"]);
    assert_eq!(one.stdout.lines().count(), 1, "{one:?}");
    assert_eq!(one.stderr, "1 interaction in 1 cassette exported\n");
    let none = project.run(&[
        "export",
        "--to",
        "jsonl",
        "--out",
        "no.jsonl",
        "--scope",
        "suite/wether",
    ]);
    assert_eq!(none.code(), 2, "{none:?}");
    let message = "error: no cassette in cassettes is in the scope suite/wether\nhint: there are cassettes in ";
    assert!(none.stderr.starts_with(message), "{none:?}");
    assert!(none.stderr.contains("suite/weather"), "{none:?}");
    assert!(!project.path().join("no.jsonl").exists());
}

#[test]
fn an_imported_recording_is_exported_unchanged() {
    // One of its lines has a path and no host.
    for name in ["lines.jsonl", "vcrpy-requests.yaml", "ruby-vcr.yml", "polly.har"] {
        let project = with_file(name);
        import(&project, &[name]);
        for format in ["har", "jsonl"] {
            let (first, second) = there_and_back(&project, "cassettes", format);
            assert_eq!(
                String::from_utf8_lossy(&first),
                String::from_utf8_lossy(&second),
                "{name}"
            );
            assert_eq!(
                cassettes(&project, "cassettes"),
                cassettes(&project, &format!("back-{format}")),
                "{name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_har_file_has_every_required_member() {
    let project = Project::new();
    // The same request is in two of them.
    for (name, scope) in [
        ("vcrpy-requests.yaml", "a"),
        ("go-vcr-v2.yaml", "b"),
        ("lines.jsonl", "c"),
    ] {
        project.write(name, std::fs::read(fixture(name)).unwrap());
        import(&project, &[name, "--scope", scope]);
    }
    let done = project.run(&["export", "--to", "har", "--out", "-"]);
    let har: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(har["log"]["version"], "1.2");
    assert_eq!(
        har["log"]["creator"],
        json!({ "name": "mistral-cassette", "version": env!("CARGO_PKG_VERSION") })
    );
    let entries = har["log"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 11);
    for entry in entries {
        assert!(entry["startedDateTime"].as_str().unwrap().ends_with('Z'));
        let timings = &entry["timings"];
        let sum: u64 = ["send", "wait", "receive"]
            .iter()
            .map(|name| timings[*name].as_u64().unwrap())
            .sum();
        assert_eq!(entry["time"], sum);
        assert!(entry["cache"].is_object());
        assert!(entry["request"]["url"].as_str().unwrap().contains("://"));
        let (request, response) = (&entry["request"], &entry["response"]);
        for (side, names) in [
            (
                request,
                &[
                    "method",
                    "url",
                    "httpVersion",
                    "cookies",
                    "headers",
                    "queryString",
                    "headersSize",
                    "bodySize",
                ][..],
            ),
            (
                response,
                &[
                    "status",
                    "statusText",
                    "httpVersion",
                    "cookies",
                    "headers",
                    "content",
                    "redirectURL",
                    "headersSize",
                    "bodySize",
                ],
            ),
            (&response["content"], &["size", "mimeType"]),
        ] {
            assert!(names.iter().all(|name| side.get(*name).is_some()), "{side:#}");
        }
        assert!(request["postData"].is_null() || request["postData"]["mimeType"].is_string());
    }
    let speech = entries
        .iter()
        .find(|entry| entry["response"]["content"]["mimeType"] == "audio/mpeg")
        .unwrap();
    assert_eq!(speech["response"]["content"]["encoding"], "base64");
    let stream = entries
        .iter()
        .find(|entry| entry["response"]["content"]["mimeType"] == "text/event-stream; charset=utf-8")
        .unwrap();
    assert!(
        stream["response"]["content"]["text"]
            .as_str()
            .unwrap()
            .ends_with("data: [DONE]\n\n")
    );
}

#[test]
fn a_damaged_cassette_does_not_stop_the_export_of_the_others() {
    let project = with_file("lines.jsonl");
    import(&project, &["lines.jsonl"]);
    project.write("cassettes/models/get-0123456789abcdef.yaml", "version: 1\n");
    let done = project.run(&["export", "--to", "jsonl", "--out", "out.jsonl"]);
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (1, "2 interactions in 2 cassettes exported\n")
    );
    assert!(
        done.stderr
            .starts_with("not exported: cannot read cassettes/models/get-0123456789abcdef.yaml"),
        "{}",
        done.stderr
    );
    let wrong = project.run(&["export", "--to", "vcrpy", "--out", "-"]);
    assert!(
        wrong.code() == 2 && wrong.stderr.contains("use har or jsonl"),
        "{wrong:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_traffic_is_imported_and_replays() {
    if is_left_out() {
        return;
    }
    let Some(corpus) = corpus() else { return };
    let text = std::fs::read_to_string(&corpus).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (answered, silent): (Vec<&Value>, Vec<&Value>) =
        rows.iter().partition(|row| row["response"]["status"].is_u64());
    let project = Project::new();
    let imported = import(&project, &[corpus.to_str().unwrap()]);
    assert_eq!(imported.code(), 1, "{imported:?}");
    assert_eq!(imported.stderr.lines().count(), silent.len());
    assert!(
        imported
            .stdout
            .starts_with(&format!("{} interactions in ", answered.len())),
        "{}",
        imported.stdout
    );
    assert!(project.run(&["verify"]).stdout.ends_with(" cassettes, 0 problems\n"));

    let proxy = project.proxy("strict", "http://127.0.0.1:9", &[]);
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for row in &answered {
        let (request, response) = (&row["request"], &row["response"]);
        let url = request["url"]
            .as_str()
            .unwrap()
            .replace("https://api.mistral.ai", &proxy.url);
        let mut requested = client
            .request(request["method"].as_str().unwrap().parse().unwrap(), url)
            .body(body(request));
        for (name, value) in request["headers"].as_object().unwrap() {
            if name.eq_ignore_ascii_case("content-type") {
                requested = requested.header("content-type", value[0].as_str().unwrap());
            }
        }
        let answer = requested.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), response["status"], "{}", row["id"]);
        assert!(
            answer.bytes().await.unwrap() == decoded(body(response)),
            "{}",
            row["id"]
        );
    }
    assert_eq!(proxy.stop().code(), 0);
    println!("{} interactions imported and replayed", answered.len());

    // A fifth of them is exported and imported again.
    let some = Project::new();
    let lines = text.lines().step_by(5).map(|line| format!("{line}\n"));
    some.write("some.jsonl", lines.collect::<String>());
    import(&some, &["some.jsonl"]);
    assert!(cassettes(&some, "cassettes").len() > 80);
    for format in ["har", "jsonl"] {
        let (first, second) = there_and_back(&some, "cassettes", format);
        assert!(first == second, "{format}");
        assert!(
            cassettes(&some, "cassettes") == cassettes(&some, &format!("back-{format}")),
            "{format}"
        );
    }
}

fn body(side: &Value) -> Vec<u8> {
    let text = side["body"].as_str().unwrap_or_default();
    if side["body_encoding"] == "base64" {
        return base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    }
    text.as_bytes().to_vec()
}

fn decoded(body: Vec<u8>) -> Vec<u8> {
    if !body.starts_with(b"\x1f\x8b") {
        return body;
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
    plain
}
