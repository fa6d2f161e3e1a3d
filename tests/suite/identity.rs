//! Which request a recording belongs to: edited files, dummy API keys, forms, names of scopes, settings for paths.

use std::path::{Path, PathBuf};

use crate::support::project::Project;
use crate::support::server::{Reply, Server};
use http::{HeaderValue, StatusCode, header};
use mistral_cassette::{DirectoryEngine, Error, ErrorKind, MemoryEngine, Mode, Recorder, Request, Response, Scope};

const NOWHERE: &str = "http://127.0.0.1:9";

fn recorder(mode: Mode, directory: &Path) -> Recorder {
    let builder = Recorder::builder(DirectoryEngine::new(directory)).mode(mode);
    builder.allow_record_in_ci().build().unwrap()
}

async fn ask(recorder: &Recorder, request: Request) -> Result<String, Error> {
    let upstream = async |_: Request| Ok(Response::new(StatusCode::OK, r#"{"answer":1}"#));
    recorder.answer(request, upstream).await?.text().await
}

fn question(text: &str) -> Request {
    let body = serde_json::json!({ "messages": [{ "role": "user", "content": text }] });
    Request::post("/v1/chat/completions").unwrap().json(&body).unwrap()
}

fn cassette(directory: &Path) -> PathBuf {
    let folder = std::fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn strict_refuses_a_recording_whose_request_was_edited() {
    let folder = tempfile::tempdir().unwrap();
    ask(&recorder(Mode::Record, folder.path()), question("Hello"))
        .await
        .unwrap();
    let path = cassette(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();

    // The same request in another layout is checked, and is the same.
    let spaced = Request::post("/v1/chat/completions")
        .unwrap()
        .body(r#"{ "messages": [{"content": "\u0048ello", "role": "user"}] }"#);
    ask(&recorder(Mode::Strict, folder.path()), spaced).await.unwrap();

    std::fs::write(&path, text.replace("content: Hello", "content: Goodbye")).unwrap();
    let strict = recorder(Mode::Strict, folder.path());
    for _ in 0..2 {
        let error = ask(&strict, question("Hello")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cassette);
        assert!(error.message().contains("the request was changed"), "{error}");
        assert!(error.to_string().contains("rekey"), "{error}");
    }
    assert!(strict.session().verdict().is_err());

    // A file that is repaired while the session runs is read again.
    std::fs::write(&path, text).unwrap();
    ask(&strict, question("Hello")).await.unwrap();
}

#[tokio::test]
async fn a_large_request_that_is_stored_outside_of_its_cassette_is_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "inline_body_bytes: 10\nmatching:\n  replace: [{pattern: '\\d+', with: N}]\n";
    std::fs::write(folder.path().join("settings.yaml"), settings).unwrap();
    let form = |number: &str| {
        let body = format!(
            "--X\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nmany words and a number {number}\r\n--X--\r\n"
        );
        let kind = HeaderValue::from_static("multipart/form-data; boundary=X");
        Request::post("/v1/files")
            .unwrap()
            .header(header::CONTENT_TYPE, kind)
            .body(body)
    };
    for request in [form("12"), question("many words and a number 12")] {
        ask(&recorder(Mode::Record, folder.path()), request).await.unwrap();
    }
    for request in [form("345"), question("many words and a number 345")] {
        ask(&recorder(Mode::Strict, folder.path()), request).await.unwrap();
    }
}

#[tokio::test]
async fn a_dummy_key_that_occurs_in_a_prompt_does_not_change_the_request_key() {
    let text = "Say anything about a test-api-key, or sk-test-secret-0123456789abcdef";
    let key = async |credential: Option<&str>| {
        let mut request = question(text);
        if let Some(credential) = credential {
            let value = HeaderValue::from_str(&format!("Bearer {credential}")).unwrap();
            request = request.header(header::AUTHORIZATION, value);
        }
        let recorder = Recorder::builder(MemoryEngine::new())
            .mode(Mode::Strict)
            .build()
            .unwrap();
        recorder.key_of(&request).await.unwrap().hash().to_owned()
    };
    let without = key(None).await;
    for dummy in ["anything", "test-api-key", "x"] {
        assert_eq!(key(Some(dummy)).await, without, "{dummy}");
    }
    assert_ne!(key(Some(crate::support::KEY)).await, without);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_and_export_send_a_form_as_it_was_sent() {
    let (project, server) = (
        Project::new(),
        Server::start(|number, _| Reply::json(format!(r#"{{"answer":{number}}}"#))).await,
    );
    let head =
        "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"; filename*=UTF-8''%e2%82%ac.txt\r\n";
    let latin = [
        head.as_bytes(),
        b"Content-Type: text/plain; charset=iso-8859-1\r\nX-Kind: r\xe9sum\xe9\r\n\r\nbytes \xe9\r\n--XX--\r\n",
    ]
    .concat();
    let unreadable = b"--XX\r\nno header\r\n\r\nbytes\r\n--XX--\r\n".to_vec();
    for body in [&latin, &unreadable] {
        let kind = HeaderValue::from_static("multipart/form-data; boundary=XX");
        let request = Request::post("/v1/files").unwrap().header(header::CONTENT_TYPE, kind);
        let upstream = mistral_cassette::Upstream::builder()
            .base_url(&server.url)
            .api_key(crate::support::KEY)
            .build()
            .unwrap();
        let recorder = recorder(Mode::Record, &project.cassettes());
        recorder
            .answer(request.body(body.clone()), upstream)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        recorder.finish().await.unwrap();
    }
    let sent = server.calls().len();
    let done = project.run(&["refresh", "--upstream", &server.url]);
    assert_eq!(done.code(), 1, "{}{}", done.stdout, done.stderr);
    let again: Vec<(String, Vec<u8>)> = server.calls()[sent..]
        .iter()
        .map(|call| (call.header("content-type").unwrap().to_owned(), call.body.to_vec()))
        .collect();
    assert_eq!(again.len(), 2);
    for (kind, body) in again {
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = body.escape_ascii().to_string().replace(boundary, "XX");
        let expected = [&latin, &unreadable].map(|body| body.escape_ascii().to_string());
        assert!(expected.contains(&text), "{text}");
    }

    // An export contains the same request.
    let exported = project.run(&["export", "--to", "jsonl", "--out", "all.jsonl"]);
    assert_eq!(exported.code(), 0, "{}", exported.stderr);
    let imported = project.run(&["import", "--dir", "imported", "all.jsonl"]);
    assert_eq!(imported.code(), 0, "{}", imported.stderr);
    let names = |directory: &str| {
        let listed = project.run(&["list", "--format", "json", "--dir", directory]).stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let cassettes = listed["cassettes"].as_array().unwrap().iter();
        cassettes
            .map(|one| one["key"].as_str().unwrap().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names("imported").len(), 2);
    // The body that counts as bytes has its boundary in them.
    assert!(
        names("imported").is_subset(&names("cassettes")),
        "{:?} {:?}",
        names("imported"),
        names("cassettes")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_that_differ_only_in_case_are_refused_and_reported() {
    let project = Project::new();
    let scoped = |mode, name| recorder(mode, &project.cassettes()).scoped(Scope::new(name).unwrap());
    ask(&scoped(Mode::Record, "Weather"), question("Hello")).await.unwrap();
    for mode in [Mode::Record, Mode::Strict] {
        let recorder = scoped(mode, "weather");
        let asked = ask(&recorder, question("Hello")).await;
        let error = asked.and(recorder.finish().await.map(|_| String::new())).unwrap_err();
        assert!(error.to_string().contains("differs only in case"), "{mode:?}: {error}");
    }
    assert!(!project.cassettes().join("weather").exists() || project.cassettes().join("WEATHER").exists());
    assert_eq!(project.run(&["verify"]).code(), 0);

    // As git creates them from a branch of somebody else.
    let other = Project::new();
    ask(
        &recorder(Mode::Record, &other.cassettes()).scoped(Scope::new("weather").unwrap()),
        question("Hello"),
    )
    .await
    .unwrap();
    for (name, content) in other.tree() {
        project.write(&name, content);
    }
    if project.cassettes().join("WEATHER").exists() {
        return; // The file system does not distinguish them.
    }
    let done = project.run(&["verify"]);
    assert_eq!(done.code(), 1);
    assert!(
        done.stdout.contains("weather differs only in case from Weather"),
        "{}",
        done.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_with_a_plain_slash_is_a_bad_request() {
    let (project, server) = (Project::new(), Server::start(|_, _| Reply::json("{}")).await);
    let script = r#"curl --silent --write-out '%{http_code}' "${MISTRAL_SERVER_URL%/}/c/a/b/v1/models""#;
    let done = project.run(&[
        "run",
        "--mode",
        "record",
        "--allow-ci",
        "--upstream",
        &server.url,
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert!(done.stdout.ends_with("400"), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("/c/a%2Fb/v1/models"), "{}", done.stdout);
    assert_eq!(server.call_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn matching_rules_reach_the_path_and_rekey_follows() {
    let project = Project::new();
    let paths = |project: &str| {
        [
            format!("/v1/projects/{project}/locations/eu/chat"),
            format!("/v1/files/{project}/content"),
        ]
    };
    for path in paths("first-12") {
        ask(
            &recorder(Mode::Record, &project.cassettes()),
            Request::get(&path).unwrap(),
        )
        .await
        .unwrap();
    }
    let settings =
        "matching:\n  ignore_path: [/v1/projects/*]\n  replace: [{pattern: 'files/[^/]+', with: files/<id>}]\n";
    project.write("cassettes/settings.yaml", settings);
    let rekeyed = project.run(&["rekey", "--yes", "--force"]);
    assert_eq!(rekeyed.code(), 0, "{}{}", rekeyed.stdout, rekeyed.stderr);
    for path in paths("second-345") {
        let answer = ask(
            &recorder(Mode::Strict, &project.cassettes()),
            Request::get(&path).unwrap(),
        )
        .await;
        assert_eq!(answer.unwrap(), r#"{"answer":1}"#);
    }
    let done = project.run(&["verify"]);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    let invalid = Project::new();
    invalid.write("cassettes/settings.yaml", "matching: {ignore_path: [/v1/files]}");
    let done = invalid.run(&["run", "--upstream", NOWHERE, "--", "true"]);
    assert!(done.stderr.contains("ignores no segment"), "{}", done.stderr);
}
