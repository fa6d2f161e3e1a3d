//! Crash safety: killed processes, full disks, directories that disappear, clocks that jump, truncated and endless
//! responses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::support::KEY;
use crate::support::kills::{Ended, Hit, Kills};
use crate::support::mount::Mount;
use crate::support::process::peak_memory;
use crate::support::project::Project;
use crate::support::server::{Reply, Server};
use crate::support::skip::{is_left_out, print};
use crate::support::upstream::RawUpstream;
use crate::support::wire::ask;
use bytes::Bytes;
use mistral_cassette::{DirectoryEngine, ErrorKind, Mode, Recorder, Request, Response, Settings, Upstream};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CHAT: &str = "POST /v1/chat/completions";

fn question(text: &str) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] })
}

fn request(text: &str) -> Request {
    Request::post("/v1/chat/completions")
        .unwrap()
        .json(&question(text))
        .unwrap()
}

fn recorder(directory: &Path, mode: Mode) -> Recorder {
    let builder = Recorder::builder(DirectoryEngine::new(directory)).mode(mode);
    builder.allow_record_in_ci().build().unwrap()
}

/// Records these questions; each response contains its question.
async fn record(project: &Project, texts: impl IntoIterator<Item = String>) {
    let recorder = recorder(&project.cassettes(), Mode::Record);
    for text in texts {
        let answer = Bytes::from(json!({ "answer": text }).to_string());
        let upstream = async |_: Request| Ok(Response::new(http::StatusCode::OK, answer.clone()));
        recorder
            .answer(request(&text), upstream)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
    }
    recorder.finish().await.unwrap();
}

/// Files with their content, by path.
type Files = BTreeMap<String, Vec<u8>>;

/// The files of the cassette directories without temporary ones, which a later session removes.
fn recordings(project: &Project) -> Files {
    let mut files = project.tree();
    files.retain(|name, _| {
        let is_temporary = name.rsplit('/').next().unwrap().starts_with(".mistral-cassette-");
        !is_temporary && (name.starts_with("cassettes/") || name.starts_with("copied/"))
    });
    files
}

fn commit(project: &Project) {
    project.git(&["init", "--quiet"]);
    // Git treats copies of the files as unmodified.
    project.git(&["config", "core.trustctime", "false"]);
    project.git(&["config", "core.checkStat", "minimal"]);
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "--message", "recorded"]);
    project.git(&["gc", "--quiet"]);
}

/// For a copy that needs no preparation.
fn as_it_is(_: &Project) {}

