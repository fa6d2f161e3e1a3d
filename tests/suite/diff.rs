//! `diff`: files, directories, and a git revision compared with the working tree.

use std::process::Command;

use crate::support::project::{Project, done};
use crate::support::server::{Reply, Server};
use serde_json::Value;

/// Records three questions, a stream and an upload from a server with these responses.
async fn record(project: &Project, dir: &str, answer: impl Fn(&str) -> Reply + Send + Sync + 'static) {
    let server = Server::start(move |_, call| {
        let requested = String::from_utf8_lossy(&call.body).into_owned();
        answer(&requested)
    })
    .await;
    let script = r#"
        ask() { curl --silent --output /dev/null "$MISTRAL_SERVER_URL/v1/$1" -d "$2"; }
        for word in wording tool ending shape same; do
            ask chat/completions '{"messages":[{"role":"user","content":"'$word'"}]}'
        done
        ask chat/completions '{"stream":true,"messages":[{"role":"user","content":"stream"}]}'
        head -c 100000 /dev/zero | curl --silent --output /dev/null "$MISTRAL_SERVER_URL/v1/files" -F purpose=ocr -F file=@-
    "#;
    let mut command = project.command(&["run", "--mode", "record", "--dir", dir, "--upstream", &server.url]);
    let done = done(command.args(["--", "sh", "-c", script]));
    assert_eq!(done.code(), 0, "{}", done.stderr);
}

fn old(requested: &str) -> Reply {
    if requested.contains("stream") {
        return Reply::events(
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"It is Paris.\"}}]}\n\ndata: [DONE]\n\n",
        );
    }
    Reply::json(
        r#"{"id":"1","choices":[{"finish_reason":"stop","message":{"content":"It is Paris.","tool_calls":[{"function":{"arguments":"{}"}}]}}]}"#,
    )
}

fn new(requested: &str) -> Reply {
    let body = r#"{"id":"2","choices":[{"finish_reason":"stop","message":{"content":"It is Paris.","tool_calls":[{"function":{"arguments":"{}"}}]}}]}"#;
    let (what, with) = match requested {
        requested if requested.contains("wording") => ("It is Paris.", "It is Lyon."),
        requested if requested.contains("tool") => ("\"{}\"", r#""{\"a\":1}""#),
        requested if requested.contains("ending") => (r#""stop""#, r#""length""#),
        requested if requested.contains("shape") => (r#""id":"2","#, r#""id":"2","new":true,"#),
        requested if requested.contains("stream") => {
            return Reply::events(
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"It is \"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Paris.\"}}]}\n\ndata: [DONE]\n\n",
            );
        }
        _ => ("", ""),
    };
    Reply::json(body.replace(what, with))
}

fn without_keys() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("-[0-9a-f]{16}", "-[key]");
    settings.bind_to_scope()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_reported_with_its_kind() {
    let _redacted = without_keys();
    let project = Project::new();
    record(&project, "old", old).await;
    record(&project, "new", new).await;
    let reported = project.run(&["diff", "old", "new"]);
    assert_eq!(reported.code(), 1, "{}", reported.stderr);
    insta::assert_snapshot!("changes", reported.stdout);
    insta::assert_snapshot!("changes_shown", project.run(&["diff", "old", "new", "--show"]).stdout);
    insta::assert_snapshot!("changes_whole", project.run(&["diff", "old", "new", "--full"]).stdout);
    let reported = project.run(&["diff", "old", "new", "--format", "json"]);
    let reported: Value = serde_json::from_str(&reported.stdout).unwrap();
    assert_eq!(reported["cassettes"].as_array().unwrap().len(), 7);

    let same = project.run(&["diff", "old", "old"]);
    assert_eq!(
        (same.code(), same.stdout.as_str()),
        (0, "0 cassettes changed, 7 unchanged\n")
    );
    std::fs::create_dir(project.path().join("empty")).unwrap();
    assert!(
        project
            .run(&["diff", "old", "empty"])
            .stdout
            .contains("gone\n7 cassettes changed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_git_revision_is_compared_with_the_working_tree() {
    let _redacted = without_keys();
    let project = Project::new();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments);
        let done = done(command.current_dir(project.path()));
        assert_eq!(done.code(), 0, "{}", done.stderr);
    };
    git(&["init", "--quiet"]);
    record(&project, "cassettes", old).await;
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "recorded"]);
    assert_eq!(project.run(&["diff", "HEAD"]).code(), 0);
    record(&project, "cassettes", new).await;
    let reported = project.run(&["diff", "HEAD"]);
    assert_eq!(reported.code(), 1, "{}", reported.stderr);
    insta::assert_snapshot!("changes_since_a_revision", reported.stdout);
    // A cassette may be in any folder; hidden files are ignored.
    let files = project.tree();
    let (name, content) = files.iter().find(|(name, _)| name.ends_with(".yaml")).unwrap();
    project.write("cassettes/moved.yaml", content);
    project.write("cassettes/.hidden/chat-completions/x.yaml", "version: [");
    std::fs::remove_file(project.path().join(name)).unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "moved"]);
    let same = project.run(&["diff", "HEAD"]);
    assert_eq!(
        (same.code(), same.stdout.as_str()),
        (0, "0 cassettes changed, 7 unchanged\n"),
        "{}",
        same.stderr
    );
    let unknown = project.run(&["diff", "no-such-thing"]);
    assert_eq!(unknown.code(), 2);
    assert_eq!(
        unknown.stderr,
        "error: \"no-such-thing\" is not a cassette, a directory or a git revision\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_diff_of_two_different_requests_shows_how_they_differ() {
    let project = Project::new();
    record(&project, "cassettes", old).await;
    let files: Vec<String> = project.tree().into_keys().collect();
    let file = |word: &str| files.iter().find(|name| name.contains(word)).unwrap().as_str();
    let reported = project.run(&["diff", file("wording"), file("tool"), "--show"]);
    assert_eq!(reported.code(), 1);
    assert!(
        reported
            .stdout
            .contains("another request\n    @ /body/json/messages/0/content\n    - wording\n    + tool\n"),
        "{}",
        reported.stdout
    );
}
