//! When recordings are saved and deleted: `--save-on success`, `save_on_success`, and `--prune`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::support::KEY;
use crate::support::project::{Done, Project, done};
use crate::support::server::{Reply, Server};
use http::StatusCode;
use mistral_cassette::testing::{Save, TestOptions};
use mistral_cassette::{Mode, Request, Response, cassette};

async fn server() -> Server {
    Server::start(|number, call| {
        if number > 0 && call.target.contains("limited") {
            return Reply::new(429, "application/json", "{}");
        }
        // Larger than what a cassette contains itself.
        let text = if call.target.contains("large") {
            "x".repeat(100_000)
        } else {
            "x".to_owned()
        };
        Reply::json(format!("{{\"text\":\"{text}\"}}"))
    })
    .await
}

/// `--prune` deletes no recording of a request that the run has sent, even if its new response was not recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_whose_request_was_sent_is_not_pruned() {
    let (project, server) = (Project::new(), server().await);
    let record = ["--mode", "record", "--prune"];
    project.git(&["init", "-q"]);
    run(&project, &server, &record, "ask /v1/limited");
    project.git(&["add", "-A"]);
    project.git(&["commit", "-qm", "cassettes"]);
    let before = files(&project);
    let limited = run(&project, &server, &record, "ask /v1/limited; true");
    assert_eq!(limited.code(), 0, "{limited:?}");
    assert!(
        limited.stderr.contains("429 Too Many Requests") && !limited.stderr.contains("deleted"),
        "{limited:?}"
    );
    assert_eq!((before.len(), files(&project)), (1, before), "{limited:?}");
}

/// Runs a shell script in which `ask PATH` sends a request.
fn run(project: &Project, server: &Server, arguments: &[&str], script: &str) -> Done {
    let script =
        format!("ask() {{ curl --silent --fail --output /dev/null \"$MISTRAL_SERVER_URL$1\" -d '{{}}'; }}\n{script}");
    let mut command = project.command(&["run", "--upstream", &server.url]);
    command
        .args(arguments)
        .args(["--", "sh", "-c", &script])
        .env("MISTRAL_API_KEY", KEY);
    done(&mut command)
}

