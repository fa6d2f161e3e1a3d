//! `import`: what each format can hold, and what a file can lack. Nothing is imported empty or in part without a word.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::import_export::{SAY_IT_SHORT, WHICH_WIND, cassettes, fixture, import, replays, requested};
use crate::support::project::{Done, Project};

const STREAM_REQUEST: &str =
    r#"{"model":"our-model","stream":true,"messages":[{"role":"user","content":"Which wind blows?"}]}"#;
const STREAM: &str = "data: {\"answer\":\"Our \"}\n\ndata: {\"answer\":\"wind.\"}\n\ndata: [DONE]\n\n";
const SPEECH: &[u8] = b"ID3\xff\x00\x01";
const ANSWER: &str = r#"{"answer":"Rhône"}"#;

const CHAT: &str = "/v1/chat/completions";
const REQUEST: &str = r#"{"model":"m"}"#;

fn chat(request: &str, answer: impl AsRef<[u8]>) -> (&'static str, Vec<&str>, u16, Vec<u8>) {
    (CHAT, vec!["-d", request], 200, answer.as_ref().to_vec())
}

fn speech() -> (&'static str, Vec<&'static str>, u16, Vec<u8>) {
    ("/v1/audio/speech", vec!["-d", SAY_IT_SHORT], 200, SPEECH.to_vec())
}

/// The contents of all imported cassettes.
fn imported(project: &Project) -> String {
    let files = cassettes(project, "cassettes").into_values();
    files
        .map(|content| String::from_utf8_lossy(&content).into_owned())
        .collect()
}

/// Imports one file into a new project.
fn import_text(name: &str, content: impl AsRef<[u8]>) -> (Project, Done) {
    let project = Project::new();
    project.write(name, content);
    let done = import(&project, &[name]);
    (project, done)
}

#[track_caller]
fn assert_counts(done: &Done, interactions: usize, listed: usize) {
    let begin = format!("{interactions} interaction");
    let end = format!("{listed} not imported\n");
    assert!(
        done.stdout.starts_with(&begin) && done.stdout.ends_with(&end),
        "{done:?}"
    );
    assert_eq!(
        (done.code(), done.stderr.lines().count()),
        (i32::from(listed > 0), listed),
        "{done:?}"
    );
}

#[test]
fn httpmock_replays() {
    let files = (
        "/v1/files?page=0&purpose=a%20b",
        vec![],
        200,
        br#"{"data":[]}"#.to_vec(),
    );
    let asks = vec![chat(WHICH_WIND, ANSWER), chat(STREAM_REQUEST, STREAM), speech(), files];
    replays(
        "httpmock.yaml",
        "4 interactions in 4 cassettes imported, 0 unchanged, 1 not imported\n",
        &asks,
    );
}

#[test]
fn nock_replays() {
    let models = ("/v1/models", vec![], 200, b"{}\n".to_vec());
    let asks = vec![chat(WHICH_WIND, ANSWER), chat(STREAM_REQUEST, STREAM), speech(), models];
    replays(
        "nock.json",
        "4 interactions in 4 cassettes imported, 0 unchanged, 1 not imported\n",
        &asks,
    );
}

#[test]
fn cassetter_replays() {
    let delete = ("/v1/agents/ag_1", vec!["-X", "DELETE"], 204, Vec::new());
    let asks = vec![chat(WHICH_WIND, ANSWER), chat(STREAM_REQUEST, STREAM), speech(), delete];
    replays(
        "cassetter.yaml",
        "4 interactions in 4 cassettes imported, 0 unchanged, 2 not imported\n",
        &asks,
    );
    let asks = vec![chat(WHICH_WIND, ANSWER), speech()];
    replays(
        "cassetter.toml",
        "2 interactions in 2 cassettes imported, 0 unchanged, 0 not imported\n",
        &asks,
    );
    let (_, damaged) = import_text("damaged.toml", "version = 1\n[[interactions]]\nrequest = {\n");
    assert_eq!(damaged.code(), 2);
    assert!(
        damaged.stderr.contains("cannot read damaged.toml: line 3"),
        "{damaged:?}"
    );
}

fn copy_folder(from: &Path, project: &Project, to: &str) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = format!("{to}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), project, &name);
        } else {
            project.write(&name, fs::read(entry.path()).unwrap());
        }
    }
}

