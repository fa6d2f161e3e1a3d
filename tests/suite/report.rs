//! `report`: the page in a real browser, from disk.

use crate::support::browser::{self, can_browse};
use crate::support::project::Project;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Opens the report of a project in the browser, and goes through a case of `tests/report/report.mjs`.
fn browse(project: &Project, case: &str) {
    let report = project.path().join("report.html");
    browser::browse(&json!({ "case": case, "address": format!("file://{}", report.display()) }));
}

/// One interaction in the input format of `import`.
struct Row(Value);

impl Row {
    fn new(path: &str, request: &Value, answer: &Value) -> Self {
        Self::of_text(path, &request.to_string(), &answer.to_string())
    }

    fn of_text(path: &str, request: &str, answer: &str) -> Self {
        Self(json!({
            "request": { "method": "POST", "path": path, "headers": { "content-type": ["application/json"] }, "body": request },
            "response": { "status": 200, "headers": { "content-type": ["application/json"] }, "body": answer },
            "recorded_at": "2026-11-21T10:00:00Z",
        }))
    }

    /// The response to a question.
    fn chat(question: &str, answer: &str) -> Self {
        Self::new(
            "/v1/chat/completions",
            &requested(question),
            &answered(&json!({ "role": "assistant", "content": answer })),
        )
    }

    /// A stream of these pieces at this interval in milliseconds.
    fn stream(question: &str, pieces: &[&str], pause: u64) -> Self {
        let event = |piece: &&str| {
            format!(
                "data: {}\n\n",
                json!({ "choices": [{ "index": 0, "delta": { "content": piece } }] })
            )
        };
        let body = pieces.iter().map(event).collect::<String>() + "data: [DONE]\n\n";
        let mut row = Self::of_text("/v1/chat/completions", &requested(question).to_string(), &body);
        row.0["response"]["headers"]["content-type"] = json!(["text/event-stream"]);
        row.0["timing_ms"] = (1..=pieces.len() as u64 + 1).map(|number| number * pause).collect();
        row
    }

    fn status(mut self, status: u16) -> Self {
        self.0["response"]["status"] = json!(status);
        self
    }

    fn of_test(mut self, test: &str) -> Self {
        self.0["test"] = json!(test);
        self
    }
}

fn requested(question: &str) -> Value {
    json!({ "model": "mistral-small-latest", "messages": [{ "role": "user", "content": question }] })
}

fn answered(message: &Value) -> Value {
    json!({
        "model": "mistral-small-latest",
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
        "choices": [{ "index": 0, "finish_reason": "stop", "message": message }],
    })
}

/// Imports rows into a directory of the project.
fn import(project: &Project, dir: &str, rows: &[Row]) {
    let lines: String = rows.iter().map(|row| format!("{}\n", row.0)).collect();
    project.write("rows.jsonl", lines);
    let done = project.run(&["import", "--dir", dir, "rows.jsonl"]);
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
}

/// Writes the page; there must be no warning.
fn report(project: &Project, more: &[&str]) {
    let done = project.run(&[&["report", "--out", "report.html"], more].concat());
    assert_eq!((done.code(), done.stderr.as_str()), (0, ""), "{}", done.stdout);
}

/// A price table whose costs are easy to compute.
const PRICES: &str = "date: '2026-11-21'
source: nowhere
models:
- { names: [mistral-small-latest], input: 1000, output: 2000 }
- { names: [mistral-ocr-latest], page: 0.004 }
";

/// One red point.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