/// Kills a command at random moments, each time in a new copy of the project, which `prepare` may change first; `check`
/// examines the result.
fn killed(
    original: &Project,
    what: &'static str,
    arguments: &[&str],
    prepare: impl Fn(&Project),
    mut check: impl FnMut(&Project, &Files, &Ended),
) {
    let copy = || {
        let project = Project::new();
        // Links are enough: no command writes into an existing file.
        let copied = Command::new("cp")
            .arg("-al")
            .arg(original.path().join("."))
            .arg(project.path())
            .status();
        assert!(copied.unwrap().success());
        prepare(&project);
        project
    };
    let run = |project: &Project| {
        let mut command = project.command(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let changed = |project: &Project| {
        let folders = [
            project.path().join("copied/chat-completions"),
            project.cassettes().join("chat-completions"),
        ];
        folders.map(|folder| fs::metadata(folder).and_then(|folder| folder.modified()).ok())
    };
    let mut kills = Kills::new(what);
    let mut measured = || {
        let project = copy();
        let (before, unchanged) = (recordings(&project), changed(&project));
        kills.measure(&mut run(&project), || changed(&project) != unchanged);
        (before, recordings(&project))
    };
    // The first run is slower than the others.
    measured();
    let (before, behind) = measured();
    while kills.next_round().is_some() {
        let project = copy();
        let unchanged = changed(&project);
        let round = kills.end(&mut run(&project), Signal::KILL, || changed(&project) != unchanged);
        let left = recordings(&project);
        kills.note(match &left {
            left if *left == before => Hit::Before,
            left if *left == behind => Hit::Behind,
            _ => Hit::Middle,
        });
        check(&project, &left, &round);
    }
    kills.tell();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_prune_deletes_no_used_recording() {
    if is_left_out() {
        return;
    }
    const USED: usize = 20;
    const UNUSED: usize = 60;
    let project = Project::new();
    record(&project, (0..USED + UNUSED).map(|number| format!("question {number}"))).await;
    // Unreferenced bodies, so that the command runs long enough to be killed.
    for number in 0..2000 {
        project.write(&format!("cassettes/bodies/{number:064x}"), "nobody's");
    }
    let log_file = project.path().join("ledger");
    let session = Recorder::builder(DirectoryEngine::new(project.cassettes()))
        .mode(Mode::Strict)
        .usage_log(&log_file);
    let session = session.build().unwrap();
    for number in 0..USED {
        let upstream = async |_: Request| unreachable!();
        session
            .answer(request(&format!("question {number}")), upstream)
            .await
            .unwrap();
    }
    drop(session);
    // A usage log contains the path of the directory, so each copy has its own.
    let text = fs::read_to_string(&log_file).unwrap();
    fs::remove_file(&log_file).unwrap();
    let here = fs::canonicalize(project.cassettes()).unwrap().display().to_string();
    let redirect = |project: &Project| {
        let there = fs::canonicalize(project.cassettes()).unwrap().display().to_string();
        project.write("ledger", text.replace(&here, &there));
    };
    commit(&project);
    let before = recordings(&project);
    let prune = ["prune", "--ledger", "ledger", "--yes"];
    killed(&project, "prune", &prune, redirect, |project, left, round| {
        assert!((USED..=USED + UNUSED).contains(&cassettes_of(left)), "{round}");
        assert!(left.iter().all(|(name, text)| before[name] == *text));
        let again = project.run(&prune);
        assert_eq!(again.code(), 0, "{round}: {}{}", again.stdout, again.stderr);
        let left = recordings(project);
        assert_eq!(left.len(), USED, "{round}");
        assert_eq!(cassettes_of(&left), USED, "{round}");
        assert_eq!(project.run(&["verify"]).code(), 0, "{round}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rekey_loses_nothing() {
    if is_left_out() {
        return;
    }
    const DATED: usize = 60;
    let project = Project::new();
    record(
        &project,
        (0..DATED).map(|number| format!("On 2026-11-21, question {number}")),
    )
    .await;
    project.write(
        "cassettes/settings.yaml",
        "matching:\n  replace:\n  - { pattern: '\\d{4}-\\d\\d-\\d\\d', with: <date> }\n",
    );
    commit(&project);
    let rekey = ["rekey", "--yes"];
    killed(&project, "rekey", &rekey, as_it_is, |project, left, round| {
        let answers = |text: &[u8]| String::from_utf8_lossy(text).matches("answer:").count();
        let cassettes: Vec<_> = left.iter().filter(|(_, text)| answers(text) > 0).collect();
        for number in 0..DATED {
            let answer = format!("answer: \"On 2026-11-21, question {number}\"\n");
            let plain = answer.replace('"', "");
            let holds = |text: &[u8]| {
                let text = String::from_utf8_lossy(text);
                text.contains(&answer) || text.contains(&plain)
            };
            assert!(
                cassettes.iter().any(|(_, text)| holds(text)),
                "{round}: {number} is gone"
            );
        }
        // Committed files need no --force, although the first run has left untracked files.
        let again = project.run(&rekey);
        assert_eq!(again.code(), 0, "{round}: {}{}", again.stdout, again.stderr);
        let verified = project.run(&["verify"]);
        assert_eq!(verified.code(), 0, "{round}: {}", verified.stdout);
        assert_eq!(cassettes_of(&recordings(project)), DATED, "{round}");
    });
}

fn cassettes_of(files: &Files) -> usize {
    files.keys().filter(|name| name.contains("/chat-completions/")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_copy_resumes_and_is_identical() {
    if is_left_out() {
        return;
    }
    let project = Project::new();
    record(
        &project,
        (0..40).map(|number| format!("question {number} {}", "and more ".repeat(number * 30))),
    )
    .await;
    let original = recordings(&project);
    let copy = ["copy", "cassettes", "copied"];
    killed(&project, "copy", &copy, as_it_is, |project, left, round| {
        for (name, text) in left.iter().filter(|(name, _)| name.starts_with("copied/")) {
            assert_eq!(
                original[&name.replace("copied/", "cassettes/")],
                *text,
                "{round}: {name}"
            );
        }
        assert_eq!(project.run(&copy).code(), 0, "{round}");
        assert_eq!(recordings(project).len(), 2 * original.len(), "{round}");
    });
}

/// Eight concurrent callers with 20 questions each; returns the requests and responses before the proxy was killed.
async fn ask_all(client: &reqwest::Client, url: &str) -> Vec<(String, Bytes)> {
    let callers = (0..8).map(|caller| async move {
        let mut received = Vec::new();
        for number in 0..20 {
            let text = format!("{caller} {number}");
            let sent = client
                .post(format!("{url}/v1/chat/completions"))
                .body(question(&text).to_string());
            let Ok(answer) = sent.send().await else { break };
            let Ok(body) = answer.bytes().await else { break };
            received.push((text, body));
        }
        received
    });
    futures_util::future::join_all(callers).await.concat()
}

/// A response that was read to its end is on disk, whenever the process is killed.
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_recording_survives_a_kill() {
    let server = Server::start(|_, call| Reply::json(json!({ "answer": call.json() }).to_string())).await;
    let client = reqwest_client();
    let mut kills = Kills::new("record");
    let (undisturbed, all) = {
        let project = Project::new();
        let proxy = project.proxy("record", &server.url, &[]);
        let start = Instant::now();
        let all = ask_all(&client, &proxy.url).await.len();
        (start.elapsed(), all)
    };
    assert_eq!(all, 8 * 20);
    let mut acknowledged = 0;
    while let Some(round) = kills.next_round() {
        let project = Project::new();
        let proxy = project.proxy("record", &server.url, &[]);
        let pid = proxy.pid();
        let moment = kills.moment(undisturbed);
        let killing = async {
            // The moment of the kill is random.
            tokio::time::sleep(moment).await;
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        };
        let (received, ()) = tokio::join!(ask_all(&client, &proxy.url), killing);
        drop(proxy);
        let round = format!("round {round}, killed after {moment:?} of {undisturbed:?}");
        kills.note(match received.len() {
            _ if !project.cassettes().exists() => Hit::Before,
            received if received == all => Hit::Behind,
            _ => Hit::Middle,
        });
        assert_eq!(
            project.run(&["verify"]).code(),
            i32::from(!project.cassettes().exists()) * 2,
            "{round}"
        );
        let strict = recorder(&project.cassettes(), Mode::Strict);
        for (text, body) in &received {
            let upstream = async |_: Request| unreachable!();
            let replayed = strict.answer(request(text), upstream).await;
            let replayed = replayed.unwrap_or_else(|error| panic!("{round}, {text}: {error}"));
            assert_eq!(replayed.bytes().await.unwrap(), body, "{round}, {text}");
        }
        acknowledged += received.len();
    }
    kills.tell();
    print(&format!(
        "record: {acknowledged} recordings were acknowledged, and none is lost\n"
    ));
}

fn reqwest_client() -> reqwest::Client {
    // The tests send requests to this machine only.
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap();
    let tls = tls
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .use_preconfigured_tls(tls)
        .no_proxy()
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_reported_and_leaves_complete_files() {
    let project = Project::new();
    let folder = project.cassettes();
    let Some(_small) = Mount::of(&folder, 64 << 10) else {
        return;
    };
    let recording = recorder(&folder, Mode::Record);
    let long = "Words of an answer. ".repeat(300);
    let mut stored = Vec::new();
    let error = loop {
        let text = format!("question {}", stored.len());
        let answer = Bytes::from(json!({ "answer": text, "long": long }).to_string());
        let upstream = async |_: Request| Ok(Response::new(http::StatusCode::OK, answer.clone()));
        match recording.answer(request(&text), upstream).await.unwrap().bytes().await {
            Ok(body) => stored.push((text, body)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Engine, "{error}");
    assert!(error.message().contains("cannot write"), "{error}");
    assert!(recording.finish().await.is_err());
    assert!(stored.len() > 3);
    // Files are complete, nothing is lost, and recording continues once there is space.
    assert_eq!(project.run(&["verify"]).code(), 0);
    let strict = recorder(&folder, Mode::Strict);
    for (text, body) in &stored {
        let upstream = async |_: Request| unreachable!();
        assert_eq!(
            strict
                .answer(request(text), upstream)
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap(),
            body
        );
    }
    for refresh in ["one", "two"] {
        // A replaced recording is complete: the new one or the old one.
        let upstream = async |_: Request| Ok(Response::new(http::StatusCode::OK, long.repeat(20).into_bytes()));
        let session = recorder(&folder, Mode::Record);
        assert!(
            session
                .answer(request("question 0"), upstream)
                .await
                .unwrap()
                .bytes()
                .await
                .is_err(),
            "{refresh}"
        );
    }
    let (text, body) = &stored[0];
    let upstream = async |_: Request| unreachable!();
    assert_eq!(
        recorder(&folder, Mode::Strict)
            .answer(request(text), upstream)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        body
    );
    for entry in fs::read_dir(folder.join("chat-completions")).unwrap().skip(2) {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    record(&project, ["there is room again".to_owned()]).await;
}

/// No user can write: commands that only read work, and the others fail with an error that names the location.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_directory_replays_and_every_write_is_reported() {
    let project = Project::new();
    let Some(disk) = Mount::of(project.path(), 16 << 20) else {
        return;
    };
    record(&project, ["On 2026-11-21, one".to_owned()]).await;
    fs::rename(project.cassettes(), project.path().join("dated")).unwrap();
    project.write(
        "dated/settings.yaml",
        "matching:\n  replace:\n  - { pattern: '\\d{4}-\\d\\d-\\d\\d', with: <date> }\n",
    );
    record(&project, ["one".to_owned(), "two".to_owned()]).await;
    let log_file = project.path().join("ledger");
    let used = Recorder::builder(DirectoryEngine::new(project.cassettes())).mode(Mode::Strict);
    let used = used.usage_log(&log_file).build().unwrap();
    let replayed = used.answer(request("two"), async |_: Request| unreachable!()).await;
    let two = replayed.unwrap().text().await.unwrap();
    drop(used);
    let foreign = json!({
        "id": "1",
        "request": { "method": "POST", "url": "https://api.mistral.ai/v1/chat/completions", "body": question("three").to_string() },
        "response": { "status": 200, "headers": { "content-type": "application/json" }, "body": "{}" },
    });
    project.write("foreign.jsonl", format!("{foreign}\n"));
    commit(&project);
    let before = project.tree();
    disk.make_read_only();

    // Recordings are replayed although nothing can be recorded; for a miss no request is sent.
    let server = Server::start(|_, _| Reply::json(r#"{"answer":"new"}"#)).await;
    for mode in ["strict", "replay"] {
        let proxy = project.proxy(mode, &server.url, &[]);
        let answer = ask(&proxy.url, CHAT, question("two").to_string()).await;
        assert_eq!((answer.status, answer.text()), (200, two.clone()), "{mode}");
        assert_eq!(proxy.stop().code(), 0, "{mode}");
    }
    for mode in ["record", "replay"] {
        let proxy = project.proxy(mode, &server.url, &[]);
        let message = ask(&proxy.url, CHAT, question("three").to_string()).await.error(424);
        assert!(
            message.contains("cannot write to cassettes: Read-only file system"),
            "{mode}: {message}"
        );
        let done = proxy.stop();
        assert_eq!(done.code(), 1, "{mode}");
        assert!(
            done.stderr.contains("cannot write to cassettes"),
            "{mode}: {}",
            done.stderr
        );
    }
    assert_eq!(server.connection_count(), 0);
    let proxy = project.proxy("live", &server.url, &[]);
    assert_eq!(ask(&proxy.url, CHAT, question("three").to_string()).await.status, 200);
    assert_eq!((proxy.stop().code(), server.call_count()), (0, 1));

    for reading in [
        &["list"][..],
        &["show", "two"],
        &["stats"],
        &["diff", "HEAD"],
        &["prune", "--ledger", "ledger"],
        &["rekey", "--dir", "dated"],
        &["export", "--to", "jsonl", "--out", "-"],
    ] {
        let done = project.run(reading);
        assert_eq!(done.code(), 0, "{reading:?}: {}{}", done.stdout, done.stderr);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let done = project.run(&["copy", "cassettes", elsewhere.path().to_str().unwrap()]);
    assert_eq!(done.stdout, "2 copied, 0 unchanged\n", "{}", done.stderr);
    for (writing, code, at_location) in [
        (
            &["prune", "--ledger", "ledger", "--yes"][..],
            2,
            "cassettes/chat-completions/",
        ),
        (&["rekey", "--dir", "dated", "--yes"], 2, "dated/chat-completions"),
        (&["import", "foreign.jsonl"], 2, "cassettes/chat-completions"),
        (&["copy", "cassettes", "copied"], 1, "copied"),
        (&["refresh", "--upstream", &server.url], 2, "cassettes/.refresh"),
        (&["remove", "two"], 2, "cassettes/chat-completions/two-"),
        (&["clear", "--yes"], 2, "cassettes/chat-completions/"),
        (&["report", "--out", "report.html"], 2, "cannot write to .: "),
        (
            &["export", "--to", "jsonl", "--out", "all.jsonl"],
            2,
            "cannot write to .: ",
        ),
    ] {
        let done = project.run(writing);
        let report_text = format!("{writing:?}, {}: {}{}", done.code(), done.stdout, done.stderr);
        assert_eq!(done.code(), code, "{report_text}");
        assert!(done.stderr.contains(at_location), "{report_text}");
        assert!(done.stderr.contains("Read-only file system"), "{report_text}");
    }
    assert_eq!(server.call_count(), 1, "what cannot be kept is not asked for");
    let drift = project.run(&["refresh", "--upstream", &server.url, "--dry-run"]);
    assert_eq!(
        (drift.code(), server.call_count()),
        (1, 3),
        "{}{}",
        drift.stdout,
        drift.stderr
    );
    assert_eq!(project.tree(), before);
}

/// A session does not check again a directory that it has written to: the response is passed through, and its body ends
/// with an error, since a caller that reads it to the end relies on the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_becomes_read_only_aborts_responses_that_cannot_be_stored() {
    let project = Project::new();
    let Some(disk) = Mount::of(project.path(), 16 << 20) else {
        return;
    };
    let server = Server::start(|_, _| Reply::json(r#"{"answer":1}"#)).await;
    let proxy = project.proxy("record", &server.url, &[]);
    let first = ask(&proxy.url, CHAT, question("one").to_string()).await;
    assert!(first.is_whole, "{first:?}");
    let before = project.tree();
    disk.make_read_only();
    for text in ["one", "two"] {
        let answer = ask(&proxy.url, CHAT, question(text).to_string()).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, r#"{"answer":1}"#),
            "{text}"
        );
        assert!(!answer.is_whole, "{text}: {answer:?}");
    }
    let done = proxy.stop();
    assert_eq!(done.code(), 1);
    assert!(
        done.stderr
            .contains("cannot write to cassettes/chat-completions: Read-only file system"),
        "{}",
        done.stderr
    );
    assert_eq!(project.tree(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_may_disappear_and_its_files_may_change_during_a_session() {
    let project = Project::new();
    record(&project, ["one".to_owned(), "two".to_owned()]).await;
    let session = recorder(&project.cassettes(), Mode::Strict);
    let requested = async |text: &str| {
        let answer = session.answer(request(text), async |_: Request| unreachable!()).await?;
        answer.text().await
    };
    assert!(requested("one").await.unwrap().contains("one"));
    // An editor replaces a file or writes into it: the next request uses the new content.
    let (name, text) = recordings(&project)
        .into_iter()
        .find(|(name, _)| name.contains("/one-"))
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    for (length, with) in [("the same", "uno"), ("another", "eins")] {
        fs::write(
            project.path().join(&name),
            text.replace("answer: one", &format!("answer: {with}")),
        )
        .unwrap();
        assert!(requested("one").await.unwrap().contains(with), "{length} length");
    }
    fs::write(project.path().join(&name), &text[..text.len() / 2]).unwrap();
    assert_eq!(requested("one").await.unwrap_err().kind(), ErrorKind::Cassette);
    fs::write(project.path().join(&name), &text).unwrap();
    assert!(requested("one").await.unwrap().contains("one"));
    fs::remove_dir_all(project.cassettes()).unwrap();
    let error = requested("two").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Miss | ErrorKind::Engine), "{error}");
    // A session that records creates it again.
    record(&project, ["three".to_owned()]).await;
    assert_eq!(cassettes_of(&recordings(&project)), 1);
}

/// The clock was wrong while recording, or is wrong while replaying.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_loses_nothing() {
    let project = Project::new();
    record(&project, ["one".to_owned()]).await;
    let (name, text) = recordings(&project).into_iter().next().unwrap();
    let text = String::from_utf8(text).unwrap();
    let at = text.lines().find(|line| line.starts_with("  at: ")).unwrap();
    for (year, is_asked) in [
        ("1970-01-01", true),
        ("2199-12-31", false),
        ("9999-12-01", false),
        ("0001-01-01", true),
    ] {
        fs::write(
            project.path().join(&name),
            text.replace(at, &format!("  at: \"{year}T00:00:00Z\"")),
        )
        .unwrap();
        let settings = Settings::from_yaml(b"expiry: { time_to_live: 1h }", "test").unwrap();
        let session = Recorder::builder(DirectoryEngine::new(project.cassettes()))
            .mode(Mode::Replay)
            .settings(settings);
        let session = session.build().unwrap();
        let server = Server::start(|_, _| Reply::json(r#"{"answer":"new"}"#)).await;
        let upstream = Upstream::builder().base_url(&server.url).api_key(KEY).build().unwrap();
        let answer = session
            .answer(request("one"), upstream)
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(
            (answer.contains("new"), server.call_count() == 1),
            (is_asked, is_asked),
            "{year}: {answer}"
        );
        assert_eq!(project.run(&["verify"]).code(), 0, "{year}");
        assert_eq!(project.run(&["stats"]).code(), 0, "{year}");
    }
}

/// The response that a caller gets from an upstream that sends these bytes, and whether it was recorded.
async fn report_text(client: &reqwest::Client, bytes: &[u8]) -> (Result<Bytes, ErrorKind>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let raw = RawUpstream::saying(bytes).await;
    let session = recorder(folder.path(), Mode::Record);
    let upstream = Upstream::builder()
        .base_url(&raw.url)
        .api_key(KEY)
        .client(client.clone());
    let answer = async { session.answer(request("one"), upstream.build()?).await?.bytes().await };
    let answer = answer.await.map_err(|error| error.kind());
    // The verdict may fail here.
    let _ = session.finish().await;
    (answer, folder.path().join("chat-completions").exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_truncated_at_any_byte_is_not_recorded() {
    let body = r#"{"id":"1","choices":[{"index":0,"message":{"content":"Rhône"}}]}"#;
    let half = body.len() / 2;
    let chunked = format!(
        "{half:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &body[..half],
        body.len() - half,
        &body[half..]
    );
    let events = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Rhône\"}}]}\n\ndata: [DONE]\n\n";
    let chunked_events = format!("{:x}\r\n{events}\r\n0\r\n\r\n", events.len());
    // A new client would read the root certificates each time.
    let client = reqwest_client();
    let mut cuts = 0;
    for (kind, framing, content, whole) in [
        (
            "application/json",
            format!("content-length: {}", body.len()),
            body,
            body,
        ),
        (
            "application/json",
            "transfer-encoding: chunked".to_owned(),
            &chunked,
            body,
        ),
        (
            "text/event-stream",
            format!("content-length: {}", events.len()),
            events,
            events,
        ),
        (
            "text/event-stream",
            "transfer-encoding: chunked".to_owned(),
            &chunked_events,
            events,
        ),
    ] {
        let said = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n{content}").into_bytes();
        for cut in 0..said.len() {
            let (answer, is_kept) = report_text(&client, &said[..cut]).await;
            // A client may not wait for the last bytes of a chunked body.
            assert!(
                !is_kept || answer.as_deref() == Ok(whole.as_bytes()),
                "{kind}, {framing}, cut at {cut}: {answer:?}"
            );
            assert!(
                answer.is_err() || answer.as_deref() == Ok(whole.as_bytes()),
                "{kind}, {framing}, {cut}: {answer:?}"
            );
            cuts += 1;
        }
        let (answer, is_kept) = report_text(&client, &said).await;
        assert_eq!((answer.as_deref(), is_kept), (Ok(whole.as_bytes()), true));
    }
    print(&format!(
        "cut at {cuts} places: no half answer was kept or taken for a whole one\n"
    ));
}

/// A gigabyte is passed through within the bounds in docs/memory.md: 1.5 times the limit, and 32 MiB for everything
/// else.
#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_is_passed_through_within_the_memory_limit() {
    if is_left_out() {
        return;
    }
    const GIGABYTE: u64 = 1 << 30;
    const BESIDE: u64 = 32 << 20;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: {GIGABYTE}\r\n\r\n");
    let (upstream, _) = RawUpstream::going_on(head, GIGABYTE).await;
    // The last one is the default.
    for (limit, is_said) in [(1 << 20, true), (64 << 20, true), (128 << 20, false)] {
        let project = Project::new();
        if is_said {
            project.write("cassettes/settings.yaml", format!("limits: {{ entry_bytes: {limit} }}"));
        }
        let proxy = project.proxy("record", &upstream.url, &[]);
        let before = peak_memory(proxy.pid());
        let client = reqwest_client();
        let sent = client
            .post(format!("{}/v1/audio/speech", proxy.url))
            .body(r#"{"input":"all of it"}"#);
        let mut answer = sent.send().await.unwrap();
        let mut received = 0;
        while let Some(piece) = answer.chunk().await.unwrap() {
            received += piece.len() as u64;
        }
        assert_eq!(received, GIGABYTE);
        let peak = peak_memory(proxy.pid());
        let said = tokio::task::spawn_blocking(move || proxy.stop()).await.unwrap();
        assert!(said.stderr.contains("1 not recorded"), "{}", said.stderr);
        assert_eq!(project.tree().len(), usize::from(is_said));
        if let (Some(before), Some(peak)) = (before, peak) {
            let grown = peak - before;
            print(&format!(
                "a gigabyte through the proxy, limit {} MiB: {} MiB more\n",
                limit >> 20,
                grown >> 20
            ));
            assert!(grown < limit + limit / 2 + BESIDE, "{limit}: {grown} bytes");
        }
    }
}

/// An endless response without a caller is aborted at the limit.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_response_is_aborted_when_its_caller_disconnects() {
    const LIMIT: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::from_yaml(format!("limits: {{ entry_bytes: {LIMIT} }}").as_bytes(), "test").unwrap();
    let session = Recorder::builder(DirectoryEngine::new(folder.path()))
        .mode(Mode::Record)
        .allow_record_in_ci();
    let session = session.settings(settings).build().unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n\r\n".to_owned();
    let (raw, said) = RawUpstream::going_on(head, u64::MAX).await;
    let upstream = Upstream::builder().base_url(&raw.url).api_key(KEY).build().unwrap();
    let answer = session.answer(request("one"), upstream).await.unwrap();
    drop(answer);
    // The recording ends although the upstream continues.
    let summary = session.finish().await.unwrap();
    assert_eq!((summary.recorded, summary.skipped), (0, 1));
    let said = said.bytes.load(Ordering::SeqCst);
    assert!(said < 16 * LIMIT, "{said}");
}

/// Callers disconnect after each byte that they send, and after each byte that they receive.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_disconnect_at_any_byte_damage_nothing() {
    let answer = r#"{"choices":[{"index":0,"message":{"content":"Rhône"}}]}"#;
    let server = Server::start(move |_, _| Reply::json(answer)).await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let address = crate::support::wire::address(&proxy.url).to_owned();
    let requested = |text: &str| {
        let body = question(text).to_string();
        let length = body.len();
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let whole = requested("who leaves");
    for cut in 0..=whole.len() {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(&whole.as_bytes()[..cut]).await.unwrap();
    }
    let mut length = 1;
    for received in 0.. {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(requested(&format!("who hears {received}")).as_bytes())
            .await
            .unwrap();
        let mut bytes = vec![0; received];
        stream.read_exact(&mut bytes).await.unwrap();
        if String::from_utf8_lossy(&bytes).ends_with("\r\n0\r\n\r\n") {
            break;
        }
        length = received;
    }
    assert!(length > answer.len());
    let last = ask(&proxy.url, CHAT, question("who stays").to_string()).await;
    assert_eq!((last.essence().0, last.text().as_str()), (200, answer));
    let said = tokio::task::spawn_blocking(move || proxy.stop()).await.unwrap();
    // Partial requests are reported, and there is no other error.
    let body = question("who leaves").to_string().len();
    assert!(
        said.stderr.contains(&format!("{body} requests have failed")),
        "{}",
        said.stderr
    );
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    // A complete request is recorded, whether its caller reads the response or not.
    assert!(
        cassettes_of(&recordings(&project)) >= length,
        "{}",
        cassettes_of(&recordings(&project))
    );
    assert_eq!(project.run(&["verify"]).code(), 0);
    print(&format!(
        "callers left behind each of {} bytes sent and {length} bytes heard\n",
        whole.len()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_processes_record_into_one_directory() {
    let server = Server::start(|number, _| Reply::json(json!({ "answer": number }).to_string())).await;
    let project = Project::new();
    let proxies: Vec<_> = (0..64).map(|_| project.proxy("replay", &server.url, &[])).collect();
    let asks = proxies.iter().enumerate().map(|(number, proxy)| async move {
        // Each process has its own question, and all share another.
        let own = ask(&proxy.url, CHAT, question(&format!("own {number}")).to_string()).await;
        let common = ask(&proxy.url, CHAT, question("common").to_string()).await;
        (own.essence().0, common.text())
    });
    let answers = futures_util::future::join_all(asks).await;
    assert!(
        answers
            .iter()
            .all(|(status, common)| (*status, common) == (200, &answers[0].1)),
        "{answers:?}"
    );
    assert_eq!(server.call_count(), 65);
    for proxy in proxies {
        assert_eq!(proxy.stop().code(), 0);
    }
    assert_eq!(cassettes_of(&recordings(&project)), 65);
    assert_eq!(project.run(&["verify"]).code(), 0);
}
