//! Mode `record` with an API key that the upstream refuses, and without one.

use crate::support::KEY;
use crate::support::project::{Project, done};
use crate::support::server::{Call, Reply, Server};
use http::{HeaderName, HeaderValue};
use mistral_cassette::{DirectoryEngine, ErrorKind, Mode, Recorder, Request, Upstream};

const WRONG: &str = "wrong-0a1b2c3d4e5f";

fn refuses_wrong_keys(_: usize, call: &Call) -> Reply {
    match call.header("authorization") {
        Some(key) if key == format!("Bearer {KEY}") => Reply::json(r#"{"data":[]}"#),
        _ => Reply::new(401, "application/json", r#"{"detail":"Unauthorized"}"#),
    }
}

fn recorder(directory: &std::path::Path, mode: Mode) -> Recorder {
    let recorder = Recorder::builder(DirectoryEngine::new(directory)).mode(mode);
    recorder.allow_record_in_ci().build().unwrap()
}

#[tokio::test]
async fn nothing_is_sent_with_a_refused_key() {
    let (project, server) = (Project::new(), Server::start(refuses_wrong_keys).await);
    let recorder = recorder(&project.cassettes(), Mode::Record);
    let upstream = |key: &str| Upstream::builder().base_url(&server.url).api_key(key).build().unwrap();
    let get = |path: &str| Request::get(path).unwrap();

    let refused = recorder.answer(get("/v1/models"), upstream(WRONG)).await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.text().await.unwrap(), r#"{"detail":"Unauthorized"}"#);
    let error = recorder.answer(get("/v1/files"), upstream(WRONG)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert_eq!(
        error.message(),
        "not sent: the upstream has refused the API key (status 401): GET /v1/files"
    );
    assert_eq!(server.call_count(), 1);

    // Another key, and an error that the program wants to record.
    let other = recorder.answer(get("/v1/agents"), upstream(KEY)).await.unwrap();
    assert_eq!(other.text().await.unwrap(), r#"{"data":[]}"#);
    let header = HeaderName::from_static("mistral-cassette-save-errors");
    let on_purpose = get("/v1/models").header(header, HeaderValue::from_static("401"));
    let recorded = recorder.answer(on_purpose, upstream(WRONG)).await.unwrap();
    assert_eq!(recorded.status(), 401);
    recorded.bytes().await.unwrap();

    let verdict = recorder.finish().await.unwrap_err();
    assert_eq!(verdict.kind(), ErrorKind::Settings);
    assert!(
        verdict
            .message()
            .starts_with("2 requests have failed\n\nthe upstream refused the API key (status 401): GET /v1/models\n"),
        "{verdict}"
    );
    assert_eq!(recorder.session().summary().recorded, 2);
}

/// A suite that tests the error, and selects it, succeeds.
#[tokio::test]
async fn a_401_on_purpose_is_recorded_and_replays() {
    let (project, server) = (Project::new(), Server::start(refuses_wrong_keys).await);
    project.write("cassettes/settings.yaml", "save_errors: [401]\n");
    for mode in [Mode::Record, Mode::Strict] {
        let recorder = recorder(&project.cassettes(), mode);
        for (key, path, status) in [
            (WRONG, "/v1/models", 401),
            (WRONG, "/v1/files", 401),
            (KEY, "/v1/agents", 200),
        ] {
            let upstream = Upstream::builder().base_url(&server.url).api_key(key).build().unwrap();
            let response = recorder.answer(Request::get(path).unwrap(), upstream).await.unwrap();
            assert_eq!(response.status(), status);
            response.bytes().await.unwrap();
        }
        recorder.finish().await.unwrap();
    }
    assert_eq!(server.call_count(), 3);
}

const PROGRAM: &str = "
import os, urllib.error, urllib.request
for path in ('/v1/models', '/v1/files', '/v1/agents'):
    try: print(urllib.request.urlopen(os.environ['MISTRAL_SERVER_URL'] + path).status)
    except urllib.error.HTTPError as error: print(error.code, error.read().decode())
";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_a_refused_or_missing_key_ends_with_status_2() {
    let (project, server) = (Project::new(), Server::start(refuses_wrong_keys).await);
    let record = ["run", "--mode", "record", "--upstream"];
    let run = |key: Option<&str>, upstream: &str, program: &str| {
        let mut command = project.command(&record);
        command.args([upstream, "--", "python3", "-c", program]);
        match key {
            Some(key) => command.env("MISTRAL_API_KEY", key),
            None => command.env_remove("MISTRAL_API_KEY"),
        };
        done(&mut command)
    };
    // The program gets the response of the API, and then errors that no SDK retries.
    for (key, program, calls) in [
        (Some(WRONG), PROGRAM.to_owned(), 1),
        (None, format!("{PROGRAM}\nexit(5)"), 2),
    ] {
        let done = run(key, &server.url, &program);
        assert_eq!(
            (done.code(), server.call_count()),
            (2, calls),
            "{}{}",
            done.stdout,
            done.stderr
        );
        let lines: Vec<&str> = done.stdout.lines().collect();
        assert_eq!(lines[0], r#"401 {"detail":"Unauthorized"}"#);
        assert!(
            lines[1].starts_with("424 ") && lines[1].contains("the upstream has refused the API key"),
            "{}",
            done.stdout
        );
        assert!(
            done.stderr.contains("mistral-cassette: 3 requests have failed")
                && done
                    .stderr
                    .contains("the upstream refused the API key (status 401): GET /v1/models")
                && done.stderr.contains("hint: check MISTRAL_API_KEY"),
            "{}",
            done.stderr
        );
    }
    // Unused recordings do not hide it.
    let other = Project::new();
    other.write("cassettes/models/unused-0123456789abcdef.yaml", "version: 1\n");
    let mut command = other.command(&record);
    command.args([
        &server.url,
        "--fail-unused",
        "--all-scopes",
        "--",
        "python3",
        "-c",
        PROGRAM,
    ]);
    let unused = done(command.env("MISTRAL_API_KEY", WRONG));
    assert_eq!(unused.code(), 2, "{}", unused.stderr);
    assert!(unused.stderr.contains("1 cassette not used"), "{}", unused.stderr);
    // Another machine is not asked without a key.
    let done = run(None, "http://api.invalid", PROGRAM);
    assert_eq!(done.code(), 2);
    assert!(
        done.stdout.starts_with("424 ")
            && done
                .stderr
                .contains("not sent: mode record needs an API key: GET /v1/models"),
        "{}{}",
        done.stdout,
        done.stderr
    );
    assert!(!project.cassettes().exists());
}