/// A tenth of a second of silence.
fn wav() -> Vec<u8> {
    let samples = vec![0_u8; 1600];
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + samples.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(16000_u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend((samples.len() as u32).to_le_bytes());
    wav.extend(samples);
    wav
}

#[test]
fn recordings_can_be_searched_and_opened() {
    if !can_browse() {
        return;
    }
    let project = Project::new();
    let call = json!({
        "role": "assistant", "content": "",
        "tool_calls": [{ "id": "D681PevKs", "function": { "name": "get_weather", "arguments": "{\"city\":\"Paris\"}" } }],
    });
    let tools = json!({
        "model": "mistral-large-latest",
        "messages": [
            { "role": "system", "content": "You know the weather." },
            { "role": "user", "content": "How warm is it in Paris?" },
        ],
        "tools": [{ "type": "function", "function": { "name": "get_weather", "parameters": { "type": "object" } } }],
    });
    let thinking = json!({
        "role": "assistant",
        "content": [{ "type": "thinking", "thinking": [{ "type": "text", "text": "Six by seven." }] }, { "type": "text", "text": "42" }],
    });
    let rows = [
        Row::chat("What is the capital of France?", "It is Paris.").of_test("capitals::france"),
        Row::new("/v1/chat/completions", &tools, &answered(&call)),
        Row::new(
            "/v1/chat/completions",
            &requested("What is 6 * 7?"),
            &answered(&thinking),
        ),
        Row::chat("A city as JSON", "{\"city\":\"Lyon\",\"people\":12345678901234567890}"),
        Row::stream("Tell me about the mistral", &["A cold ", "wind."], 1),
        Row::new(
            "/v1/embeddings",
            &json!({ "model": "mistral-embed", "input": ["a wind"] }),
            &json!({ "data": [{ "index": 0, "embedding": [0.6, 0.8] }] }),
        ),
        Row::new(
            "/v1/conversations",
            &json!({ "inputs": "Greet me", "model": "mistral-small-latest" }),
            &json!({
                "outputs": [{ "type": "tool.execution", "name": "web_search", "arguments": "{}" }, { "type": "message.output", "role": "assistant", "content": "Good morning!" }],
            }),
        ),
        Row::new(
            "/v1/ocr",
            &json!({ "model": "mistral-ocr-latest", "document": { "type": "document_url", "document_url": "https://example.com/a.pdf" } }),
            &json!({
                "pages": [{ "index": 0, "markdown": "# A page", "images": [], "dimensions": { "dpi": 200, "height": 20, "width": 10 } }], "usage_info": { "pages_processed": 1 },
            }),
        ),
        Row::new(
            "/v1/moderations",
            &json!({ "model": "mistral-moderation-latest", "input": "hello" }),
            &json!({ "results": [{ "categories": { "pii": true }, "category_scores": { "pii": 0.987 } }] }),
        ),
        Row::new(
            "/v1/fim/completions",
            &json!({ "model": "no-such-model", "prompt": "def f" }),
            &json!({ "message": "Invalid model: no-such-model", "type": "invalid_model", "code": "1500" }),
        )
        .status(400),
        Row::new(
            "/v1/no/such/endpoint",
            &json!({ "a": 1 }),
            &json!({ "surprise": [true] }),
        ),
    ];
    import(&project, "cassettes", &rows);
    project.write("prices.yaml", PRICES);
    report(&project, &["--prices", "prices.yaml"]);
    // The numbers of the page are the same.
    let stats = project.run(&["stats"]).stdout;
    assert!(
        stats.starts_with("11 cassettes, 11 responses,") && stats.contains(" 60 tokens\n"),
        "{stats}"
    );
    browse(&project, "reads");
    browse(&project, "marks");
    browse(&project, "filters");
    browse(&project, "keys");
    browse(&project, "narrow");
}

#[test]
fn a_stream_is_played_at_its_recorded_pace() {
    if !can_browse() {
        return;
    }
    let project = Project::new();
    import(
        &project,
        "cassettes",
        &[Row::stream("Count to four", &["one ", "two ", "three ", "four"], 150)],
    );
    report(&project, &[]);
    browse(&project, "plays");
}

/// A WebSocket session in which the client sends the audio.
fn session() -> Row {
    let frame =
        |kind: &str, event: Value| json!({ "type": kind, "opcode": 1, "data": event.to_string(), "time_ms": 1 });
    let format = json!({ "encoding": "pcm_s16le", "sample_rate": 8000 });
    let mut row = Row::of_text("/v1/audio/transcriptions/realtime?model=voxtral", "", "");
    row.0["request"]["method"] = json!("GET");
    row.0["response"] = json!({ "status": 101, "headers": {}, "session": [
        frame("send", json!({ "type": "session.update", "session": { "audio_format": format } })),
        frame("send", json!({ "type": "input_audio.append", "audio": STANDARD.encode(&wav()[44..]) })),
        frame("send", json!({ "type": "input_audio.end" })),
        frame("receive", json!({ "type": "transcription.text.delta", "text": "Hello world" })),
        frame("receive", json!({ "type": "transcription.done", "text": "Hello world" })),
        { "type": "close", "by": "client", "code": 1000, "reason": "", "time_ms": 2 },
    ] });
    row
}

#[test]
fn images_and_audio_are_shown_and_played() {
    if !can_browse() {
        return;
    }
    let project = Project::new();
    let sound = STANDARD.encode(wav());
    let question = json!({ "model": "pixtral", "messages": [{ "role": "user", "content": [
        { "type": "text", "text": "What is this?" },
        { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{PNG}") } },
        { "type": "input_audio", "input_audio": sound },
    ] }] });
    let mut form = b"--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nvoxtral\r\n--x\r\n".to_vec();
    form.extend(
        b"content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\ncontent-type: audio/wav\r\n\r\n",
    );
    form.extend(wav());
    form.extend(b"\r\n--x--\r\n");
    let mut upload = Row::of_text("/v1/audio/transcriptions", "", "{\"text\":\"(silence)\"}");
    upload.0["request"]["headers"]["content-type"] = json!(["multipart/form-data; boundary=x"]);
    upload.0["request"]["body"] = json!(STANDARD.encode(form));
    upload.0["request"]["body_encoding"] = json!("base64");
    let large = STANDARD.encode([wav(), vec![1; 300_000]].concat());
    let rows = [
        Row::new(
            "/v1/chat/completions",
            &question,
            &answered(&json!({ "role": "assistant", "content": "A point." })),
        ),
        Row::new(
            "/v1/audio/speech",
            &json!({ "input": "hush" }),
            &json!({ "audio_data": sound }),
        ),
        Row::new(
            "/v1/audio/speech",
            &json!({ "input": "a long silence" }),
            &json!({ "audio_data": large }),
        ),
        upload,
        session(),
    ];
    import(&project, "cassettes", &rows);
    report(&project, &[]);
    browse(&project, "media");
    report(&project, &["--with-media"]);
    browse(&project, "large_media");
}

#[test]
fn changes_are_shown_before_and_after() {
    if !can_browse() {
        return;
    }
    let project = Project::new();
    let rows = |word: &str, id: &str| {
        let mut ids = answered(&json!({ "role": "assistant", "content": "Yes." }));
        ids["id"] = json!(id);
        [
            Row::chat("Where is it?", &format!("It is in {word} as far as I know.")),
            Row::chat("What stays?", "This does."),
            Row::new("/v1/chat/completions", &requested("Other ids?"), &ids),
        ]
    };
    let gone = Row::chat("What goes?", "I am gone.");
    let new = [
        Row::chat("What comes?", "I am new."),
        Row::chat("What else comes?", "So am I."),
    ];
    import(&project, "cassettes", &rows("Paris", "a"));
    import(&project, "cassettes", &[gone]);
    project.git(&["init", "--quiet"]);
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "--message", "recorded"]);
    std::fs::rename(project.cassettes(), project.path().join("old")).unwrap();
    import(&project, "cassettes", &rows("Lyon", "b"));
    import(&project, "cassettes", &new);
    project.write("prices.yaml", PRICES);
    for since in ["HEAD", "old"] {
        let done = project.run(&["report", "--since", since, "--prices", "prices.yaml"]);
        let printed = "5 recordings and 1 gone in report.html";
        assert!(done.code() == 0 && done.stdout.starts_with(printed), "{}", done.stdout);
        browse(&project, "changes");
    }
}

