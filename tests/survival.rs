//! What recordings live through: processes that are killed, disks that are full, directories that go away, clocks that jump,
//! upstreams that break off, lie or never end.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mistral_cassette::{DirectoryEngine, ErrorKind, Mode, Recorder, Request, Response, Settings, Upstream};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::KEY;
use support::process::{aloud, peak_memory};
use support::project::Project;
use support::server::{Reply, Server};
use support::upstream::RawUpstream;
use support::wire::ask;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CHAT: &str = "POST /v1/chat/completions";

/// How often each command is killed: 50 unless `MISTRAL_CASSETTE_ROUNDS` says otherwise.
fn rounds() -> usize {
    let rounds = std::env::var("MISTRAL_CASSETTE_ROUNDS");
    rounds.map_or(50, |rounds| rounds.parse().unwrap())
}

/// Numbers that look random, from a seed that is printed.
struct Chance(u64);

impl Chance {
    fn new(what: &str) -> Self {
        let seed = std::env::var("MISTRAL_CASSETTE_SEED").map_or_else(|_| nanoseconds(), |seed| seed.parse().unwrap());
        aloud(&format!("{what}: MISTRAL_CASSETTE_SEED={seed}, {} rounds\n", rounds()));
        Self(seed)
    }

    /// Between 0 and 1.
    fn next(&mut self) -> f64 {
        // SplitMix64, by its published constants.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn nanoseconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_nanos() % (1 << 48)).unwrap()
}

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

/// Records these questions, each answered with itself.
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

/// Every file of the project but temporary ones, which a later session clears away.
fn files(project: &Project) -> BTreeMap<String, Vec<u8>> {
    let mut files = project.tree();
    files.retain(|name, _| !name.rsplit('/').next().unwrap().starts_with(".mistral-cassette-"));
    files
}

/// Kills a command at random moments, in a copy of the project each time; `check` sees what is left.
fn killed(original: &Project, what: &str, arguments: &[&str], check: impl FnMut(&Project, &str)) {
    killed_with(original, what, arguments, |_| (), check);
}

/// As [`killed`], with something to be done in each copy first.
fn killed_with(
    original: &Project,
    what: &str,
    arguments: &[&str],
    prepare: impl Fn(&Project),
    mut check: impl FnMut(&Project, &str),
) {
    let mut chance = Chance::new(what);
    let copy = || {
        let project = Project::new();
        let copied = Command::new("cp")
            .arg("-a")
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
    let (project, start) = (copy(), Instant::now());
    assert!(run(&project).wait().unwrap().success(), "{what}");
    let whole = start.elapsed();
    for round in 0..rounds() {
        let project = copy();
        let before = changed(&project);
        let mut child = run(&project);
        // Every other time at any moment, else in the middle of its work: just behind its first change.
        let moment = if round % 2 == 0 {
            whole.mul_f64(chance.next() * 1.2)
        } else {
            while changed(&project) == before && child.try_wait().unwrap().is_none() {}
            Duration::from_secs_f64(chance.next() * 0.001)
        };
        // The moment itself is what is random.
        std::thread::sleep(moment);
        // It may have ended.
        let _ = child.kill();
        child.wait().unwrap();
        check(
            &project,
            &format!("{what}, round {round}, killed after {moment:?} of {whole:?}"),
        );
    }
}

const PRUNED: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn prune_that_is_killed_deletes_nothing_that_was_used() {
    let project = Project::new();
    record(&project, (0..2 * PRUNED).map(|number| format!("question {number}"))).await;
    let ledger = project.path().join("ledger");
    let session = Recorder::builder(DirectoryEngine::new(project.cassettes()))
        .mode(Mode::Strict)
        .ledger(&ledger);
    let session = session.build().unwrap();
    for number in 0..PRUNED {
        let upstream = async |_: Request| unreachable!();
        session
            .answer(request(&format!("question {number}")), upstream)
            .await
            .unwrap();
    }
    drop(session);
    project.git(&["init", "--quiet"]);
    project.git(&["add", "cassettes"]);
    project.git(&["commit", "--quiet", "--message", "recorded"]);
    let before = files(&project);
    // A ledger names the directory by its path: the copies have others.
    let text = fs::read_to_string(&ledger).unwrap();
    let here = fs::canonicalize(project.cassettes()).unwrap().display().to_string();
    let prune = ["prune", "--ledger", "ledger", "--yes"];
    let redirect = |project: &Project| {
        let there = fs::canonicalize(project.cassettes()).unwrap().display().to_string();
        project.write("ledger", text.replace(&here, &there));
    };
    let mut at_random = 0;
    killed_with(&project, "prune", &prune, redirect, |project, round| {
        let left = files(project);
        let cassettes = left.keys().filter(|name| name.starts_with("cassettes/")).count();
        assert!((PRUNED..=2 * PRUNED).contains(&cassettes), "{round}: {cassettes}");
        at_random += usize::from((PRUNED + 1..2 * PRUNED).contains(&cassettes));
        assert!(
            left.iter()
                .filter(|(name, _)| name.starts_with("cassettes/"))
                .all(|(name, text)| before[name] == *text)
        );
        assert_eq!(project.run(&prune).code(), 0, "{round}");
        let left = files(project);
        assert_eq!(
            left.keys().filter(|name| name.starts_with("cassettes/")).count(),
            PRUNED,
            "{round}"
        );
        assert_eq!(project.run(&["verify"]).code(), 0, "{round}");
    });
    aloud(&format!(
        "prune: {at_random} rounds were killed in the middle of its work\n"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn rekey_that_is_killed_loses_nothing() {
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
    project.git(&["init", "--quiet"]);
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "--message", "recorded"]);
    let mut in_the_middle = 0;
    killed(&project, "rekey", &["rekey", "--yes"], |project, round| {
        let left = files(project);
        let answers = |text: &[u8]| String::from_utf8_lossy(text).matches("answer:").count();
        let cassettes: Vec<_> = left.iter().filter(|(_, text)| answers(text) > 0).collect();
        in_the_middle += usize::from(cassettes.len() > DATED);
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
        let again = project.run(&["rekey", "--yes", "--force"]);
        assert_eq!(again.code(), 0, "{round}: {}{}", again.stdout, again.stderr);
        let verified = project.run(&["verify"]);
        assert_eq!(verified.code(), 0, "{round}: {}", verified.stdout);
        assert_eq!(cassettes_of(project), DATED, "{round}");
    });
    aloud(&format!(
        "rekey: {in_the_middle} rounds left a cassette under both of its names\n"
    ));
}

fn cassettes_of(project: &Project) -> usize {
    files(project)
        .keys()
        .filter(|name| name.contains("/chat-completions/"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_goes_on_and_is_the_same_to_the_byte() {
    let project = Project::new();
    record(
        &project,
        (0..40).map(|number| format!("question {number} {}", "and more ".repeat(number * 30))),
    )
    .await;
    let original = files(&project);
    killed(&project, "copy", &["copy", "cassettes", "copied"], |project, round| {
        for (name, text) in files(project).iter().filter(|(name, _)| name.starts_with("copied/")) {
            assert_eq!(
                original[&name.replace("copied/", "cassettes/")],
                *text,
                "{round}: {name}"
            );
        }
        assert_eq!(project.run(&["copy", "cassettes", "copied"]).code(), 0, "{round}");
        assert_eq!(files(project).len(), 2 * original.len(), "{round}");
    });
}

/// An answer that was read to its end is on disk, whenever the process is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_was_acknowledged_outlives_a_kill() {
    let mut chance = Chance::new("record");
    let server = Server::start(|_, call| Reply::json(json!({ "answer": call.json() }).to_string())).await;
    let mut acknowledged = 0;
    for round in 0..rounds() {
        let project = Project::new();
        let proxy = project.proxy("record", &server.url, &[]);
        let url = proxy.url.clone();
        let pid = proxy.pid();
        let answered = Arc::new(AtomicUsize::new(0));
        let enough = (chance.next() * 60.0) as usize;
        let counted = answered.clone();
        let killing = std::thread::spawn(move || {
            while counted.load(Ordering::SeqCst) < enough {
                std::thread::yield_now();
            }
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        });
        let client = reqwest_client();
        let callers = (0..8).map(|caller| {
            let (client, url, answered) = (client.clone(), url.clone(), answered.clone());
            tokio::spawn(async move {
                let mut heard = Vec::new();
                for number in 0.. {
                    let text = format!("{caller} {number}");
                    let sent = client
                        .post(format!("{url}/v1/chat/completions"))
                        .body(question(&text).to_string());
                    let Ok(answer) = sent.header("authorization", format!("Bearer {KEY}")).send().await else {
                        break;
                    };
                    let Ok(body) = answer.bytes().await else { break };
                    heard.push((text, body));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                heard
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut heard = Vec::new();
        for caller in callers {
            heard.extend(caller.await.unwrap());
        }
        killing.join().unwrap();
        drop(proxy);
        assert_eq!(
            project.run(&["verify"]).code(),
            i32::from(!project.cassettes().exists()) * 2,
            "round {round}"
        );
        let strict = recorder(&project.cassettes(), Mode::Strict);
        for (text, body) in &heard {
            let upstream = async |_: Request| unreachable!();
            let replayed = strict.answer(request(text), upstream).await;
            let replayed = replayed.unwrap_or_else(|error| panic!("round {round}, {text}: {error}"));
            assert_eq!(replayed.bytes().await.unwrap(), body, "round {round}, {text}");
        }
        acknowledged += heard.len();
    }
    aloud(&format!(
        "record: {acknowledged} acknowledged recordings in {} rounds, none lost\n",
        rounds()
    ));
}

fn reqwest_client() -> reqwest::Client {
    // The tests speak to servers on this machine only.
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

/// A file system of its own, which is full soon; it is taken away at the end.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mounted(folder: &'a Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder);
        mount.output().ok()?.status.success().then_some(Self(folder))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(unmounted.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_leaves_whole_files() {
    let project = Project::new();
    let folder = project.cassettes();
    let Some(_small) = Small::mounted(&folder) else {
        aloud("SKIPPED: no file system can be mounted here, so that none can be full\n");
        return;
    };
    let recording = recorder(&folder, Mode::Record);
    let long = "Words of an answer. ".repeat(300);
    let mut kept = Vec::new();
    let error = loop {
        let text = format!("question {}", kept.len());
        let answer = Bytes::from(json!({ "answer": text, "long": long }).to_string());
        let upstream = async |_: Request| Ok(Response::new(http::StatusCode::OK, answer.clone()));
        match recording.answer(request(&text), upstream).await.unwrap().bytes().await {
            Ok(body) => kept.push((text, body)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Engine, "{error}");
    assert!(error.message().contains("cannot write"), "{error}");
    assert!(recording.finish().await.is_err());
    assert!(kept.len() > 3);
    // Nothing is half, nothing is lost, and once there is room it goes on.
    assert_eq!(project.run(&["verify"]).code(), 0);
    let strict = recorder(&folder, Mode::Strict);
    for (text, body) in &kept {
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
        // A recording that is replaced is whole or as it was.
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
    let (text, body) = &kept[0];
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

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_may_go_away_and_its_files_may_change_under_a_session() {
    let project = Project::new();
    record(&project, ["one".to_owned(), "two".to_owned()]).await;
    let session = recorder(&project.cassettes(), Mode::Strict);
    let asked = async |text: &str| {
        let answer = session.answer(request(text), async |_: Request| unreachable!()).await?;
        answer.text().await
    };
    assert!(asked("one").await.unwrap().contains("one"));
    // An editor replaces a file, or writes into it: the next ask sees that.
    let (name, text) = files(&project)
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
        assert!(asked("one").await.unwrap().contains(with), "{length} length");
    }
    fs::write(project.path().join(&name), &text[..text.len() / 2]).unwrap();
    assert_eq!(asked("one").await.unwrap_err().kind(), ErrorKind::Cassette);
    fs::write(project.path().join(&name), &text).unwrap();
    assert!(asked("one").await.unwrap().contains("one"));
    fs::remove_dir_all(project.cassettes()).unwrap();
    let error = asked("two").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Miss | ErrorKind::Engine), "{error}");
    // A session that records makes it anew.
    record(&project, ["three".to_owned()]).await;
    assert_eq!(cassettes_of(&project), 1);
}

/// The clock of one who recorded was wrong, or that of one who replays is.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_loses_nothing() {
    let project = Project::new();
    record(&project, ["one".to_owned()]).await;
    let (name, text) = files(&project).into_iter().next().unwrap();
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

/// What a caller gets of an upstream that says this, and whether it was kept.
async fn told(bytes: &[u8]) -> (Result<Bytes, ErrorKind>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let raw = RawUpstream::saying(bytes).await;
    let session = recorder(folder.path(), Mode::Record);
    let upstream = Upstream::builder().base_url(&raw.url).api_key(KEY).build().unwrap();
    let answer = async { session.answer(request("one"), upstream).await?.bytes().await };
    let answer = answer.await.map_err(|error| error.kind());
    // A verdict of failure is no matter here.
    let _ = session.finish().await;
    (answer, folder.path().join("chat-completions").exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_at_any_byte_is_no_recording() {
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
            let (answer, is_kept) = told(&said[..cut]).await;
            // The last bytes of a chunked body may be nothing that anybody waits for.
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
        let (answer, is_kept) = told(&said).await;
        assert_eq!((answer.as_deref(), is_kept), (Ok(whole.as_bytes()), true));
    }
    aloud(&format!(
        "cut at {cuts} places: no half answer was kept or taken for a whole one\n"
    ));
}

/// A gigabyte goes through with no more than the limit of it in memory, beside what the process has anyway.
#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_is_handed_on_within_the_limit() {
    const GIGABYTE: u64 = 1 << 30;
    const LIMIT: u64 = 16 << 20;
    let project = Project::new();
    project.write("cassettes/settings.yaml", format!("limits: {{ entry_bytes: {LIMIT} }}"));
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: {GIGABYTE}\r\n\r\n");
    let (upstream, _) = RawUpstream::going_on(head, GIGABYTE).await;
    let proxy = project.proxy("record", &upstream.url, &[]);
    let client = reqwest_client();
    let sent = client
        .post(format!("{}/v1/audio/speech", proxy.url))
        .body(r#"{"input":"all of it"}"#);
    let mut answer = sent.send().await.unwrap();
    let mut heard = 0;
    while let Some(piece) = answer.chunk().await.unwrap() {
        heard += piece.len() as u64;
    }
    assert_eq!(heard, GIGABYTE);
    let peak = peak_memory(proxy.pid());
    let said = tokio::task::spawn_blocking(move || proxy.stop()).await.unwrap();
    assert!(said.stderr.contains("1 not kept"), "{}", said.stderr);
    assert!(cassettes_of(&project) == 0);
    if let Some(peak) = peak {
        aloud(&format!(
            "a gigabyte through the proxy, limit {} MiB: peak {} MiB\n",
            LIMIT >> 20,
            peak >> 20
        ));
        assert!(peak < 6 * LIMIT, "{peak}");
    }
}

/// What never ends, and what nobody listens to any more, is given up at the limit.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_is_given_up_when_its_caller_has_left() {
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
    // The recording ends although the upstream does not.
    let summary = session.finish().await.unwrap();
    assert_eq!((summary.recorded, summary.skipped), (0, 1));
    let said = said.bytes.load(Ordering::SeqCst);
    assert!(said < 16 * LIMIT, "{said}");
}

/// Callers hang up behind each byte of what they send, and behind each of what they get.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_leave_at_any_byte_spoil_nothing() {
    let answer = r#"{"choices":[{"index":0,"message":{"content":"Rhône"}}]}"#;
    let server = Server::start(move |_, _| Reply::json(answer)).await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let address = support::wire::address(&proxy.url).to_owned();
    let asked = |text: &str| {
        let body = question(text).to_string();
        let length = body.len();
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let whole = asked("who leaves");
    for cut in 0..=whole.len() {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(&whole.as_bytes()[..cut]).await.unwrap();
    }
    let mut length = 1;
    for heard in 0.. {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(asked(&format!("who hears {heard}")).as_bytes())
            .await
            .unwrap();
        let mut bytes = vec![0; heard];
        stream.read_exact(&mut bytes).await.unwrap();
        if String::from_utf8_lossy(&bytes).ends_with("\r\n0\r\n\r\n") {
            break;
        }
        length = heard;
    }
    assert!(length > answer.len());
    let last = ask(&proxy.url, CHAT, question("who stays").to_string()).await;
    assert_eq!((last.essence().0, last.text().as_str()), (200, answer));
    let said = tokio::task::spawn_blocking(move || proxy.stop()).await.unwrap();
    // Half a request is told, and nothing else is wrong.
    let body = question("who leaves").to_string().len();
    assert!(
        said.stderr.contains(&format!("{body} requests have failed")),
        "{}",
        said.stderr
    );
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    // Who has sent all of a request has it recorded, heard or not.
    assert!(cassettes_of(&project) >= length, "{}", cassettes_of(&project));
    assert_eq!(project.run(&["verify"]).code(), 0);
    aloud(&format!(
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
        // Each has one of its own, and all have one in common.
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
    assert_eq!(cassettes_of(&project), 65);
    assert_eq!(project.run(&["verify"]).code(), 0);
}
