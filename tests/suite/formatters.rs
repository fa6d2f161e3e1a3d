//! Recordings survive what git hooks and formatters do to every file of a repository: the tools themselves change a
//! directory of difficult bodies, and every response replays byte for byte.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::skip::{is_installed, is_left_out};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use mistral_cassette::{DirectoryEngine, Error, ErrorKind, Mode, Recorder, Request, Response};

/// Small enough that most bodies occur in both places: in their cassette and in a file of their own.
const SETTINGS: &str = "inline_body_bytes: 400\n";

fn root(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Texts with everything that hooks and formatters change, or that has a meaning in YAML.
fn texts() -> Vec<String> {
    let long = "many words that a formatter may fold into lines of eighty columns, ".repeat(3);
    let mut texts: Vec<String> = [
        "one line",
        "one line\n",
        "ends in a blank ",
        " starts with a blank",
        "a blank \nand a tab\t\nat line ends\n",
        "a no-break space\u{a0}\nand a wide one\u{3000}\nat line ends",
        "blank lines\n\n\n\nbetween\n",
        "a line of blanks\n   \nbetween",
        "line ends at the end\n\n\n",
        "\n",
        "\n\n  indented\n    more\n\tby a tab\n",
        "carriage\r\nreturns\r\n",
        "mixed\r\nline\nends\r",
        "\u{feff}a byte-order mark\n",
        "#!/usr/bin/env node\nlet  a = 1\n",
        "# a comment \n- a list\n* another\n> a quote\n| a table |\n",
        "---\nkey: value\n...\n",
        "it's \"quoted\": 'so'  #1\n\\ and \\n",
        "double  blanks   inside: yes",
        "{\"json\":  \"in a text\"}",
        "\u{2028}separators\u{85}\n",
        "data: ",
        "é ü 日本 🎉 \n🎉",
    ]
    .map(str::to_owned)
    .into();
    texts.push(long.clone());
    texts.push(format!("{long}\n  {long}\n\n{long} "));
    texts
}

/// The bodies of responses, with their content types.
fn bodies() -> Vec<(&'static str, Bytes)> {
    let mut bodies = Vec::new();
    for text in texts() {
        let json = serde_json::json!({ "text": text, (text.clone()): [text, [[text], []], {}, null, "1"], "n": [0.5, 1e-7, 3] });
        let repeated: String = (0..20).map(|number| format!("{number}{text}")).collect();
        let events: String = text
            .split('\n')
            .map(|line| format!("event: x\ndata: {line}\n\n"))
            .collect();
        bodies.push(("application/json", serde_json::to_vec(&json).unwrap().into()));
        bodies.push(("application/json", serde_json::to_vec_pretty(&json).unwrap().into()));
        // A stream without an event is not recorded.
        bodies.push(("text/event-stream", format!("data: 1\n\n{events}").into()));
        bodies.push((
            "text/event-stream",
            format!("{text}\n\n: ping \n\ndata: 1\n\ndata: {text}").into(),
        ));
        bodies.push(("text/plain", repeated.into()));
        bodies.push(("text/plain", text.into()));
    }
    let floats: Vec<f64> = (0..100).map(|number| f64::from(number) / 7.0).collect();
    bodies.push(("application/json", serde_json::to_vec(&floats).unwrap().into()));
    let audio = [b"RIFF\0\0".as_slice(), &b"\x01 \r\n \n".repeat(200)].concat();
    bodies.push(("audio/wav", audio.into()));
    bodies.push((
        "application/pdf",
        b"%PDF-1.4 \n%\xe2\xe3\xcf\xd3\r\n1 0 obj \n".repeat(30).into(),
    ));
    bodies
}

/// The n-th request: its body is the n-th body too, as JSON, text or parts.
fn request(number: usize, body: &Bytes) -> Request {
    let request = Request::post(&format!("/v1/test/{number}")).unwrap();
    if !number.is_multiple_of(3) {
        return request.body(body.clone());
    }
    let form = [
        b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b \"\r\n\r\n",
        &body[..],
        b"\r\n--XX--\r\n",
    ];
    request
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("multipart/form-data; boundary=XX"),
        )
        .body(form.concat())
}