fn files(project: &Project) -> Vec<String> {
    let tree = project.tree();
    tree.keys()
        .filter(|path| path.starts_with("cassettes/"))
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_saves_nothing_with_save_on_success() {
    let (project, server) = (Project::new(), server().await);
    let success = ["--mode", "replay", "--save-on", "success"];
    let failed = run(&project, &server, &success, "ask /v1/embeddings; ask /v1/large; exit 3");
    assert_eq!(failed.code(), 3, "{failed:?}");
    assert!(
        failed.stderr.contains("the run failed: 2 recordings not saved"),
        "{failed:?}"
    );
    assert_eq!(files(&project), Vec::<String>::new());

    let succeeded = run(
        &project,
        &server,
        &success,
        "ask /v1/embeddings; ask /v1/large; ask /v1/large",
    );
    assert_eq!(succeeded.code(), 0, "{succeeded:?}");
    assert_eq!(
        files(&project).len(),
        3,
        "two cassettes and a body: {:?}",
        files(&project)
    );
    assert_eq!(server.call_count(), 4);
    let strict = ["--mode", "strict"];
    let replayed = run(&project, &server, &strict, "ask /v1/embeddings && ask /v1/large");
    assert_eq!(replayed.code(), 0, "{replayed:?}");
    // By default, a failed run keeps what it has recorded.
    let failed = run(&project, &server, &["--mode", "replay"], "ask /v1/ocr; exit 3");
    assert_eq!((failed.code(), files(&project).len()), (3, 4), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_the_suite_no_longer_uses_is_named_and_pruned() {
    let (project, server) = (Project::new(), server().await);
    let record = ["--mode", "record", "--scope", "suite"];
    run(
        &project,
        &server,
        &record,
        "ask /v1/embeddings; ask /v1/ocr; ask /v1/large",
    );
    run(&project, &server, &["--mode", "record"], "ask /v1/moderations");
    project.git(&["init", "-q"]);
    project.git(&["add", "-A"]);
    project.git(&["commit", "-qm", "cassettes"]);
    let before = files(&project);

    let named = run(&project, &server, &record, "ask /v1/embeddings");
    assert_eq!(named.code(), 0, "{named:?}");
    let ocr = before.iter().find(|name| name.contains("/ocr/")).unwrap();
    assert!(
        named.stderr.contains("2 cassettes not used:") && named.stderr.contains(ocr),
        "{named:?}"
    );
    assert!(
        named.stderr.contains("--prune") && !named.stderr.contains("moderations"),
        "{named:?}"
    );
    assert_eq!(files(&project), before);

    let record = ["--mode", "record", "--scope", "suite", "--prune"];
    let failed = run(&project, &server, &record, "ask /v1/embeddings; exit 1");
    assert_eq!((failed.code(), files(&project)), (1, before.clone()), "{failed:?}");
    project.write(
        ocr,
        format!(
            "{}# edited\n",
            std::fs::read_to_string(project.path().join(ocr)).unwrap()
        ),
    );
    let pruned = run(&project, &server, &record, "ask /v1/embeddings");
    assert_eq!(pruned.code(), 1, "an edited file is not deleted: {pruned:?}");
    assert!(
        pruned.stderr.contains("not deleted: ") && pruned.stderr.contains("deleted "),
        "{pruned:?}"
    );
    let left = files(&project);
    assert!(
        left.contains(ocr)
            && !left
                .iter()
                .any(|name| name.contains("large") || name.contains("bodies")),
        "{left:?}"
    );
    assert_eq!(left.len(), 3, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_without_an_effect_are_errors() {
    let (project, server) = (Project::new(), server().await);
    for (arguments, message) in [
        (&["--mode", "replay", "--prune"][..], "--prune needs mode record"),
        (&["--mode", "record", "--all-scopes"], "--all-scopes"),
        (&["--mode", "record", "--save-on", "failure"], "--save-on"),
    ] {
        let done = run(&project, &server, arguments, "ask /v1/embeddings");
        assert_eq!(done.code(), 2, "{done:?}");
        assert!(done.stderr.contains(message), "{done:?}");
    }
    assert_eq!((server.call_count(), files(&project).len()), (0, 0));
}

/// Records a response in a session of a test that then fails or succeeds.
async fn record(directory: &Path, succeeds: bool) {
    let options = TestOptions::new().mode(Mode::Replay).name("suite/test");
    let session = cassette!(options.directory(directory).save(Save::OnSuccess));
    let upstream = async |_: Request| Ok(Response::new(StatusCode::OK, "{\"id\":\"1\"}"));
    let request = Request::post("/v1/embeddings").unwrap().body("{}");
    session
        .recorder()
        .answer(request, upstream)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let ended = catch_unwind(AssertUnwindSafe(move || {
        let _session = session;
        assert!(succeeds, "the test failed");
    }));
    assert_eq!(ended.is_ok(), succeeds);
}

#[tokio::test]
async fn a_failed_test_saves_nothing_with_save_on_success() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), false).await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    record(folder.path(), true).await;
    assert!(folder.path().join("suite/test/embeddings").is_dir());
}

#[tokio::test]
async fn the_first_run_without_a_key_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("cassettes");
    let session = cassette!(TestOptions::from(Mode::Replay).directory(&directory)).allow_failures();
    let request = Request::post("/v1/embeddings").unwrap().body("{}");
    let upstream = mistral_cassette::Upstream::builder()
        .base_url("http://127.0.0.1:9")
        .build()
        .unwrap();
    let error = session.recorder().answer(request, upstream).await.unwrap_err();
    let message = error
        .to_string()
        .replace(&directory.display().to_string(), "[cassettes]");
    let (first, advice) = message.split_once('\n').unwrap();
    assert!(
        first.ends_with(", mode replay, and there is no API key to send the request with)"),
        "{first}"
    );
    assert_eq!(
        advice,
        "nothing is recorded yet: there is no directory [cassettes]\n\
         hint: to record it, run the same with your key in MISTRAL_API_KEY"
    );
}
