//! The command line: the files and the output after the binary has run in a directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::KEY;
use crate::support::api;
use crate::support::project::{Done, Project, RunningProxy, done};
use crate::support::server::{Reply, Server};
use bytes::Bytes;
use mistral_cassette::Request;
use mistral_cassette::client::Client;
use serde_json::{Value, json};

const FRANCE: &str = "What is the capital of France?";

// Requests.

fn post(path: &str, body: &Value) -> Request {
    Request::post(path).unwrap().json(body).unwrap()
}

fn chat(text: &str) -> Request {
    conversation(&[("user", text)], 0.2)
}

fn conversation(messages: &[(&str, &str)], temperature: f64) -> Request {
    let messages: Vec<Value> = messages
        .iter()
        .map(|(role, content)| json!({ "role": role, "content": content }))
        .collect();
    let body = json!({ "model": "mistral-small-latest", "messages": messages, "temperature": temperature });
    post("/v1/chat/completions", &body)
}

fn streamed_chat(text: &str) -> Request {
    let body = json!({
        "model": "mistral-small-latest",
        "messages": [{ "role": "user", "content": text }],
        "stream": true,
    });
    post("/v1/chat/completions", &body)
}

/// A chat with a tool: before the tool call, or with its result.
fn chat_with_tool(outcome: Option<&str>) -> Request {
    let mut messages = vec![
        json!({ "role": "system", "content": "You know the weather." }),
        json!({ "role": "user", "content": "How warm is it in Paris?" }),
    ];
    if let Some(outcome) = outcome {
        let call =
            json!({ "id": "abc123def", "function": { "name": "weather", "arguments": "{\"city\": \"Paris\"}" } });
        messages.push(json!({ "role": "assistant", "content": "", "tool_calls": [call] }));
        messages.push(json!({ "role": "tool", "tool_call_id": "abc123def", "name": "weather", "content": outcome }));
    }
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tool = json!({ "type": "function", "function": { "name": "weather", "parameters": parameters } });
    let body = json!({ "model": "mistral-small-latest", "messages": messages, "tools": [tool] });
    post("/v1/chat/completions", &body)
}

fn embeddings() -> Request {
    let body = json!({ "model": "mistral-embed", "input": ["Mistral is a wind", "Sirocco is another"] });
    post("/v1/embeddings", &body)
}

fn upload() -> Request {
    let body = b"--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nocr\r\n\
        --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"menu.pdf\"\r\n\
        Content-Type: application/pdf\r\n\r\n%PDF-1.7 \x00\xff\r\n--XX--\r\n";
    Request::post("/v1/files")
        .unwrap()
        .header(
            http::header::CONTENT_TYPE,
            "multipart/form-data; boundary=XX".parse().unwrap(),
        )
        .body(body.as_slice())
}

fn download() -> Request {
    Request::get("/v1/files/0b6c0000-0000-4000-8000-000000000001/content").unwrap()
}

/// A path that the API does not have: 404 is a request error and is recorded.
fn unknown_path() -> Request {
    Request::get("/v1/winds").unwrap()
}

// Steps.

async fn ask(url: &str, request: Request) -> (u16, Bytes) {
    let client = Client::builder().base_url(url).api_key(KEY).build().unwrap();
    let response = client.request(request).await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap())
}

async fn ask_all(url: &str, requests: &[Request]) -> Vec<(u16, Bytes)> {
    let mut answers = Vec::new();
    for request in requests {
        answers.push(ask(url, request.clone()).await);
    }
    answers
}

/// Starts the proxy in this mode, sends these requests and stops it.
async fn session(
    project: &Project,
    mode: &str,
    upstream: &str,
    base: &str,
    requests: &[Request],
) -> (Vec<(u16, Bytes)>, Done) {
    let proxy = project.proxy(mode, upstream, &[]);
    let answers = ask_all(&format!("{}{base}", proxy.url), requests).await;
    (answers, proxy.stop())
}

/// A project with recordings of these requests from the stand-in, which is stopped afterwards.
async fn recorded(requests: &[Request]) -> Project {
    recorded_in(Project::new(), "", requests).await
}

async fn recorded_in(project: Project, base: &str, requests: &[Request]) -> Project {
    let upstream = api::start().await;
    let (_, done) = session(&project, "record", &upstream.url, base, requests).await;
    assert_eq!(done.code(), 0, "{}", done.stderr);
    project
}

/// The response of the proxy in mode strict to a miss, and its output.
async fn missed(project: &Project, base: &str, request: Request) -> (String, Done) {
    let (mut answers, done) = session(project, "strict", "http://127.0.0.1:1", base, &[request]).await;
    let (status, body) = answers.remove(0);
    assert_eq!(status, 424);
    let error: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&error["object"], &error["type"]),
        (&json!("error"), &json!("cassette_miss"))
    );
    (error["message"].as_str().unwrap().to_owned(), done)
}

/// The cassettes of a project, by path.
fn cassettes(project: &Project) -> Vec<PathBuf> {
    let tree = project.tree();
    let names = tree.keys().filter(|name| {
        name.ends_with(".yaml") && !name.ends_with("/settings.yaml") && !name.starts_with("cassettes/bodies/")
    });
    names.map(|name| project.path().join(name)).collect()
}

fn the_cassette(project: &Project) -> PathBuf {
    let mut all = cassettes(project);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The first 16 digits of the key, from the file name.
fn short_key(path: &Path) -> &str {
    file_name(path)
        .strip_suffix(".yaml")
        .unwrap()
        .rsplit_once('-')
        .unwrap()
        .1
}

/// Replaces text that must exist.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn rename(path: &Path, name: &str) -> PathBuf {
    let renamed = path.parent().unwrap().join(name);
    fs::create_dir_all(renamed.parent().unwrap()).unwrap();
    fs::rename(path, &renamed).unwrap();
    renamed
}

fn as_text(tree: &BTreeMap<String, Vec<u8>>) -> String {
    tree.iter()
        .map(|(name, content)| format!("=== {name}\n{}\n", String::from_utf8_lossy(content)))
        .collect()
}

fn pid(child: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap()
}

/// The exit status and the output, for a snapshot.
fn reported(done: &Done) -> String {
    format!(
        "exit status: {}\n--- stdout\n{}\n--- stderr\n{}",
        done.code(),
        done.stdout.trim_end(),
        done.stderr.trim_end()
    )
}

/// A shell command that sends the request of [`chat`], prints the status and always exits with 0.
fn curl(text: &str) -> String {
    let body = String::from_utf8(chat(text).body_bytes().to_vec()).unwrap();
    format!(
        "curl --silent --show-error --output answer.json --write-out '%{{http_code}}\\n' \
         --header \"authorization: Bearer $MISTRAL_API_KEY\" --header 'content-type: application/json' \
         --data '{body}' \"$MISTRAL_SERVER_URL/v1/chat/completions\""
    )
}

/// `run` with these flags and this shell command, which may send no request.
fn run_flags<'a>(flags: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "--allow-no-requests"], flags, &["--", "sh", "-c", script]].concat()
}

fn run_in_shell(project: &Project, flags: &[&str], script: &str) -> Done {
    project.run(&run_flags(flags, script))
}

/// Replaces values that differ between runs, while the guard exists.
fn without_what_varies() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]");
    settings.add_filter(r"timing_ms: \[[^\]]*\]", "timing_ms: [ms]");
    settings.add_filter(r"in \d+ ms", "in [n] ms");
    settings.add_filter(r"mistral-cassette \d+\.\d+\.\d+", "mistral-cassette [version]");
    settings.bind_to_scope()
}

