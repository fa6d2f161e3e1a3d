//! Many responses to one request, and two sessions that record the same request.

use crate::support::project::{Project, RunningProxy};
use crate::support::server::{Reply, Server};
use crate::support::wire::ask;
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Request, Response};

/// A job that is always a little further.
fn job(number: usize) -> String {
    format!(
        r#"{{"id":"job-1","object":"batch","status":"RUNNING","total_requests":2000,"completed_requests":{number},"metadata":{{"note":"{}"}}}}"#,
        "x".repeat(200)
    )
}

async fn poll(recorder: &Recorder, number: usize) {
    let upstream = async |_: Request| {
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        Ok(Response::new(http::StatusCode::OK, job(number).into_bytes()).headers(headers))
    };
    let request = Request::get("/v1/batch/jobs/1").unwrap();
    let response = recorder.answer(request, upstream).await.unwrap();
    assert_eq!(response.text().await.unwrap(), job(number));
}

#[tokio::test]
async fn many_responses_to_one_request_are_recorded_and_replay_in_order() {
    const POLLS: usize = 500;
    for mode in [Mode::Record, Mode::Replay] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::builder(DirectoryEngine::new(folder.path()))
            .mode(mode)
            .allow_record_in_ci()
            .build()
            .unwrap();
        for number in 0..POLLS {
            poll(&recorder, number).await;
        }
        assert_eq!(recorder.finish().await.unwrap().recorded, POLLS);
        let strict = Recorder::builder(DirectoryEngine::new(folder.path()))
            .mode(Mode::Strict)
            .build()
            .unwrap();
        for number in 0..POLLS {
            poll(&strict, number).await;
        }
        assert_eq!(strict.finish().await.unwrap().replayed, POLLS);
    }
}

async fn get(proxy: &RunningProxy) {
    assert_eq!(ask(&proxy.url, "GET /v1/batch/jobs/1", "").await.status, 200);
}

/// The numbers of the responses on file, in order.
fn on_file(project: &Project) -> Vec<usize> {
    let tree = project.tree();
    let (_, file) = tree.iter().find(|(name, _)| name.ends_with(".yaml")).unwrap();
    let text = String::from_utf8_lossy(file).into_owned();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("completed_requests: ")?.parse().ok())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_that_record_one_request_do_not_mix_their_responses() {
    let project = Project::new();
    let server = Server::start(|number, _| Reply::json(job(number))).await;
    let record = || project.proxy("record", &server.url, &[]);
    let (one, other) = (record(), record());
    for _ in 0..2 {
        get(&one).await;
    }
    assert_eq!(on_file(&project), [0, 1]);
    get(&other).await;
    assert_eq!(on_file(&project), [2]);
    get(&one).await;
    assert_eq!(on_file(&project), [0, 1, 3]);
    get(&one).await;
    get(&other).await;
    assert_eq!(on_file(&project), [2, 5]);
    for session in [one, other] {
        let done = session.stop();
        let warnings = done.stderr.matches("another session has recorded").count();
        assert_eq!((done.code(), warnings), (0, 1), "{}", done.stderr);
        assert!(done.stderr.contains("cassettes/batch-jobs/"), "{}", done.stderr);
    }
}

/// A file whose format was changed is not taken for that of another session.
#[tokio::test(flavor = "multi_thread")]
async fn a_formatter_that_runs_during_a_session_is_no_other_session() {
    let project = Project::new();
    let server = Server::start(|number, _| Reply::json(job(number))).await;
    let proxy = project.proxy("record", &server.url, &[]);
    get(&proxy).await;
    let tree = project.tree();
    let (name, file) = tree.iter().find(|(name, _)| name.ends_with(".yaml")).unwrap();
    project.write(name, format!("# a comment\n{}", String::from_utf8_lossy(file)));
    get(&proxy).await;
    get(&proxy).await;
    assert_eq!(on_file(&project), [0, 1, 2]);
    let done = proxy.stop();
    assert!(!done.stderr.contains("another session"), "{}", done.stderr);
}