#[test]
fn scripts_in_recordings_do_not_run() {
    if !can_browse() {
        return;
    }
    let project = Project::new();
    let mut rows: Vec<Row> = HOSTILE.iter().map(|text| Row::chat(text, text)).collect();
    // In every other position: names, types, links, lists, members, errors, streams, and bodies that are not JSON.
    for text in HOSTILE {
        let parts = json!([
            { "type": "image_url", "image_url": text },
            { "type": "document_url", "document_url": text, "document_name": text },
            { "type": "tool_reference", "title": text, "url": text, "tool": text },
            { "type": text, "text": text },
            { "type": "input_audio", "input_audio": text },
        ]);
        let request = json!({ "model": text, "messages": [{ "role": text, "name": text, "content": parts }], "tools": [{ "type": text, "function": { "name": text, "description": text } }], text: text });
        let calls = json!([{ "id": text, "function": { "name": text, "arguments": text } }]);
        rows.push(Row::new(
            "/v1/chat/completions",
            &request,
            &answered(&json!({ "role": text, "content": parts, "tool_calls": calls })),
        ));
        rows.push(Row::new("/v1/ocr", &json!({ "of": text }), &json!({ "pages": [{ "index": text, "markdown": text, "images": [{ "id": text, "image_base64": text }], "tables": [{ "content": text }] }] })));
        rows.push(Row::new(
            "/v1/files",
            &json!({ "list": text }),
            &json!({ "data": [{ "id": text, "name": text }] }),
        ));
        rows.push(
            Row::new(
                "/v1/models",
                &json!({ "error": text }),
                &json!({ "message": text, "detail": [{ "loc": [text], "msg": text }] }),
            )
            .status(422),
        );
        rows.push(Row::stream(&format!("stream {text}"), &[text, text], 1));
        rows.push(Row::of_text("/v1/files", &format!("no JSON: {text}"), text));
    }
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='window.ran=1'><script>window.ran=1</script></svg>";
    let picture =
        json!({ "type": "image_url", "image_url": format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg)) });
    let lying = json!({ "type": "image_url", "image_url": format!("data:image/png;base64,{}", STANDARD.encode(svg)) });
    let document = json!({ "type": "document_url", "document_url": "data:text/html,<script>window.ran=1</script>" });
    rows.push(Row::new(
        "/v1/chat/completions",
        &json!({ "messages": [{ "role": "user", "content": [picture, lying, document] }] }),
        &json!({}),
    ));
    let odd = |name: &str, body: &str| Row::of_text("/v1/odd", &format!("{{\"of\":\"{name}\"}}"), body);
    rows.push(odd(
        "surrogates",
        r#"{"choices":[{"message":{"role":"assistant","content":"lone \ud800 and \udfff surrogates"}}]}"#,
    ));
    rows.push(odd("nesting", &("[".repeat(60_000) + &"]".repeat(60_000))));
    rows.push(odd("prototype", r#"{"__proto__":{"ran":1},"constructor":{"prototype":{}},"choices":[{"message":{"__proto__":null,"content":"proto"}}]}"#));
    rows.push(odd("types", r#"{"choices":[null,1,{"message":[]},{"message":{"content":{"type":["a"]}}}],"usage":{"total_tokens":"x"},"data":[{"embedding":[null,"a"]}],"pages":{"a":1}}"#));
    import(&project, "cassettes", &rows);
    // Slugs are derived from requests, so these names can only be written by hand.
    let one = project
        .tree()
        .into_iter()
        .find(|(name, _)| name.starts_with("cassettes/odd/"))
        .unwrap();
    project.write("cassettes/<img src=x onerror=window.ran=1>/chat/'\"&<b>.yaml", &one.1);
    report(&project, &[]);
    browse(&project, "hostile");
}

/// Known attacks on web pages; each sets `window.ran` if it runs.
const HOSTILE: [&str; 12] = [
    "</script><script>window.ran=1</script>",
    "<!--<script>window.ran=1//",
    "<img src=x onerror=window.ran=1>",
    "javascript:window.ran=1",
    "data:text/html,<script>window.ran=1</script>",
    "data:image/png;base64,<script>window.ran=1</script>",
    "]]><svg onload=window.ran=1>",
    "\u{2028}window.ran=1\u{2029}",
    "\"});window.ran=1;({\"",
    "{script}{recordings}{style}",
    "https://example.com/beacon.png",
    "\u{0}\u{7}\u{1b}[31m\u{202e}\u{feff}",
];

#[test]
fn damaged_recordings_are_reported_in_the_page_and_in_the_terminal() {
    let project = Project::new();
    import(&project, "cassettes", &[Row::chat("What is whole?", "This is.")]);
    project.write(
        "cassettes/chat-completions/broken-0123456789abcdef.yaml",
        "version: 1\nkey: [",
    );
    let done = project.run(&["report"]);
    assert_eq!(done.code(), 1, "{}", done.stdout);
    assert!(done.stderr.contains("broken-0123456789abcdef.yaml"), "{}", done.stderr);
    assert!(
        done.stdout.starts_with("2 recordings in report.html"),
        "{}",
        done.stdout
    );
    if can_browse() {
        browse(&project, "damaged");
    }
    // Nobody knows whether it has changed, so it is among the changes.
    std::fs::create_dir(project.path().join("old")).unwrap();
    let done = project.run(&["report", "--since", "old"]);
    assert_eq!(done.code(), 1, "{}", done.stdout);
    if can_browse() {
        browse(&project, "damaged_since");
    }
}

#[test]
fn a_file_that_is_not_a_report_is_not_replaced() {
    let project = Project::new();
    import(&project, "cassettes", &[Row::chat("Hello", "Hello.")]);
    project.write("report.html", "<p>My notes</p>");
    let done = project.run(&["report"]);
    assert_eq!(done.code(), 2);
    assert!(
        done.stderr.contains("report.html exists, and is not a report"),
        "{}",
        done.stderr
    );
    assert_eq!(project.tree()["report.html"], b"<p>My notes</p>");
    report(&project, &["--force"]);
    // An existing report is replaced, and the output on stdout is the same.
    report(&project, &[]);
    let done = project.run(&["report", "--out", "-"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(done.stdout.starts_with("<!doctype html>") && done.stdout.ends_with("</html>\n"));
}

#[cfg(unix)]
#[test]
fn a_link_to_a_report_stays_and_a_pipe_is_written_to() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Stdio};

    let project = Project::new();
    import(&project, "cassettes", &[Row::chat("Hello", "Hello.")]);
    project.write("site/page.html", "");
    let link = project.path().join("report.html");
    std::os::unix::fs::symlink("site/page.html", &link).unwrap();
    // That of a process that was killed.
    let abandoned = project.path().join(".mistral-cassette-old.tmp");
    let file = std::fs::File::create(&abandoned).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600))
        .unwrap();
    assert_eq!(project.run(&["report", "--out", "new.html"]).code(), 0);
    assert!(!abandoned.exists());
    report(&project, &[]);
    assert!(link.is_symlink());
    let page = std::fs::read(project.path().join("site/page.html")).unwrap();
    assert!(page.starts_with(b"<!doctype html>"));

    // Also one to a file that does not exist yet. A file that only its owner can read stays so.
    std::os::unix::fs::symlink("site/new.jsonl", project.path().join("link.jsonl")).unwrap();
    let new = project.path().join("site/new.jsonl");
    let export = || {
        let done = project.run(&["export", "--to", "jsonl", "--out", "link.jsonl"]);
        assert_eq!(done.code(), 0, "{}", done.stderr);
    };
    export();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    export();
    assert_eq!(new.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(project.path().join("link.jsonl").is_symlink());

    let pipe = project.path().join("pipe");
    // A named pipe in the directory is no cassette.
    let other = project
        .path()
        .join("cassettes/chat-completions/pipe-0123456789abcdef.yaml");
    assert!(Command::new("mkfifo").args([&pipe, &other]).status().unwrap().success());
    for command in [&["report"][..], &["export", "--to", "jsonl"]] {
        let mut reader = Command::new("cat");
        let reader = reader.arg(&pipe).stdout(Stdio::piped()).spawn().unwrap();
        let done = project.run(&[command, &["--out", "pipe"]].concat());
        let read = reader.wait_with_output().unwrap().stdout;
        assert_eq!(done.code(), 0, "{command:?}: {}", done.stderr);
        assert!(
            read.starts_with(b"<!doctype html>") || read.starts_with(b"{\""),
            "{command:?}"
        );
        assert!(!pipe.is_file(), "{command:?}");
    }
}
