//! The locks of a directory: a process that is suspended, and a folder that is not private.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::support::project::Project;
use crate::support::server::{Reply, Server, Step};
use crate::support::wire::ask;
use rustix::process::Signal;

const CHAT: &str = "POST /v1/chat/completions";

const BODY: &str = r#"{"model":"m"}"#;

/// The folder of the locks in a folder for temporary files.
fn locks(temporary: &Path) -> PathBuf {
    temporary.join(format!("mistral-cassette-locks-{}", rustix::process::getuid().as_raw()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_process_delays_others_only_for_a_while() {
    let temporary = tempfile::tempdir().unwrap();
    let project = Project::new().with("TMPDIR", temporary.path().to_str().unwrap());
    let (steps, first) = Reply::directed("application/json");
    let first = Mutex::new(Some(first));
    let server = Server::start(move |number, _| {
        let first = first.lock().unwrap().take();
        first.unwrap_or_else(|| Reply::json(format!(r#"{{"answer":{number}}}"#)))
    })
    .await;
    let start = || project.proxy("replay", &server.url, &[]);
    let (one, other) = (start(), start());
    let url = one.url.clone();
    let asked = tokio::spawn(async move { ask(&url, CHAT, BODY).await });
    let since = Instant::now();
    while server.call_count() == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "it was not sent");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    one.signal(Signal::STOP);
    let folder = locks(temporary.path());
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let lock = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    // As if it had been suspended for an hour.
    let file = fs::File::options().write(true).open(&lock).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    let answer = ask(&other.url, CHAT, BODY).await;
    assert_eq!(answer.body(), br#"{"answer":1}"#[..]);
    one.signal(Signal::CONT);
    steps.send(Step::Send(r#"{"answer":0}"#.into())).unwrap();
    drop(steps);
    assert_eq!(asked.await.unwrap().body(), br#"{"answer":0}"#[..]);
    let done = other.stop();
    assert_eq!(done.stderr.matches("has not run for 30s").count(), 1, "{}", done.stderr);
    one.stop();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_locks_that_others_control_is_not_used() {
    let temporary = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), locks(temporary.path())).unwrap();
    let project = Project::new().with("TMPDIR", temporary.path().to_str().unwrap());
    let server = Server::start(|number, _| Reply::json(format!(r#"{{"answer":{number}}}"#))).await;
    let proxy = project.proxy("replay", &server.url, &[]);
    for body in [BODY, r#"{"model":"n"}"#] {
        assert_eq!(ask(&proxy.url, CHAT, body).await.status, 200);
    }
    let done = proxy.stop();
    assert_eq!(done.stderr.matches("cannot take a lock").count(), 1, "{}", done.stderr);
    assert!(done.stderr.contains("only its owner may use"), "{}", done.stderr);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