#[test]
fn wiremock_mappings_replay_with_their_files_and_in_the_order_of_a_scenario() {
    let project = Project::new();
    copy_folder(&fixture("wiremock"), &project, "wiremock");
    let done = import(&project, &["wiremock"]);
    assert_counts(&done, 5, 1);
    let reported = "not imported: wiremock/mappings/speech.json: mapping 2 (GET /v1/files/.*): requests are matched by urlPathPattern";
    assert!(done.stderr.starts_with(reported), "{done:?}");
    assert!(!imported(&project).contains("planted"));
    let proxy = project.proxy("strict", "http://127.0.0.1:9", &[]);
    let job = |status: &str| {
        let answer = format!(r#"{{"status":"{status}"}}"#);
        ("/v1/batch/jobs/1", vec![], 200, answer.into_bytes())
    };
    let mut asks = vec![chat(WHICH_WIND, "{\"answer\":\"Rhône\"}\n"), speech()];
    asks.extend(["QUEUED", "RUNNING", "SUCCESS"].map(job));
    for (path, arguments, status, body) in asks {
        assert_eq!(
            requested(&format!("{}{path}", proxy.url), &arguments),
            (status, body),
            "{path}"
        );
    }
    assert_eq!(proxy.stop().code(), 0);
    // A body that is not there is not taken for an empty one, and none is read from elsewhere.
    project.write("secret.json", "{}");
    for name in ["gone.json", "../../secret.json"] {
        let mapping = fs::read_to_string(fixture("wiremock/mappings/chat.json")).unwrap();
        project.write("wiremock/mappings/chat.json", mapping.replace("chat-1.json", name));
        let done = import(&project, &["wiremock/mappings/chat.json", "--dir", "other"]);
        assert_counts(&done, 0, 1);
        assert!(done.stderr.contains(name), "{done:?}");
    }
}

fn har_entry(request: Value, response: Value) -> Value {
    json!({ "startedDateTime": "2026-11-21T10:00:00Z", "time": 5, "request": request, "response": response })
}

fn har(entries: &[Value]) -> String {
    json!({ "log": { "version": "1.2", "creator": { "name": "Firefox", "version": "1" }, "entries": entries } })
        .to_string()
}

fn har_post(size: Value) -> Value {
    let mut request = json!({ "method": "POST", "url": format!("https://a.example{CHAT}"), "headers": [], "postData": { "mimeType": "application/json", "text": REQUEST } });
    request["bodySize"] = size;
    request
}

#[test]
fn a_har_body_that_is_missing_or_truncated_is_listed() {
    let answered = |headers: Value, content: Value| json!({ "status": 200, "headers": headers, "content": content });
    let length = json!([{ "name": "Content-Length", "value": "40" }]);
    for (response, reported) in [
        (
            answered(
                json!([]),
                json!({ "size": 5000, "mimeType": "text/plain", "text": "only the first part" }),
            ),
            "19 of 5000 bytes",
        ),
        (
            answered(
                json!([]),
                json!({ "size": 9, "mimeType": "audio/mpeg", "text": "SUQz/wAB", "encoding": "base64" }),
            ),
            "6 of 9 bytes",
        ),
        (
            answered(
                json!([]),
                json!({ "size": 50, "mimeType": "application/json", "text": "", "comment": "Response bodies are not included." }),
            ),
            "not in the file",
        ),
        (
            answered(
                json!([]),
                json!({ "size": 0, "mimeType": "text/plain", "text": "", "comment": "Response bodies are not included." }),
            ),
            "not in the file",
        ),
        (
            answered(json!([]), json!({ "size": 50, "mimeType": "application/json" })),
            "not in the file",
        ),
        (
            answered(json!([]), json!({ "size": -1, "mimeType": "text/plain" })),
            "not in the file",
        ),
        (answered(json!([]), json!({})), "not in the file"),
        (answered(json!([]), Value::Null), "not in the file"),
        (
            answered(length, json!({ "size": 0, "mimeType": "text/plain" })),
            "not in the file",
        ),
        (
            answered(json!([]), json!({ "size": 0, "mimeType": "text/event-stream" })),
            "not in the file",
        ),
        (
            answered(
                json!([]),
                json!({ "size": 0, "mimeType": "application/json; charset=utf-8", "text": "" }),
            ),
            "not in the file",
        ),
        (
            answered(
                json!([]),
                json!({ "size": 0, "mimeType": "text/plain", "txt": "words" }),
            ),
            "unknown member: txt",
        ),
        // What no size tells: the JSON or the stream ends too early, the browser says so, or bytes became characters.
        (
            answered(
                json!([]),
                json!({ "size": -1, "mimeType": "application/json", "text": "{\"answer\":\"Rh" }),
            ),
            "JSON",
        ),
        (
            answered(
                json!([]),
                json!({ "mimeType": "text/event-stream", "text": "data: {\"choices\":[]}\n\n" }),
            ),
            "without its last event, [DONE]",
        ),
        (
            json!({ "status": 200, "_error": "net::ERR_ABORTED", "headers": [], "content": { "size": 2, "mimeType": "application/json", "text": "{}" } }),
            "net::ERR_ABORTED",
        ),
        (
            answered(
                json!([{ "name": "Content-Encoding", "value": "gzip" }]),
                json!({ "size": -1, "mimeType": "application/json", "text": "\u{1f}\u{8b}\u{8}\u{0}" }),
            ),
            "bytes are lost",
        ),
        (
            answered(
                json!([]),
                json!({ "size": -1, "mimeType": "audio/mpeg", "text": "\u{ff}\u{fb}P" }),
            ),
            "bytes are lost",
        ),
    ] {
        let (project, done) = import_text("a.har", har(&[har_entry(har_post(json!(-1)), response.clone())]));
        assert_counts(&done, 0, 1);
        assert!(done.stderr.contains(reported), "{response}: {done:?}");
        assert!(
            done.stderr
                .starts_with("not imported: a.har: entry 1 (POST https://a.example"),
            "{done:?}"
        );
        assert!(cassettes(&project, "cassettes").is_empty());
    }
    // The size is that of the decoded body; a body can also be empty.
    let gzip = json!([{ "name": "content-encoding", "value": "gzip" }, { "name": "content-length", "value": "30" }]);
    for (response, listed) in [
        (
            answered(
                gzip.clone(),
                json!({ "size": 18, "mimeType": "text/plain", "text": "a decoded response" }),
            ),
            0,
        ),
        (
            answered(gzip.clone(), json!({ "size": 0, "mimeType": "text/plain", "text": "" })),
            0,
        ),
        (
            answered(
                gzip,
                json!({ "size": 19, "mimeType": "text/plain", "text": "a decoded response" }),
            ),
            1,
        ),
        (
            answered(json!([]), json!({ "size": 1, "mimeType": "text/plain", "text": "é" })),
            0,
        ),
        (
            answered(json!([]), json!({ "size": 0, "mimeType": "text/plain", "text": "" })),
            0,
        ),
        (answered(json!([]), json!({ "text": "no size" })), 0),
        (
            json!({ "status": 204, "headers": [], "content": { "size": 0, "mimeType": "x-unknown" } }),
            0,
        ),
    ] {
        let (_, done) = import_text("a.har", har(&[har_entry(har_post(json!(10)), response.clone())]));
        assert_counts(&done, 1 - listed, listed);
    }
}

#[test]
fn an_empty_post_data_of_a_har_is_no_body() {
    let answer = || json!({ "status": 200, "headers": [], "content": { "size": 2, "mimeType": "application/json", "text": "{}" } });
    let models = "https://api.mistral.ai/v1/models";
    for (request, listed) in [
        (
            json!({ "method": "GET", "url": models, "bodySize": 0, "postData": { "mimeType": "text/plain" } }),
            0,
        ),
        (
            json!({ "method": "GET", "url": models, "bodySize": -1, "postData": { "mimeType": "", "text": null } }),
            0,
        ),
        (json!({ "method": "GET", "url": models, "postData": {} }), 0),
        (json!({ "method": "GET", "url": models, "postData": null }), 0),
        (
            json!({ "method": "GET", "url": models, "postData": { "mimeType": "x", "text": "", "params": [] } }),
            0,
        ),
        (
            json!({ "method": "POST", "url": models, "bodySize": 0, "postData": { "mimeType": "application/json" } }),
            0,
        ),
        (
            json!({ "method": "POST", "url": models, "bodySize": -1, "postData": { "mimeType": "application/json", "text": "" } }),
            0,
        ),
        (
            json!({ "method": "POST", "url": models, "bodySize": -1, "postData": { "mimeType": "application/json" } }),
            1,
        ),
        (
            json!({ "method": "POST", "url": models, "bodySize": 12, "postData": { "mimeType": "application/json", "text": "" } }),
            1,
        ),
        (
            json!({ "method": "POST", "url": models, "headers": [{ "name": "content-length", "value": "12" }] }),
            1,
        ),
        (
            json!({ "method": "POST", "url": models, "bodySize": 99, "postData": { "mimeType": "application/json", "text": "{\"model\":" } }),
            1,
        ),
        (
            json!({ "method": "POST", "url": models, "bodySize": 99, "postData": { "mimeType": "application/json", "text": REQUEST } }),
            0,
        ),
        (json!({ "method": "POST", "url": models, "post_data": REQUEST }), 1),
    ] {
        let (_, done) = import_text("a.har", har(&[har_entry(request.clone(), answer())]));
        let is_listed = done.stdout.ends_with(&format!("{listed} not imported\n"));
        assert!(is_listed, "{request}: {done:?}");
    }
}

#[test]
fn header_values_of_polly_1_are_lists() {
    let name = |name: &str, value: Value| json!({ "name": name, "value": value });
    let request = json!({ "method": "GET", "url": "https://api.mistral.ai/v1/models", "headers": [name("accept", json!(["*/*"]))] });
    let response = json!({
        "status": 200,
        "headers": [name("content-type", json!(["application/json"])), name("x-ratelimit-limit", json!(["1", "2"]))],
        "content": { "size": 2, "mimeType": "application/json", "text": "{}" },
    });
    let polly = json!({ "log": { "_recordingName": "x", "creator": { "name": "Polly.JS", "version": "1.2.0" }, "entries": [har_entry(request, response)] } });
    let (project, done) = import_text("recording.har", polly.to_string());
    assert_counts(&done, 1, 0);
    assert!(
        imported(&project).contains("content-type: application/json"),
        "{}",
        imported(&project)
    );
}

fn vcrpy(request_body: &str, request_headers: &str, response_body: &str) -> String {
    format!(
        "interactions:\n- request:\n    body: {request_body}\n    headers: {request_headers}\n    method: POST\n    uri: https://api.mistral.ai{CHAT}\n  response:\n    body:\n      string: {response_body}\n    headers:\n      Content-Type: [application/json]\n    status: {{code: 200, message: OK}}\nversion: 1\n"
    )
}

/// The project replays one chat with this answer.
#[track_caller]
fn assert_replays(project: &Project, request: &str, answer: &str) {
    let proxy = project.proxy("strict", "http://127.0.0.1:9", &[]);
    let (status, body) = requested(&format!("{}{CHAT}", proxy.url), &["-d", request]);
    assert_eq!((status, String::from_utf8_lossy(&body).as_ref()), (200, answer));
    assert_eq!(proxy.stop().code(), 0);
}

#[test]
fn a_request_that_was_sent_in_chunks_is_joined() {
    let chunks = r#""7\r\n{\"model\r\n6\r\n\":\"m\"}\r\n0\r\n\r\n""#;
    for headers in [
        "{Transfer-Encoding: [chunked]}",
        "{transfer-encoding: Chunked, content-type: application/json}",
        "{}",
    ] {
        let (project, done) = import_text("a.yaml", vcrpy(chunks, headers, "'{\"id\":\"a\"}'"));
        assert_counts(&done, 1, 0);
        assert_replays(&project, REQUEST, r#"{"id":"a"}"#);
    }
    let truncated = r#""7\r\n{\"model\r\n6\r\n\"""#;
    let (_, done) = import_text("a.yaml", vcrpy(truncated, "{Transfer-Encoding: [chunked]}", "'{}'"));
    assert_counts(&done, 0, 1);
    assert!(done.stderr.contains("sent in chunks"), "{done:?}");
}

#[test]
fn a_quoted_scalar_can_continue_at_any_column() {
    // PyYAML, libyaml and js-yaml do not compare these columns.
    let answers = [
        ("'{\n      \"id\":\"a\"\n      }'", r#"{ "id":"a" }"#),
        ("'{\n\"id\":\"a\"\n}'", r#"{ "id":"a" }"#),
        ("\"{\n  \\\"id\\\":\\\"a\\\"\n  }\"", r#"{ "id":"a" }"#),
        ("\"{\\\n  \\\"id\\\":\\\"a\\\"}\"", r#"{"id":"a"}"#),
        ("'{\n\t\"id\":\n\n  \"a\"}'", "{ \"id\":\n\"a\"}"),
    ];
    for (scalar, answer) in answers {
        let (project, done) = import_text("a.yaml", vcrpy("'{\"model\":\"m\"}'", "{}", scalar));
        assert_counts(&done, 1, 0);
        assert_replays(&project, REQUEST, answer);
    }
}

#[test]
fn the_time_of_a_ruby_cassette_can_be_a_yaml_time() {
    for (time, expected) in [
        ("2026-01-02 03:04:05.000000000 +02:00", "2026-01-02T01:04:05Z"),
        ("2026-01-02 03:04:05 Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05-01:00", "2026-01-02T04:04:05Z"),
        ("Fri, 02 Jan 2026 03:04:05 GMT", "2026-01-02T03:04:05Z"),
    ] {
        let ruby = format!(
            "---\nhttp_interactions:\n- request:\n    method: post\n    uri: https://api.mistral.ai{CHAT}\n    body: {{encoding: UTF-8, string: '{REQUEST}'}}\n    headers: {{}}\n  response:\n    status: {{code: 200, message: OK}}\n    headers: {{}}\n    body: {{encoding: UTF-8, string: '{{}}'}}\n  recorded_at: {time}\nrecorded_with: VCR 2.9\n"
        );
        let (project, done) = import_text("a.yml", ruby);
        assert_counts(&done, 1, 0);
        assert!(imported(&project).contains(expected), "{time}: {}", imported(&project));
    }
}

#[test]
fn an_unpaired_surrogate_loses_at_most_its_interaction() {
    let line = |request: &str, answer: &str| {
        format!(
            r#"{{"request":{{"method":"POST","path":"{CHAT}","body":{request}}},"response":{{"status":200,"headers":{{"content-type":"application/json"}},"body":{answer}}}}}"#
        )
    };
    let fine = line(r#"{"model":"m"}"#, r#""{\"id\":\"\\ud83c\\udf2c \\ud83d\"}""#);
    // In parsed JSON, the escape is what was sent; in text it stands for no bytes.
    let parsed = line(r#"{"model":"n"}"#, r#"{"id":"\ud83d"}"#);
    let text = line(r#"{"model":"o"}"#, r#""{\"id\":\"\ud83d\"}""#);
    let (project, done) = import_text("a.jsonl", [&*text, &fine, &parsed].join("\n"));
    assert_counts(&done, 2, 1);
    // A first line that is no JSON does not lose the others either.
    let (_, damaged) = import_text("a.jsonl", [r#"{"request":"#, &fine].join("\n"));
    assert_counts(&damaged, 1, 1);
    let reported = "not imported: a.jsonl: line 1 (POST /v1/chat/completions): the response body has the unpaired surrogate \\ud83d";
    assert!(done.stderr.starts_with(reported), "{done:?}");
    assert_replays(&project, REQUEST, r#"{"id":"\ud83c\udf2c \ud83d"}"#);
    assert_replays(&project, r#"{"model":"n"}"#, r#"{"id":"\ud83d"}"#);

    let entry = |model: &str, answer: &str| {
        let response =
            json!({ "status": 200, "headers": [], "content": { "mimeType": "application/json", "text": answer } });
        let mut request = har_post(json!(-1));
        request["postData"]["text"] = json!({ "model": model }).to_string().into();
        har_entry(request, response)
    };
    let document = har(&[entry("m", "{\"id\":\"CUT\"}"), entry("n", "{}")]).replace("CUT", r"\ud83d");
    let (project, done) = import_text("a.har", document);
    assert_counts(&done, 1, 1);
    assert_replays(&project, r#"{"model":"n"}"#, "{}");

    // Single quotes and blocks have no escapes in YAML; double quotes have.
    let fine = vcrpy("'{\"model\":\"m\"}'", "{}", r#"'{"id":"\ud83d"}'"#);
    let cut = vcrpy("'{\"model\":\"n\"}'", "{}", r#""cut \ud83d""#);
    let cut = cut
        .trim_start_matches("interactions:\n")
        .trim_end_matches("version: 1\n");
    let (project, done) = import_text("a.yaml", fine.replace("version: 1\n", cut));
    assert_counts(&done, 1, 1);
    assert_replays(&project, REQUEST, r#"{"id":"\ud83d"}"#);
}

#[test]
fn members_that_no_format_knows_are_refused() {
    let request = || json!({ "method": "POST", "path": CHAT, "body": REQUEST });
    let response = || json!({ "status": 200, "headers": {}, "body": "{}" });
    let with = |mut object: Value, name: &str, new: &str| {
        let members = object.as_object_mut().unwrap();
        let value = members.remove(name).unwrap_or_else(|| json!("x"));
        members.insert(new.to_owned(), value);
        object
    };
    for (line, reported) in [
        (
            json!({ "request": with(request(), "body", "bdy"), "response": response() }),
            "the request has an unknown member: bdy",
        ),
        (
            json!({ "request": request(), "response": with(response(), "body", "Body") }),
            "the response has an unknown member: Body",
        ),
        (
            json!({ "request": request(), "response": with(response(), "headers", "header") }),
            "unknown member: header",
        ),
        (
            json!({ "request": request(), "response": response(), "recordedat": "2026-11-21T10:00:00Z" }),
            "the line has an unknown member: recordedat",
        ),
        (
            json!({ "request": request(), "response": response(), "timings_ms": [1] }),
            "unknown member: timings_ms",
        ),
        (
            json!({ "request": request(), "reponse": response() }),
            "unknown member: reponse",
        ),
    ] {
        // As a file of its own, and among others.
        let fine = json!({ "request": { "method": "GET", "path": "/v1/models" }, "response": { "status": 200 }, "_note": 1, "id": "x" });
        for (document, interactions) in [(line.to_string(), 0), (format!("{fine}\n{line}\n"), 1)] {
            let (project, done) = import_text("a.jsonl", document);
            assert_counts(&done, interactions, 1);
            assert!(done.stderr.contains(reported), "{done:?}");
            assert_eq!(cassettes(&project, "cassettes").len(), interactions);
        }
    }
    // A response whose body is in a member that the tool does not have.
    for (name, document) in [
        ("a.yaml", vcrpy("'{}'", "{}", "'{}'").replace("    body:\n      string:", "    text:\n      string:")),
        ("b.yaml", vcrpy("'{}'", "{}", "'{}'").replace("      string:", "      strng:")),
        ("c.yaml", vcrpy("'{}'", "{}", "'{}'").replace("    body: '{}'", "    json: '{}'")),
        ("d.yaml", format!("http_interactions:\n- request: {{method: post, uri: 'https://a.example{CHAT}', body: {{strng: x}}}}\n  response: {{status: {{code: 200}}, body: {{string: x}}}}\n")),
        ("e.yaml", format!("version: 2\ninteractions:\n- request: {{method: POST, url: 'https://a.example{CHAT}', body: x}}\n  response: {{code: 200, text: x}}\n")),
        ("f.json", json!([{ "scope": "https://a.example", "method": "POST", "path": CHAT, "status": 200, "reponse": {} }]).to_string()),
        ("g.yaml", format!("when: {{path: {CHAT}, method: POST, bdy: x}}\nthen: {{status: 200, body: x}}\n")),
        ("h.json", json!({ "request": { "method": "POST", "url": CHAT, "bodyPatterns": [{ "equalToJson": "{}", "ignoreArrayOrder": true }] }, "response": { "status": 200, "jsonBody": { "id": "a" } } }).to_string()),
    ] {
        let (project, done) = import_text(name, document);
        assert_counts(&done, 0, 1);
        assert!(cassettes(&project, "cassettes").is_empty(), "{name}");
    }
    // Documents of other tools.
    for document in [
        json!({ "Request": { "Path": CHAT }, "Response": { "StatusCode": 200 } }),
        json!([{ "request": {}, "reply": {} }]),
        json!({ "data": [] }),
    ] {
        let (_, done) = import_text("a.json", document.to_string());
        assert!(
            done.code() == 2 && done.stderr.contains("the format is not supported"),
            "{done:?}"
        );
    }
}