async fn record(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("settings.yaml"), SETTINGS).unwrap();
    let recorder = Recorder::builder(DirectoryEngine::new(directory)).mode(Mode::Record);
    let recorder = recorder.allow_record_in_ci().build().unwrap();
    for (number, (kind, body)) in bodies().into_iter().enumerate() {
        let sent = body.clone();
        let upstream = async move |_: Request| {
            let kind = HeaderValue::from_static(kind);
            Ok(Response::new(StatusCode::OK, sent).header(header::CONTENT_TYPE, kind))
        };
        let response = recorder.answer(request(number, &body), upstream).await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), body);
    }
    assert_eq!(recorder.session().verdict().unwrap().recorded, bodies().len());
}

async fn assert_replays(directory: &Path, after: &str) {
    let recorder = Recorder::builder(DirectoryEngine::new(directory)).mode(Mode::Strict);
    let recorder = recorder.build().unwrap();
    for (number, (_, body)) in bodies().into_iter().enumerate() {
        let upstream = async |_: Request| Err(Error::new(ErrorKind::Upstream, "not recorded"));
        let response = recorder.answer(request(number, &body), upstream).await;
        let response = response.unwrap_or_else(|error| panic!("after {after}: {error}"));
        assert_eq!(response.bytes().await.unwrap(), body, "after {after}: body {number}");
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn is_prepared() -> bool {
    let python = root(".venv/bin/trailing-whitespace-fixer");
    let node = root("tests/sdks/node_modules/prettier");
    is_installed(python.exists(), &python.display().to_string())
        && is_installed(node.exists(), &node.display().to_string())
}

/// The files that pre-commit passes to a hook for text files.
fn text_files(directory: &Path) -> Vec<PathBuf> {
    let program = "import sys; from identify import identify; print(*(f for f in sys.argv[1:] if 'text' in identify.tags_from_path(f)), sep='\\n')";
    let mut command = Command::new(root(".venv/bin/python"));
    let output = command.args(["-c", program]).args(files(directory)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().map(PathBuf::from).collect()
}

/// Runs a hook of pre-commit. Returns whether it has left every file unchanged.
fn hook(directory: &Path, name: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(root(".venv/bin").join(name));
    let output = command.args(arguments).args(text_files(directory)).output().unwrap();
    output.status.success()
}

fn prettier(directory: &Path, arguments: &[&str]) {
    let script = root("tests/sdks/node_modules/prettier/bin/prettier.cjs");
    let mut command = Command::new("node");
    command
        .arg(script)
        .args(arguments)
        .args(["--ignore-unknown", "--write"]);
    let output = command.args(files(directory)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn recordings_replay_after_the_hooks_of_pre_commit() {
    if !is_prepared() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    record(folder.path()).await;
    for name in ["trailing-whitespace-fixer", "end-of-file-fixer", "mixed-line-ending"] {
        let is_unchanged = hook(folder.path(), name, &[]);
        // A JSON text in a file of its own has no line break at its end.
        assert!(is_unchanged || name == "end-of-file-fixer", "{name} has changed a file");
        assert_replays(folder.path(), name).await;
    }
    hook(folder.path(), "mixed-line-ending", &["--fix=crlf"]);
    assert_replays(folder.path(), "mixed-line-ending --fix=crlf").await;
}

#[tokio::test]
async fn recordings_replay_after_prettier() {
    if is_left_out() {
        return;
    }
    if !is_prepared() {
        return;
    }
    for arguments in [
        &[][..],
        &[
            "--prose-wrap=always",
            "--print-width=40",
            "--tab-width=4",
            "--single-quote",
        ],
        &["--prose-wrap=never", "--use-tabs", "--end-of-line=crlf"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        record(folder.path()).await;
        prettier(folder.path(), arguments);
        assert_replays(folder.path(), &format!("prettier {arguments:?}")).await;
    }
}