// Record, then strict.

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_replayed_byte_for_byte_and_a_hit_writes_nothing() {
    let _redacted = without_what_varies();
    let requests = [
        chat(FRANCE),
        streamed_chat("Tell me about the mistral."),
        embeddings(),
        upload(),
        download(),
        unknown_path(),
    ];
    let project = Project::new();
    let upstream = api::start().await;
    let (recorded, done) = session(&project, "record", &upstream.url, "", &requests).await;
    assert_eq!(upstream.call_count(), 6);
    insta::assert_snapshot!(reported(&done), @r"
    exit status: 0
    --- stdout

    --- stderr
    mistral-cassette: 0 replayed, 6 recorded
    ");
    let tree = project.tree();
    insta::assert_snapshot!("the_tree_after_recording", as_text(&tree));

    let url = upstream.url.clone();
    drop(upstream);
    for mode in ["strict", "replay"] {
        let (replayed, done) = session(&project, mode, &url, "", &requests).await;
        assert_eq!(replayed, recorded, "{mode}");
        assert_eq!(
            reported(&done),
            "exit status: 0\n--- stdout\n\n--- stderr\nmistral-cassette: 6 replayed, 0 recorded"
        );
        assert!(
            project.tree() == tree,
            "{mode} has changed {}",
            as_text(&project.tree())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_session_with_a_miss_creates_no_directory() {
    let project = Project::new();
    let (_, done) = missed(&project, "", chat(FRANCE)).await;
    assert_eq!(done.code(), 1);
    assert_eq!(project.tree(), BTreeMap::new());
    assert!(!project.cassettes().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_key_and_cookies_are_not_on_disk() {
    let project = recorded(&[chat(&format!("My key is {KEY}.")), upload(), embeddings()]).await;
    let text = as_text(&project.tree());
    assert!(text.contains("My key is [REDACTED]."), "{text}");
    for secret in [KEY, "secret", "cookie", "__cf_bm", "Bearer"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

// List.

#[tokio::test(flavor = "multi_thread")]
async fn list_prints_a_line_for_each_recording() {
    let _redacted = without_what_varies();
    let project = recorded(&[chat(FRANCE), chat(FRANCE), upload(), download(), unknown_path()]).await;
    insta::assert_snapshot!(reported(&project.run(&["list"])), @r"
    exit status: 0
    --- stdout
    cassette                                                                  responses    recorded              prompt                                                      answer
    chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml                  200 json ×2  [time]  What is the capital of France?                              The capital of France is **Paris**.
    files-content/0b6c0000-0000-4000-8000-000000000001-90a57e549f1728fc.yaml  200 base64   [time]  GET /v1/files/0b6c0000-0000-4000-8000-000000000001/content
    files/menu-pdf-b9b45af23df80a6a.yaml                                      200 json     [time]  menu.pdf
    winds/get-b91901ddea5a505a.yaml                                           404 json     [time]  GET /v1/winds                                               no Route matched with those values
    4 cassettes, 5 responses, 4 of 5 bodies readable (80 %)
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_as_json_counts_readable_and_damaged_cassettes() {
    let _redacted = without_what_varies();
    let project = recorded(&[streamed_chat(FRANCE), upload(), download()]).await;
    let done = project.run(&["list", "--format", "json"]);
    let document: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(document["summary"]["readable_percent"], 66.7);
    insta::assert_snapshot!(reported(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn list_is_sorted_as_wanted() {
    let project = recorded(&[embeddings(), chat(FRANCE), chat(FRANCE), upload()]).await;
    let first = |order: &str| {
        let done = project.run(&["list", "--format", "json", "--sort", order]);
        let document: Value = serde_json::from_str(&done.stdout).unwrap();
        document["cassettes"][0]["name"].as_str().unwrap().to_owned()
    };
    for (order, folder) in [
        ("name", "chat-completions/"),
        ("recorded", "files/"),
        ("size", "chat-completions/"),
        ("responses", "chat-completions/"),
    ] {
        assert!(first(order).starts_with(folder), "{order}: {}", first(order));
    }
    assert_eq!(project.run(&["list", "--sort", "luck"]).code(), 2);
}

#[test]
fn list_of_an_empty_directory_is_empty() {
    let project = Project::new();
    fs::create_dir(project.cassettes()).unwrap();
    insta::assert_snapshot!(reported(&project.run(&["list"])), @r"
    exit status: 0
    --- stdout
    0 cassettes, 0 responses, 0 of 0 bodies readable (100 %)
    --- stderr
    ");
}

#[test]
fn a_missing_directory_is_an_error_that_names_it() {
    let project = Project::new();
    for command in [
        &["list", "--dir"][..],
        &["verify", "--dir"],
        &["show", "x", "--dir"],
        &["stats", "--dir"],
        &["review", "--dir"],
        &["refresh", "--upstream", "http://127.0.0.1:9", "--dir"],
        &["export", "--to", "har", "--out", "out.har", "--dir"],
        &["copy", "--", "no/such/folder"],
    ] {
        let done = project.run(&[command, &["no/such/folder"]].concat());
        assert_eq!((done.code(), done.stdout.as_str()), (2, ""), "{command:?}");
        assert_eq!(
            done.stderr,
            "error: cannot read no/such/folder: it does not exist\n  \
             caused by: No such file or directory (os error 2)\n",
            "{command:?}"
        );
    }
}

#[cfg(feature = "sql")]
#[test]
fn a_missing_database_is_an_error_and_is_not_created() {
    let project = Project::new();
    for command in ["list", "verify", "stats", "report", "clear", "rekey", "show x"] {
        let arguments: Vec<&str> = command.split(' ').chain(["--dir", "sqlite:no.db"]).collect();
        let done = project.run(&arguments);
        assert_eq!(
            (done.code(), done.stdout.as_str(), done.stderr.as_str()),
            (2, "", "error: cannot read no.db: it does not exist\n"),
            "{command}"
        );
    }
    assert!(project.tree().is_empty());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_name_is_not_utf_8_is_reported() {
    use std::os::unix::ffi::OsStrExt as _;

    let project = recorded(&[chat(FRANCE)]).await;
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9-83d8b2b94cb13f9b.yaml");
    let path = the_cassette(&project);
    fs::rename(&path, path.with_file_name(name)).unwrap();
    for command in ["list", "verify"] {
        let done = project.run(&[command]);
        let output = done.stdout + &done.stderr;
        assert!(output.contains("its name is not UTF-8"), "{output}");
        assert!(!done.status.success(), "{command}");
    }
    assert_eq!(project.run(&["clear", "--yes"]).stdout, "0 cassettes removed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_names_a_damaged_file_with_its_line_and_lists_the_others() {
    let _redacted = without_what_varies();
    let project = recorded(&[chat(FRANCE), embeddings()]).await;
    edit(&cassettes(&project)[0], "responses:", "responses: [");
    insta::assert_snapshot!(reported(&project.run(&["list"])), @r#"
    exit status: 1
    --- stdout
    cassette                                            responses  recorded              prompt             answer
    embeddings/mistral-is-a-wind-03f5bafa652cd974.yaml  200 json   [time]  Mistral is a wind
    1 cassette, 1 response, 1 of 1 bodies readable (100 %)
    --- stderr
    error: cannot read cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml: line 18: "-" is only valid inside a block
    hint: restore it from version control, or delete it and record the request again
    "#);
    let done = project.run(&["list", "--format", "json"]);
    let document: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code(), &document["summary"]["cassettes"]), (1, &json!(1)));
}

// Show.

#[tokio::test(flavor = "multi_thread")]
async fn show_prints_a_chat_with_tool_calls() {
    let _redacted = without_what_varies();
    let project = recorded(&[chat_with_tool(None), chat_with_tool(Some("21 °C"))]).await;
    insta::assert_snapshot!(reported(&project.run(&["show", "chat-completions"])));
    let cut = project.run(&["show", "chat-completions"]).stdout;
    assert!(!cut.contains("parameters:"), "{cut}");
    let whole = project.run(&["show", "chat-completions", "--full"]).stdout;
    let tools = "tools: weather\n\n[tools]\n- type: function\n  function:\n    name: weather\n";
    assert_eq!(whole.matches(tools).count(), 2, "{whole}");
    assert_eq!(whole.matches("    parameters:\n").count(), 2, "{whole}");
}

/// What `list` shows of a key on a terminal finds the recording.
#[tokio::test(flavor = "multi_thread")]
async fn show_finds_a_recording_by_the_digits_of_its_key() {
    let project = recorded(&[chat(FRANCE), embeddings()]).await;
    for wanted in ["83d8b2b9", "chat-completions/83d8b2b9", "83d8"] {
        let shown = project.run(&["show", wanted]);
        assert_eq!(shown.code(), 0, "{wanted}: {}", shown.stderr);
        assert_eq!(
            shown.stdout.matches("\n# ").count() + 1,
            1,
            "{wanted}: {}",
            shown.stdout
        );
        assert!(
            shown
                .stdout
                .starts_with("# chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml\n")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn show_assembles_a_stream() {
    let _redacted = without_what_varies();
    let project = recorded(&[streamed_chat("Tell me about the mistral.")]).await;
    insta::assert_snapshot!(reported(&project.run(&["show", "mistral"])), @r"
    exit status: 0
    --- stdout
    # chat-completions/tell-me-about-the-mistral-022a1f02885eb4f5.yaml
    POST /v1/chat/completions, recorded [time] from http://127.0.0.1:[port]/stand-in
    model: mistral-small-latest, stream: true

    [user]
    Tell me about the mistral.

    ## response: 200 OK in [n] ms, 24 events

    [assistant]
    The mistral is a strong, cold wind.

    - It blows from the north-west.
    - It's felt in the Rhône valley, down to Marseille.

    usage: 6 + 30 = 36 tokens
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn show_assembles_a_streamed_tool_call() {
    let _redacted = without_what_varies();
    let mut body: Value = serde_json::from_slice(chat_with_tool(None).body_bytes()).unwrap();
    body["stream"] = json!(true);
    let project = recorded(&[post("/v1/chat/completions", &body)]).await;
    insta::assert_snapshot!(reported(&project.run(&["show", "paris"])), @r#"
    exit status: 0
    --- stdout
    # chat-completions/how-warm-is-it-in-paris-6a2e5d0ff20adf47.yaml
    POST /v1/chat/completions, recorded [time] from http://127.0.0.1:[port]/stand-in
    model: mistral-small-latest, stream: true
    tools: weather

    [system]
    You know the weather.

    [user]
    How warm is it in Paris?

    ## response: 200 OK in [n] ms, 3 events

    [assistant]
    calls weather (id 000000000): {"city": "Paris"}
    (finished: tool_calls)

    usage: 12 + 1 = 13 tokens
    --- stderr
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_shortens_embeddings() {
    let _redacted = without_what_varies();
    let project = recorded(&[embeddings()]).await;
    let done = project.run(&["show", "embeddings"]);
    // Eight numbers are printed completely, sixteen are shortened.
    insta::assert_snapshot!(reported(&done), @r"
    exit status: 0
    --- stdout
    # embeddings/mistral-is-a-wind-03f5bafa652cd974.yaml
    POST /v1/embeddings, recorded [time] from http://127.0.0.1:[port]/stand-in
    model: mistral-embed

    [input]
    Mistral is a wind
    Sirocco is another

    ## response: 200 OK in [n] ms

    id: 000000000000000052e2c3ac16d26f29
    object: list
    data:
    - object: embedding
      embedding: [-0.0001220703125, 0.060760498046875, 0.035003662109375, -0.00225830078125, 0.0263671875, -0.01531982421875, -0.057403564453125, 0.019500732421875]
      index: 0
    - object: embedding
      embedding: [0.05035400390625, -0.00677490234375, -0.04571533203125, -0.0439453125, -0.015167236328125, -0.05517578125, 0.05511474609375, -0.055450439453125]
      index: 1
    model: mistral-embed

    usage: 6 + 0 = 6 tokens
    --- stderr
    ");
    let path = the_cassette(&project);
    let text = fs::read_to_string(&path).unwrap();
    let vector = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("embedding: ["))
        .unwrap();
    let numbers = vector.strip_suffix(']').unwrap();
    edit(&path, numbers, &format!("{numbers}, {numbers}"));
    let done = project.run(&["show", "embeddings"]);
    assert!(done.stdout.contains("… 16 numbers]"), "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_names_the_parts_of_an_upload() {
    let _redacted = without_what_varies();
    let project = recorded(&[upload()]).await;
    insta::assert_snapshot!(reported(&project.run(&["show", "menu"])), @r"
    exit status: 0
    --- stdout
    # files/menu-pdf-b9b45af23df80a6a.yaml
    POST /v1/files, recorded [time] from http://127.0.0.1:[port]/stand-in
    purpose: ocr
    file: menu.pdf (application/pdf, 11 bytes)

    ## response: 200 OK in [n] ms

    id: 000000000000000052e2c3ac16d26f29
    object: file
    bytes: 187
    created_at: 1795255200
    filename: upload
    purpose: ocr
    sample_type: ocr_input
    source: upload
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn show_prints_an_api_error_and_describes_binary_data() {
    let _redacted = without_what_varies();
    let project = recorded(&[unknown_path(), download()]).await;
    insta::assert_snapshot!(reported(&project.run(&["show", "winds", "files-content"])), @r#"
    exit status: 0
    --- stdout
    # winds/get-b91901ddea5a505a.yaml
    GET /v1/winds, recorded [time] from http://127.0.0.1:[port]/stand-in

    ## response: 404 Not Found in [n] ms

    object: error
    message: no Route matched with those values
    type: invalid_request_error
    param: null
    code: "1500"
    raw_status_code: 404

    # files-content/0b6c0000-0000-4000-8000-000000000001-90a57e549f1728fc.yaml
    GET /v1/files/0b6c0000-0000-4000-8000-000000000001/content, recorded [time] from http://127.0.0.1:[port]/stand-in

    ## response: 200 OK in [n] ms
    (14 bytes of binary data)
    --- stderr
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_numbers_several_responses() {
    let _redacted = without_what_varies();
    let project = recorded(&[chat("And now?"), chat("And now?")]).await;
    insta::assert_snapshot!(reported(&project.run(&["show", "now"])), @r"
    exit status: 0
    --- stdout
    # chat-completions/and-now-7d18d6e2ba76df0b.yaml
    POST /v1/chat/completions, recorded [time] from http://127.0.0.1:[port]/stand-in
    model: mistral-small-latest, temperature: 0.2

    [user]
    And now?

    ## response 1 of 2: 200 OK in [n] ms

    [assistant]
    Answer 0 to: And now?

    usage: 2 + 6 = 8 tokens

    ## response 2 of 2: 200 OK in [n] ms

    [assistant]
    Answer 1 to: And now?

    usage: 2 + 6 = 8 tokens
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn show_finds_a_cassette_by_key_by_name_and_by_path() {
    let project = recorded(&[chat(FRANCE), embeddings()]).await;
    let wanted = &cassettes(&project)[0];
    let expected = project.run(&["show", "capital"]).stdout;
    assert!(expected.starts_with("# chat-completions/capital"), "{expected}");
    assert_eq!(expected.matches("\n## ").count(), 1);
    let inside = format!("chat-completions/{}", file_name(wanted));
    let key = fs::read_to_string(wanted).unwrap();
    let key = key.lines().find_map(|line| line.strip_prefix("key: ")).unwrap();
    let names = [
        key,
        short_key(wanted),
        &key[..6],
        &inside,
        inside.strip_suffix(".yaml").unwrap(),
        file_name(wanted),
        &format!("cassettes/{inside}"),
        &format!("./cassettes/{inside}"),
        wanted.to_str().unwrap(),
    ];
    let not_found: Vec<&str> = names
        .into_iter()
        .filter(|name| project.run(&["show", name]).stdout != expected)
        .collect();
    assert_eq!(not_found, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_prints_a_cassette_at_any_path() {
    let project = recorded(&[chat(FRANCE), upload(), download()]).await;
    let files = cassettes(&project);
    let from = |arguments: &[&str]| project.run(&[&["show", "--dir", "no/such/folder"], arguments].concat());
    for file in &files {
        let path = file.to_str().unwrap();
        let done = from(&[path]);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        // Large bodies are found in the directory of the file.
        let inside = project.run(&["show", path]).stdout;
        assert_eq!(done.stdout.lines().next(), Some(&*format!("# {path}")));
        assert!(
            done.stdout.lines().skip(1).eq(inside.lines().skip(1)),
            "{}",
            done.stdout
        );
    }
    project.write("loose.yaml", fs::read(&files[0]).unwrap());
    assert!(from(&["loose.yaml"]).stdout.contains("What is the capital of France?"));
    let other = from(&["cassettes"]);
    assert_eq!((other.code(), &*other.stdout), (2, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_found_in_files_whose_names_do_not_contain_it() {
    let project = recorded(&[chat(FRANCE), embeddings()]).await;
    let file = &cassettes(&project)[0];
    let text = fs::read_to_string(file).unwrap();
    let key = text.lines().find_map(|line| line.strip_prefix("key: ")).unwrap();
    for name in ["mine.yaml", "capital-0000000000000000.yaml"] {
        let renamed = file.with_file_name(name);
        fs::rename(&cassettes(&project)[0], &renamed).unwrap();
        for wanted in [key, &key[..20], &key[..8]] {
            let shown = project.run(&["show", wanted]).stdout;
            assert!(
                shown.starts_with(&format!("# chat-completions/{name}\n")),
                "{wanted}: {shown}"
            );
        }
    }
    let embeddings = short_key(&cassettes(&project)[1]).to_owned();
    let by_folder = project.run(&["show", &format!("embeddings/{}", &embeddings[..8])]);
    assert!(by_folder.stdout.starts_with("# embeddings/"), "{}", by_folder.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_reports_a_cassette_that_does_not_exist() {
    let project = recorded(&[chat(FRANCE)]).await;
    insta::assert_snapshot!(reported(&project.run(&["show", "weather"])), @r#"
    exit status: 2
    --- stdout

    --- stderr
    error: no cassette in cassettes matches "weather"
    hint: mistral-cassette list prints their names
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_of_a_damaged_cassette_ends_with_the_status_for_invalid_recordings() {
    let project = recorded(&[chat(FRANCE)]).await;
    edit(&the_cassette(&project), "responses:", "responses: [");
    let done = project.run(&["show", "capital"]);
    let location = format!("cassettes/chat-completions/{}:", file_name(&the_cassette(&project)));
    assert!(done.stderr.contains(&location), "{}", done.stderr);
    assert_eq!(done.code(), 1, "as for list and verify");
}

// Verify.

/// One modified recording, and what `verify` prints about it.
async fn verify_after(change: impl FnOnce(&Path)) -> Done {
    let project = recorded(&[chat(FRANCE)]).await;
    change(&the_cassette(&project));
    project.run(&["verify"])
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_accepts_new_recordings() {
    let project = recorded_in(
        recorded(&[chat(FRANCE), streamed_chat(FRANCE), embeddings(), upload(), download()]).await,
        "/c/weather",
        &[chat(FRANCE), chat_with_tool(None)],
    )
    .await;
    assert_eq!(
        reported(&project.run(&["verify"])),
        "exit status: 0\n--- stdout\n7 cassettes, 0 problems\n--- stderr\n"
    );
    let json: Value = serde_json::from_str(&project.run(&["verify", "--format", "json"]).stdout).unwrap();
    assert_eq!(json, json!({ "cassettes": 7, "problems": [], "warnings": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_damaged_file() {
    let done = verify_after(|cassette| edit(cassette, "responses:", "responses: [")).await;
    insta::assert_snapshot!(reported(&done), @r#"
    exit status: 1
    --- stdout
    cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml:18: "-" is only valid inside a block (restore it from version control, or delete it and record the request again)
    1 cassette, 1 problem
    --- stderr
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_an_empty_file() {
    let done = verify_after(|cassette| fs::write(cassette, "").unwrap()).await;
    insta::assert_snapshot!(reported(&done), @"
    exit status: 1
    --- stdout
    cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml:1: the file is empty (restore it from version control, or delete it and record the request again)
    1 cassette, 1 problem
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_refuses_a_newer_version_with_advice() {
    let done = verify_after(|cassette| edit(cassette, "version: 1", "version: 2")).await;
    assert_eq!(done.code(), 1);
    for words in [
        "83d8b2b94cb13f9b.yaml",
        "format version 2 is not supported",
        "reads versions up to 1",
        "update mistral-cassette",
    ] {
        assert!(done.stdout.contains(words), "{words:?} is not in: {}", done.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_request_that_was_edited() {
    let done = verify_after(|cassette| edit(cassette, "capital of France?", "capital of Spain?")).await;
    insta::assert_snapshot!(reported(&done), @"
    exit status: 1
    --- stdout
    cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml: its key is 83d8b2b94cb13f9be54286a1eae2e33ac90a4ea8b39edb528ef9cdb39f882031, but the key of its request is 8f3eb232c77e252cd3631a1a57230d9ccb439e41be0e445614b402bb0dcc9eed: the request or the matching settings have changed; undo the change, or update the key (mistral-cassette rekey), or record the request again
    1 cassette, 1 problem
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_file_renamed_to_another_key() {
    let done = verify_after(|cassette| {
        rename(cassette, "capital-france-0123456789abcdef.yaml");
    })
    .await;
    insta::assert_snapshot!(reported(&done), @"
    exit status: 1
    --- stdout
    cassettes/chat-completions/capital-france-0123456789abcdef.yaml: its name ends in 0123456789abcdef, but its key is 83d8b2b94cb13f9be54286a1eae2e33ac90a4ea8b39edb528ef9cdb39f882031, so it is never found: rename it to chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml
    1 cassette, 1 problem
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_accepts_a_renamed_slug() {
    let done = verify_after(|cassette| {
        rename(cassette, &format!("my own words-{}.yaml", short_key(cassette)));
    })
    .await;
    assert_eq!((done.code(), done.stdout.as_str()), (0, "1 cassette, 0 problems\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_file_in_the_folder_of_another_endpoint() {
    let done = verify_after(|cassette| {
        rename(cassette, &format!("../embeddings/{}", file_name(cassette)));
    })
    .await;
    insta::assert_snapshot!(reported(&done), @"
    exit status: 1
    --- stdout
    cassettes/embeddings/capital-of-france-83d8b2b94cb13f9b.yaml: it is in the folder embeddings, but the folder of POST /v1/chat/completions is chat-completions, so it is never found: move it there
    1 cassette, 1 problem
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_file_outside_of_the_endpoint_folders() {
    let done = verify_after(|cassette| {
        rename(cassette, &format!("../{}", file_name(cassette)));
    })
    .await;
    insta::assert_snapshot!(reported(&done), @"
    exit status: 1
    --- stdout
    cassettes/capital-of-france-83d8b2b94cb13f9b.yaml: its name does not end in its key, so it is never found: rename it to chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml
    1 cassette, 1 problem
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_file_without_a_key_in_its_name() {
    let done = verify_after(|cassette| {
        rename(cassette, "france.yaml");
    })
    .await;
    insta::assert_snapshot!(reported(&done), @"
    exit status: 1
    --- stdout
    cassettes/chat-completions/france.yaml: its name does not end in its key, so it is never found: rename it to chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml
    1 cassette, 1 problem
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_the_same_request_twice() {
    let done = verify_after(|cassette| {
        let copy = cassette.with_file_name(format!("a-copy-{}.yaml", short_key(cassette)));
        fs::copy(cassette, copy).unwrap();
    })
    .await;
    insta::assert_snapshot!(reported(&done), @"
    exit status: 1
    --- stdout
    cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml: the same request is recorded in chat-completions/a-copy-83d8b2b94cb13f9b.yaml: delete one of them
    2 cassettes, 1 problem
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_recordings_that_the_settings_make_unreachable() {
    let project = recorded(&[chat(FRANCE)]).await;
    project.write("cassettes/settings.yaml", "matching:\n  ignore: [/temperature]\n");
    insta::assert_snapshot!(reported(&project.run(&["verify"])), @"
    exit status: 1
    --- stdout
    cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml: its key is 83d8b2b94cb13f9be54286a1eae2e33ac90a4ea8b39edb528ef9cdb39f882031, but the key of its request is bb32a3af6672c1e415709db3f3863d37f72ae481edeafc517f0e78f44954d4f1: the request or the matching settings have changed; undo the change, or update the key (mistral-cassette rekey), or record the request again
    1 cassette, 1 problem
    --- stderr
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_secrets_and_does_not_print_them() {
    let json_web_token = [
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJzdWIiOiIxMjM0NTY3ODkwIn0",
        "dozjgNryP4J3jVmNHl0w5N",
    ]
    .join(".");
    for (secret, is) in [
        (
            "correct-horse-battery-staple",
            "it contains the value of MISTRAL_API_KEY",
        ),
        ("Bearer a1b2c3d4e5f6g7h8i9j0klmn", "it contains a bearer token"),
        ("sk-a1b2c3d4e5f6g7h8i9j0klmn", "it contains an API key"),
        ("__cf_bm=abcdefghijklmnopqrstuvwxyz", "it contains a session cookie"),
        (&json_web_token, "it contains a JSON web token"),
    ] {
        let project = recorded(&[chat(FRANCE)]).await;
        let cassette = the_cassette(&project);
        edit(&cassette, "**Paris**", &format!("Paris {secret}"));
        for format in ["text", "json"] {
            let done = done(
                project
                    .command(&["verify", "--format", format])
                    .env("MISTRAL_API_KEY", "correct-horse-battery-staple"),
            );
            assert_eq!(done.code(), 1, "{secret}: {}", done.stdout);
            assert!(!reported(&done).contains(secret), "{}", done.stdout);
            assert!(done.stdout.contains(is), "{}", done.stdout);
            assert!(done.stdout.contains(file_name(&cassette)), "{}", done.stdout);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_secrets_in_any_text_of_a_document() {
    let secret = ["sk-", "a1b2c3d4e5f6g7h8i9j0klmn"].concat();
    let key = "a8Kq27LmZ0Xv94TbRn61WcYp83GdJf5E";
    for (from, to, kind) in [
        ("version: 1", format!("version: 1 # {secret}"), "an API key"),
        ("version: 1", format!("# {secret}\nversion: 1"), "an API key"),
        (
            "version: 1",
            format!("\u{feff}%A {secret}\n---\nversion: 1"),
            "an API key",
        ),
        ("recorded:", format!("recorded:\n  test: {secret}"), "an API key"),
        ("responses:\n", format!("responses: !{secret}\n"), "an API key"),
        ("path: ", format!("query: a={secret}\n  path: "), "an API key"),
        // The name that makes it a secret is in another text.
        (
            "content-type: application/json\n",
            format!("content-type: application/json\n    x-note: mistral\n    x-value: {key}\n"),
            "a Mistral API key",
        ),
    ] {
        let project = recorded(&[chat(FRANCE)]).await;
        edit(&the_cassette(&project), from, &to);
        let done = project.run(&["verify"]);
        assert_eq!(done.code(), 1, "{to}: {}", done.stdout);
        let line = regex::Regex::new(&format!(r"\.yaml:\d+: it contains {kind}")).unwrap();
        assert!(line.is_match(&done.stdout), "{to}: {}", done.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_secrets_in_headers_and_binary_data() {
    let project = recorded(&[download()]).await;
    let cassette = the_cassette(&project);
    edit(
        &cassette,
        "content-type:",
        "x-ratelimit-of: Bearer a1b2c3d4e5f6g7h8i9j0klmn\n    content-type:",
    );
    let done = project.run(&["verify"]);
    assert!(
        done.code() == 1 && done.stdout.contains("it contains a bearer token"),
        "{}",
        reported(&done)
    );

    // As base64: a zero byte, the value of MISTRAL_API_KEY, and 0xff.
    let project = recorded(&[download()]).await;
    let cassette = the_cassette(&project);
    let text = fs::read_to_string(&cassette).unwrap();
    let base64 = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("base64: "))
        .unwrap();
    edit(&cassette, base64, "AHNrLXRlc3Qtc2VjcmV0LTAxMjM0NTY3ODlhYmNkZWb/");
    let shown = project.run(&["show", "files-content"]).stdout;
    assert!(shown.contains("(33 bytes of binary data)"), "{shown}");
    let done = project.run(&["verify"]);
    assert!(
        done.code() == 1 && done.stdout.contains("the value of MISTRAL_API_KEY"),
        "{}",
        reported(&done)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_text_that_the_settings_redact() {
    let project = recorded(&[chat("Who is ACME-4711?")]).await;
    project.write(
        "cassettes/settings.yaml",
        "redaction:\n- pattern: 'ACME-\\d+'\n  with: <customer>\n",
    );
    let done = project.run(&["verify"]);
    assert_eq!(done.code(), 1);
    assert!(
        done.stdout.contains("it contains text that the settings redact"),
        "{}",
        done.stdout
    );
}

/// Redaction changes strings in requests and responses, not numbers and not the date in `recorded.at`.
#[tokio::test(flavor = "multi_thread")]
async fn verify_accepts_recordings_made_with_the_same_redaction() {
    let mut refused = Vec::new();
    for pattern in [r"ACME-\d+", r"\d{4}-\d\d-\d\d", r"\d{10}"] {
        let project = Project::new();
        let settings = format!("redaction:\n- pattern: '{pattern}'\n  with: <redacted>\n");
        project.write("cassettes/settings.yaml", settings);
        let question = chat("ACME-4711 ordered on 2026-11-21, call 0123456789.");
        let project = recorded_in(project, "", &[question]).await;
        let done = project.run(&["verify"]);
        if done.code() != 0 {
            refused.push((pattern, done.stdout));
        }
    }
    assert_eq!(refused, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_reads_the_bodies_beside_the_cassettes() {
    let project = Project::new();
    project.write("cassettes/settings.yaml", "inline_body_bytes: 16\n");
    let project = recorded_in(project, "", &[chat(FRANCE), upload()]).await;
    let bodies = project.cassettes().join("bodies");
    let body = fs::read_dir(&bodies)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("**Paris**")))
        .unwrap();
    assert_eq!(
        reported(&project.run(&["verify"])),
        "exit status: 0\n--- stdout\n2 cassettes, 0 problems\n--- stderr\n"
    );

    edit(&body, "**Paris**", "**Rome**");
    let damaged = project.run(&["verify"]);
    fs::remove_file(&body).unwrap();
    let missing = project.run(&["verify"]);
    insta::assert_snapshot!(format!("{}\n\n{}", reported(&damaged), reported(&missing)), @"
    exit status: 1
    --- stdout
    cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml: the body bodies/386b5e534d257e0f3aa4a33085e03249ee2a1602752684de53ec0c2fab6179bd is damaged: its SHA-256 differs
    2 cassettes, 1 problem
    --- stderr


    exit status: 1
    --- stdout
    cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml: the body bodies/386b5e534d257e0f3aa4a33085e03249ee2a1602752684de53ec0c2fab6179bd is missing
    2 cassettes, 1 problem
    --- stderr
    ");

    let unreadable = project.run(&["show", "capital"]);
    assert!(unreadable.stderr.contains("is missing"), "{}", unreadable.stderr);
    assert!(
        unreadable.stderr.contains("capital"),
        "the cassette is not named: {}",
        unreadable.stderr
    );
    assert_eq!(unreadable.code(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_as_json_has_a_problem_for_each_file() {
    let project = recorded(&[chat(FRANCE), embeddings(), download()]).await;
    let [chat, embeddings, _] = cassettes(&project).try_into().unwrap();
    edit(&chat, "capital of France?", "capital of Spain?");
    rename(&embeddings, "winds.yaml");
    insta::assert_snapshot!(reported(&project.run(&["verify", "--format", "json"])), @r#"
    exit status: 1
    --- stdout
    {
      "cassettes": 3,
      "problems": [
        {
          "file": "cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml",
          "line": null,
          "problem": "its key is 83d8b2b94cb13f9be54286a1eae2e33ac90a4ea8b39edb528ef9cdb39f882031, but the key of its request is 8f3eb232c77e252cd3631a1a57230d9ccb439e41be0e445614b402bb0dcc9eed: the request or the matching settings have changed; undo the change, or update the key (mistral-cassette rekey), or record the request again"
        },
        {
          "file": "cassettes/embeddings/winds.yaml",
          "line": null,
          "problem": "its name does not end in its key, so it is never found: rename it to embeddings/mistral-is-a-wind-03f5bafa652cd974.yaml"
        }
      ],
      "warnings": []
    }
    --- stderr
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_writes_nothing() {
    let project = recorded(&[chat(FRANCE)]).await;
    edit(&the_cassette(&project), "capital of France?", "capital of Spain?");
    let tree = project.tree();
    for command in [&["verify"][..], &["list"], &["show", "capital"]] {
        project.run(command);
        assert!(project.tree() == tree, "{command:?}");
    }
}

// Run.

#[test]
fn run_sets_every_base_url_variable_in_the_form_that_its_client_expects() {
    let _redacted = without_what_varies();
    let project = Project::new();
    let script = "env | grep -E '^(MISTRAL|OPENAI|NO_PROXY|no_proxy)' | grep -v /usage-log | sort";
    insta::assert_snapshot!(reported(&run_in_shell(&project, &["--mode", "strict"], script)), @r"
    exit status: 0
    --- stdout
    MISTRAL_API_KEY=mistral-cassette-needs-no-key
    MISTRAL_AZURE_API_BASE=http://127.0.0.1:[port]/v1
    MISTRAL_BASE_URL=http://127.0.0.1:[port]/v1
    MISTRAL_CASSETTE_OUTER_PROXY=
    MISTRAL_ENDPOINT=http://127.0.0.1:[port]
    MISTRAL_SERVER_URL=http://127.0.0.1:[port]
    NO_PROXY=127.0.0.1,localhost,::1
    OPENAI_BASE_URL=http://127.0.0.1:[port]/v1
    no_proxy=127.0.0.1,localhost,::1
    --- stderr
    mistral-cassette: 0 replayed, 0 recorded
    ");
    let scoped = run_in_shell(
        &project,
        &["--mode", "strict", "--scope", "suite/weather"],
        "echo $MISTRAL_BASE_URL",
    );
    insta::assert_snapshot!(scoped.stdout, @r"http://127.0.0.1:[port]/c/suite%2Fweather/v1");
}

#[test]
fn run_keeps_the_existing_entries_of_no_proxy() {
    let project = Project::new();
    let mut command = project.command(&run_flags(&["--mode", "strict"], "echo $NO_PROXY $no_proxy"));
    let done = done(command.env("NO_PROXY", "example.com").env("no_proxy", "example.org"));
    assert_eq!(
        done.stdout,
        "example.com,127.0.0.1,localhost,::1 example.org,127.0.0.1,localhost,::1\n"
    );
}

#[test]
fn run_returns_the_exit_status_of_the_command() {
    let project = Project::new();
    for (script, expected) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let done = run_in_shell(&project, &["--mode", "strict"], script);
        assert_eq!(done.code(), expected, "{script}: {}", done.stderr);
        // A failed command may not have sent its requests.
        assert_eq!(done.stderr, "mistral-cassette: 0 replayed, 0 recorded\n", "{script}");
    }
}

#[test]
fn run_reports_a_command_that_does_not_exist() {
    let project = Project::new();
    let done = project.run(&["run", "--mode", "strict", "--", "no-such-command", "x"]);
    insta::assert_snapshot!(reported(&done), @"
    exit status: 2
    --- stdout

    --- stderr
    error: cannot run no-such-command
      caused by: No such file or directory (os error 2)
    ");
    assert_eq!(project.run(&["run", "--mode", "strict"]).code(), 2);
}

#[test]
fn run_sets_a_dummy_key_in_mode_strict_and_passes_the_real_one_otherwise() {
    let project = Project::new();
    for (mode, key) in [
        ("strict", "mistral-cassette-needs-no-key"),
        ("replay", KEY),
        ("record", KEY),
        ("live", KEY),
    ] {
        let done = run_in_shell(&project, &["--mode", mode], "echo $MISTRAL_API_KEY");
        assert_eq!(done.stdout, format!("{key}\n"), "{mode}");
    }
    let mut command = project.command(&run_flags(&[], "echo $MISTRAL_API_KEY"));
    let in_ci = done(command.env("CI", "true").env_remove("MISTRAL_API_KEY"));
    assert_eq!(in_ci.stdout, "mistral-cassette-needs-no-key\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_records_and_then_replays_with_the_upstream_stopped() {
    let project = Project::new();
    let upstream = api::start().await;
    let url = upstream.url.clone();
    let recording = run_in_shell(&project, &["--mode", "record", "--upstream", &url], &curl(FRANCE));
    assert_eq!(
        reported(&recording),
        "exit status: 0\n--- stdout\n200\n--- stderr\nmistral-cassette: 0 replayed, 1 recorded"
    );
    drop(upstream);
    let tree = project.tree();
    assert!(String::from_utf8_lossy(&tree["answer.json"]).contains("**Paris**"));
    let strict = run_in_shell(&project, &["--mode", "strict", "--upstream", &url], &curl(FRANCE));
    assert_eq!(
        reported(&strict),
        "exit status: 0\n--- stdout\n200\n--- stderr\nmistral-cassette: 1 replayed, 0 recorded"
    );
    assert!(project.tree() == tree, "{}", as_text(&project.tree()));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_with_a_scope_stores_its_recordings_in_a_separate_folder() {
    let project = Project::new();
    let upstream = api::start().await;
    let flags = |mode| ["--mode", mode, "--upstream", &upstream.url, "--scope", "suite/weather"];
    assert_eq!(run_in_shell(&project, &flags("record"), &curl(FRANCE)).code(), 0);
    let cassette = the_cassette(&project);
    assert_eq!(
        cassette.parent().unwrap(),
        project
            .cassettes()
            .join("suite")
            .join("weather")
            .join("chat-completions")
    );
    assert_eq!(run_in_shell(&project, &flags("strict"), &curl(FRANCE)).stdout, "200\n");
    let outside = run_in_shell(&project, &["--mode", "strict"], &curl(FRANCE));
    assert_eq!((outside.code(), outside.stdout.as_str()), (1, "424\n"));

    let refused = run_in_shell(&project, &["--mode", "strict", "--scope", "../elsewhere"], "echo ran");
    insta::assert_snapshot!(reported(&refused), @r#"
    exit status: 2
    --- stdout

    --- stderr
    error: invalid scope "../elsewhere": the folder name ".." is not allowed
    hint: use 1 to 100 letters, digits, _, - and . (not first or last); "bodies", names that end in .yaml and device names of Windows are reserved
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_fails_if_the_command_ignores_a_miss() {
    let project = recorded(&[chat(FRANCE)]).await;
    let script = format!("{}; exit 0", curl("What is the capital of Spain?"));
    let done = run_in_shell(&project, &["--mode", "strict"], &script);
    assert_eq!((done.code(), done.stdout.as_str()), (1, "424\n"));
    assert!(
        done.stderr.contains("mistral-cassette: 1 request was not recorded"),
        "{}",
        done.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_determines_the_exit_status_before_the_verdict() {
    let project = recorded(&[chat(FRANCE)]).await;
    let script = format!("{}; exit 7", curl("What is the capital of Spain?"));
    let done = run_in_shell(&project, &["--mode", "strict"], &script);
    assert_eq!((done.code(), done.stdout.as_str()), (7, "424\n"));
    assert!(done.stderr.contains("1 request was not recorded"), "{}", done.stderr);
}

#[test]
fn run_forwards_sigterm_to_the_command() {
    let project = Project::new();
    // Waits for the end of its input, which never comes because the other end stays open.
    let mut child = project
        .command(&run_flags(&["--mode", "strict"], "echo ready; exec cat"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    rustix::process::kill_process(pid(&child), rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(143));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "mistral-cassette: 0 replayed, 0 recorded\n"
    );
}

/// A terminal sends the interrupt to the process group: a command that cleans up must not be terminated as well.
#[test]
fn run_leaves_a_terminal_interrupt_to_the_command() {
    let project = Project::new();
    let script = "import signal\n\
        both = {signal.SIGINT, signal.SIGTERM}\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, both)\n\
        print('ready', flush=True)\n\
        print(signal.Signals(signal.sigwait(both)).name)\n\
        second = signal.sigtimedwait(both, 0.5)\n\
        print(second and signal.Signals(second.si_signo).name)\n";
    let mut child = project
        .command(&[
            "run",
            "--mode",
            "strict",
            "--allow-no-requests",
            "--",
            "python3",
            "-c",
            script,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(output.next().unwrap(), "ready");
    rustix::process::kill_process_group(pid(&child), rustix::process::Signal::INT).unwrap();
    assert_eq!(output.collect::<Vec<_>>(), ["SIGINT", "None"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

// Completions.

#[test]
fn completions_contain_every_subcommand() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish"] {
        let done = project.run(&["completions", shell]);
        assert_eq!((done.code(), done.stderr.as_str()), (0, ""), "{shell}");
        for word in [
            "proxy",
            "run",
            "list",
            "show",
            "verify",
            "completions",
            "upstream",
            "allow-ci",
            "scope",
        ] {
            assert!(done.stdout.contains(word), "{shell} does not know {word}");
        }
        project.write(&format!("completions.{shell}"), &done.stdout);
    }
    let bash = done(
        Command::new("bash")
            .arg("-n")
            .arg(project.path().join("completions.bash")),
    );
    assert_eq!((bash.status.success(), bash.stderr.as_str()), (true, ""));
    assert_eq!(project.run(&["completions", "no-such-shell"]).code(), 2);
}

#[test]
fn bash_completes_the_options_of_a_subcommand() {
    let project = Project::new();
    project.write("completions.bash", &project.run(&["completions", "bash"]).stdout);
    let completed = |words: &[&str]| {
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let script = format!(
            r#"
            source completions.bash
            COMP_WORDS=({}); COMP_CWORD={}
            _mistral__cassette mistral-cassette '{last}' '{before}'
            printf '%s\n' "${{COMPREPLY[@]}}"
            "#,
            words.join(" "),
            words.len() - 1
        );
        let bash = done(
            Command::new("bash")
                .args(["--norc", "-c", &script])
                .current_dir(project.path()),
        );
        assert_eq!((bash.status.success(), bash.stderr.as_str()), (true, ""));
        bash.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let options = completed(&["mistral-cassette", "list", "--"]);
    assert!(options.iter().any(|option| option == "--sort"), "{options:?}");
    let orders = completed(&["mistral-cassette", "list", "--sort", "re"]);
    assert_eq!(orders, ["recorded", "responses"]);
    let commands = completed(&["mistral-cassette", "sh"]);
    assert_eq!(commands, ["show"]);
}

// Modes.

/// The mode in effect, derived from the responses to an unrecorded request that is sent twice.
async fn mode_in_effect(variables: &[(&str, &str)], flags: &[&str]) -> &'static str {
    let (project, upstream) = (Project::new(), api::start().await);
    let mut command = project.command(&[&["proxy", "--upstream", &upstream.url], flags].concat());
    let proxy = RunningProxy::start(command.envs(variables.iter().copied()));
    ask_all(&proxy.url, &[chat(FRANCE), chat(FRANCE)]).await;
    proxy.stop();
    match (upstream.call_count(), project.cassettes().exists()) {
        (2, true) => "record",
        (1, true) => "replay",
        (0, false) => "strict",
        (2, false) => "live",
        other => panic!("no mode does that: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_overrides_the_variable_and_the_variable_overrides_the_default() {
    let (ci, live) = (("CI", "true"), ("MISTRAL_CASSETTE_MODE", "live"));
    for (variables, flags, expected) in [
        (&[][..], &[][..], "replay"),
        (&[ci], &[], "strict"),
        (&[("CI", "1")], &[], "strict"),
        (&[("CI", "false")], &[], "replay"),
        (&[("CI", "0")], &[], "replay"),
        (&[("CI", "")], &[], "replay"),
        (&[live], &[], "live"),
        (&[("MISTRAL_CASSETTE_MODE", "record")], &[], "record"),
        (&[("MISTRAL_CASSETTE_MODE", "")], &[], "replay"),
        (&[ci, live], &[], "live"),
        (&[ci, ("MISTRAL_CASSETTE_MODE", "replay")], &[], "replay"),
        (&[live], &["--mode", "strict"], "strict"),
        (&[ci, live], &["--mode", "replay"], "replay"),
        (&[ci], &["--mode", "record", "--allow-ci"], "record"),
        (&[("CI", "false")], &["--mode", "record"], "record"),
        (&[("MISTRAL_CASSETTE_MODE", "nonsense")], &["--mode", "live"], "live"),
    ] {
        assert_eq!(
            mode_in_effect(variables, flags).await,
            expected,
            "{variables:?} {flags:?}"
        );
    }
}

#[test]
fn an_unknown_mode_is_an_error_that_lists_the_modes() {
    let project = Project::new();
    let by_flag = run_in_shell(&project, &["--mode", "Replay"], "echo ran");
    insta::assert_snapshot!(reported(&by_flag), @r#"
    exit status: 2
    --- stdout

    --- stderr
    error: invalid value 'Replay' for '--mode <MODE>': unknown mode "Replay": expected one of record, replay, strict, live

    For more information, try '--help'.
    "#);
    let mut command = project.command(&run_flags(&[], "echo ran"));
    let by_variable = done(command.env("MISTRAL_CASSETTE_MODE", "rerecord"));
    insta::assert_snapshot!(reported(&by_variable), @r#"
    exit status: 2
    --- stdout

    --- stderr
    error: unknown mode "rerecord": expected one of record, replay, strict, live
    hint: the variable MISTRAL_CASSETTE_MODE has this value
    "#);
}

#[test]
fn record_is_refused_in_ci_unless_it_is_allowed() {
    let project = Project::new();
    let in_ci = |flags: &[&str], variable: Option<&str>| {
        let mut command = project.command(&run_flags(flags, "echo ran"));
        if let Some(mode) = variable {
            command.env("MISTRAL_CASSETTE_MODE", mode);
        }
        done(command.env("CI", "true"))
    };
    let refused = in_ci(&["--mode", "record"], None);
    insta::assert_snapshot!(reported(&refused), @r"
    exit status: 2
    --- stdout

    --- stderr
    error: refusing mode record because the variable CI is set: it replaces recordings
    hint: use mode strict to replay the committed cassettes, or allow recording with --allow-ci or allow_record_in_ci()
    ");
    assert_eq!(reported(&in_ci(&[], Some("record"))), reported(&refused));
    let allowed = in_ci(&["--mode", "record", "--allow-ci"], None);
    assert_eq!((allowed.code(), allowed.stdout.as_str()), (0, "ran\n"));
    assert_eq!(in_ci(&["--allow-ci"], Some("record")).code(), 0);
}

// Settings.

#[test]
fn invalid_settings_are_reported_with_file_and_line() {
    let project = Project::new();
    let mut all = String::new();
    for (what, settings, line) in [
        ("unknown member", &b"exhausted: repeat\nredact: []\n"[..], 2),
        ("unknown value", b"exhausted: never\n", 1),
        ("bad regex", b"exhausted: repeat\nredaction:\n- pattern: '('\n", 3),
        ("bad pointer", b"matching:\n  ignore:\n  - /seed\n  - metadata\n", 4),
        ("bad YAML", b"matching:\n  ignore: [\n", 2),
        ("not UTF-8", b"exhausted: repeat\n# caf\xe9\n", 2),
    ] {
        project.write("cassettes/settings.yaml", settings);
        let done = project.run(&["verify"]);
        assert_eq!((done.code(), done.stdout.as_str()), (2, ""), "{what}");
        assert_eq!(
            reported(&run_in_shell(&project, &["--mode", "strict"], "echo ran")),
            reported(&done),
            "{what}"
        );
        all.push_str(&format!("# {what}: line {line}\n{}\n", done.stderr));
        let location = format!("cannot read cassettes/settings.yaml: line {line}: ");
        assert!(done.stderr.contains(&location), "{location} is not in:\n{all}");
    }
    assert!(!all.contains("the cassette"), "the error is about the settings:\n{all}");
    assert!(!all.contains("\\n"), "a line break is shown as \\n:\n{all}");
    insta::assert_snapshot!(all);
}

// Misses.

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_shows_the_temperature_that_changed() {
    let project = recorded(&[chat(FRANCE), chat("Tell me about the mistral."), embeddings()]).await;
    let (message, done) = missed(&project, "", conversation(&[("user", FRANCE)], 0.7)).await;
    insta::assert_snapshot!(message);
    insta::assert_snapshot!("a_miss_shows_the_temperature_that_changed_at_the_end", reported(&done));
}

/// Twelve turns with instructions of several lines, in which one word may differ.
fn long_conversation(word: &str) -> Request {
    let instructions = format!(
        "You are the assistant of a weather service.\n\n\
         - Answer in at most three sentences.\n\
         - Give temperatures in {word}, rounded to whole degrees, and say for which hour they are \
         expected; when the forecast is older than six hours, say so, and when there is none at all for the place, \
         name the nearest place for which there is one.\n\
         - Never give advice on clothes.\n\
         - When asked about the mistral, say where it blows."
    );
    let mut messages = vec![("system".to_owned(), instructions)];
    for turn in 1..=6 {
        messages.push(("user".to_owned(), format!("And in {turn} hours?")));
        messages.push((
            "assistant".to_owned(),
            format!("In {turn} hours it will be {} degrees.", 20 + turn),
        ));
    }
    messages.push(("user".to_owned(), "And tomorrow?".to_owned()));
    let messages: Vec<(&str, &str)> = messages
        .iter()
        .map(|(role, content)| (role.as_str(), content.as_str()))
        .collect();
    conversation(&messages, 0.2)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_shows_the_word_that_changed_in_a_long_conversation() {
    let project = recorded(&[long_conversation("Celsius"), chat("And tomorrow?"), chat(FRANCE)]).await;
    let (message, done) = missed(&project, "", long_conversation("Fahrenheit")).await;
    assert_eq!(done.code(), 1);
    assert!(
        !message.contains("100 % alike"),
        "what is all alike is no miss:\n{message}"
    );
    insta::assert_snapshot!(message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_reports_that_nothing_is_recorded() {
    let project = Project::new();
    let (message, done) = missed(&project, "", chat(FRANCE)).await;
    assert_eq!(done.code(), 1);
    let message = message.replace(&project.path().display().to_string(), "[project]");
    insta::assert_snapshot!(message, @"
    not recorded: POST /v1/chat/completions (cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml, mode strict)
    nothing is recorded yet: there is no directory [project]/cassettes
    hint: run it where the directory of your cassettes is, or name it with --dir; or, to record it, run the same with MISTRAL_CASSETTE_MODE=replay (or --mode replay) and your key in MISTRAL_API_KEY
    ");
    let project = recorded(&[embeddings(), download()]).await;
    let (message, _) = missed(&project, "", chat(FRANCE)).await;
    insta::assert_snapshot!(message, @"
    not recorded: POST /v1/chat/completions (cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml, mode strict)
    nothing is recorded for chat-completions in the root scope (for other endpoints: 2)
    hint: to record it, run the same with MISTRAL_CASSETTE_MODE=replay (or --mode replay) and your key in MISTRAL_API_KEY
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_names_the_other_scope_in_which_the_request_is_recorded() {
    let project = recorded_in(Project::new(), "/c/weather", &[chat(FRANCE)]).await;
    let (message, done) = missed(&project, "", chat(FRANCE)).await;
    assert_eq!(done.code(), 1);
    insta::assert_snapshot!(message, @"
    not recorded: POST /v1/chat/completions (cassettes/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml, mode strict)
    the same request is recorded in scope weather: cassettes/weather/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml
    nothing is recorded in the root scope yet
    hint: run the same with --scope weather or the base URL …/c/weather; or, to record it, run the same with MISTRAL_CASSETTE_MODE=replay (or --mode replay) and your key in MISTRAL_API_KEY
    ");
    let (message, _) = missed(&project, "/c/holidays", chat(FRANCE)).await;
    insta::assert_snapshot!(message, @"
    not recorded: POST /v1/chat/completions (cassettes/holidays/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml, mode strict)
    the same request is recorded in scope weather: cassettes/weather/chat-completions/capital-of-france-83d8b2b94cb13f9b.yaml
    nothing is recorded in scope holidays yet
    hint: run the same with --scope weather or the base URL …/c/weather; or, to record it, run the same with MISTRAL_CASSETTE_MODE=replay (or --mode replay) and your key in MISTRAL_API_KEY
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_lists_the_first_misses_and_counts_the_others() {
    let project = Project::new();
    fs::create_dir(project.cassettes()).unwrap();
    let questions: Vec<Request> = ["one", "two", "three", "four", "five"].map(chat).to_vec();
    let (answers, done) = session(&project, "strict", "http://127.0.0.1:1", "", &questions).await;
    assert!(answers.iter().all(|(status, _)| *status == 424));
    let verdict = done.stderr.split_once("mistral-cassette: ").unwrap().1;
    insta::assert_snapshot!(format!("exit status: {}\n{verdict}", done.code()), @"
    exit status: 1
    5 requests were not recorded

    not recorded: POST /v1/chat/completions (cassettes/chat-completions/one-d4931e85bc60d67a.yaml, mode strict)
    nothing is recorded in the root scope yet

    not recorded: POST /v1/chat/completions (cassettes/chat-completions/two-d94ab1062812ef8d.yaml, mode strict)
    nothing is recorded in the root scope yet

    not recorded: POST /v1/chat/completions (cassettes/chat-completions/three-5c6e26e3c5a8215d.yaml, mode strict)
    nothing is recorded in the root scope yet

    … and 2 more

    hint: to record it, run the same with MISTRAL_CASSETTE_MODE=replay (or --mode replay) and your key in MISTRAL_API_KEY

    mistral-cassette: 0 replayed, 0 recorded, 5 missed
    ");
}

// Pipes.

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_does_not_cause_a_panic() {
    let project = recorded(&[chat(FRANCE)]).await;
    for arguments in [
        &["list"][..],
        &["list", "--format", "json"],
        &["show", "capital"],
        &["verify"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = project.command(arguments).stdout(writer).output().unwrap();
        let outcome = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*outcome), (Some(0), ""), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_error_is_not_recorded_unless_requested() {
    let upstream = Server::start(|_, _| Reply::new(429, "application/json", r#"{"message":"slow down"}"#)).await;
    let project = Project::new();
    let (answers, done) = session(&project, "record", &upstream.url, "", &[chat(FRANCE)]).await;
    assert_eq!(answers[0].0, 429);
    assert_eq!(
        reported(&done),
        "exit status: 0\n--- stdout\n\n--- stderr\n WARN transient error not recorded: 429 Too Many Requests for \
         POST /v1/chat/completions; unless a retry is recorded, a strict run will miss this request (to record such responses set save_errors; to test with one inject it)\n\
         mistral-cassette: 0 replayed, 0 recorded, 1 passed on"
    );
    assert_eq!(project.tree(), BTreeMap::new());

    let proxy = project.proxy("record", &upstream.url, &["--save-errors"]);
    ask(&proxy.url, chat(FRANCE)).await;
    assert_eq!(proxy.stop().code(), 0);
    assert!(
        project.run(&["list"]).stdout.contains("  429 json  "),
        "{}",
        project.run(&["list"]).stdout
    );
}

#[tokio::test]
async fn verify_finds_a_secret_in_an_unreferenced_body() {
    let project = recorded(&[chat(FRANCE)]).await;
    project.write(
        &format!("cassettes/bodies/{}", "0".repeat(64)),
        format!("an old answer with {KEY}"),
    );
    let done = project.run(&["verify"]);
    assert_eq!(done.code(), 1);
    assert!(
        done.stdout.contains("bodies/000") && !done.stdout.contains(KEY),
        "{}",
        reported(&done)
    );
}

#[tokio::test]
async fn the_verbose_log_has_the_outcome_of_each_request_and_no_secrets() {
    let project = Project::new();
    let server = api::start().await;
    for mode in ["record", "strict"] {
        let script = format!(
            "curl -s -o /dev/null \"$MISTRAL_SERVER_URL/v1/models?key={KEY}\" -H 'authorization: Bearer {KEY}'"
        );
        let url = server.url.clone();
        let mut command = project.command(&[
            "-v",
            "run",
            "--mode",
            mode,
            "--upstream",
            &url,
            "--",
            "sh",
            "-c",
            &script,
        ]);
        let done = tokio::task::spawn_blocking(move || done(&mut command)).await.unwrap();
        assert_eq!(done.code(), 0, "{}", reported(&done));
        let outcome = if mode == "record" {
            "recorded models/get"
        } else {
            "replayed 1 of 1 from models/get"
        };
        assert!(
            done.stderr.contains(outcome) && !done.stderr.contains(KEY),
            "{}",
            done.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_runs_name_the_requests_that_differ_and_the_setting_that_ignores_them() {
    let (project, server) = (Project::new(), api::start().await);
    let body = r#"{"run_id":"'$$'","model":"m","messages":[{"role":"user","content":"Same?"}]}"#;
    let send = |body: &str| format!("curl -s -o /dev/null \"$MISTRAL_SERVER_URL/v1/chat/completions\" -d '{body}'");
    let repeat = |script: &str| {
        let flags = ["--repeat", "3", "--mode", "replay", "--upstream", &server.url];
        project.run(&[&["run"], &flags[..], &["--", "sh", "-c", script]].concat())
    };
    let same = repeat(&send(&body.replace("'$$'", "1")));
    assert_eq!(same.code(), 0, "{}", reported(&same));
    assert!(
        same.stderr.ends_with("the requests of all 3 runs are the same\n"),
        "{}",
        same.stderr
    );
    let difference = |script: &str| {
        let done = repeat(script);
        assert_eq!(done.code(), 1, "{}", reported(&done));
        let (_, difference) = done
            .stderr
            .split_once("1 request not the same as in the first run:")
            .unwrap();
        difference.to_owned()
    };
    let summary = difference(&send(body));
    assert!(
        summary.contains("in 2 of 2 further runs: POST /v1/chat/completions\n    @ /run_id\n"),
        "{summary}"
    );
    assert!(summary.contains("matching:\n  ignore: [/run_id]"), "{summary}");
    // Only the first run asks the upstream.
    assert_eq!(server.calls().len(), 2);
    // One request of two is sent in the first run only.
    let question =
        |text: &str| send(&json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string());
    let first_run_only = format!("{}; [ -e ran ] || {}; touch ran", question("Always"), question("Once"));
    let summary = difference(&first_run_only);
    assert!(
        summary.contains("in 2 of 2 further runs: POST /v1/chat/completions (chat-completions/once-"),
        "{summary}"
    );
    assert!(
        summary.ends_with("    sent 1 time in the first run, and 0 times in this one\n"),
        "{summary}"
    );
    let done = project.run(&["run", "--repeat", "2", "--mode", "live", "--", "true"]);
    assert_eq!(done.code(), 2, "{}", reported(&done));
}

#[tokio::test]
async fn strict_needs_no_root_certificates() {
    let project = recorded(&[chat(FRANCE)]).await;
    let done = done(
        project
            .command(&["run", "--mode", "strict", "--allow-no-requests", "--", "true"])
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nonexistent"),
    );
    assert_eq!(done.code(), 0, "{}", reported(&done));
}

#[tokio::test]
async fn verify_does_not_report_prose_and_placeholders() {
    for prose in [
        "Authorization: Bearer YOUR_API_KEY_GOES_HERE_PLEASE",
        "Bearer authentication-and-authorization-handling",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxx and sk-learn-contrib-packages",
    ] {
        let done = recorded(&[chat(prose)]).await.run(&["verify"]);
        assert_eq!(done.code(), 0, "{prose}: {}", reported(&done));
    }
}

#[tokio::test]
async fn run_never_sends_the_dummy_key_to_the_upstream() {
    let project = Project::new();
    let server = api::start().await;
    let script = "curl -s -o /dev/null $MISTRAL_SERVER_URL/v1/models -H \"authorization: Bearer $MISTRAL_API_KEY\"";
    let mut command = project.command(&[
        "run",
        "--mode",
        "live",
        "--upstream",
        &server.url,
        "--",
        "sh",
        "-c",
        script,
    ]);
    command.env_remove("MISTRAL_API_KEY");
    let done = tokio::task::spawn_blocking(move || done(&mut command)).await.unwrap();
    assert_eq!(done.code(), 0, "{}", reported(&done));
    assert_eq!(server.calls()[0].header("authorization"), None);
}

#[test]
fn run_ends_its_command_after_two_interrupts() {
    let project = Project::new();
    let mut child = project
        .command(&["run", "--mode", "strict", "--", "sh", "-c", "echo ready; exec sleep 60"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(output.next().unwrap(), "ready");
    // Pending signals of one kind are merged: send until the command has ended.
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        rustix::process::kill_process(pid(&child), rustix::process::Signal::INT).unwrap();
        std::thread::yield_now();
    };
    // 143 from the command, or 2 if another signal arrived while the proxy stopped; not 0 after a minute.
    assert!(matches!(status.code(), Some(143 | 2)), "{status:?}");
}
