//! `rekey` after a change of the matching settings, and reading every format version.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::project::{Done, Project};
use crate::support::server::{Reply, Server};

const SETTINGS: &str = "matching:\n  replace:\n  - pattern: '\\d{4}-\\d\\d-\\d\\d'\n    with: <date>\n";

fn ask(project: &Project, mode: &str, upstream: &str, texts: &[&str]) -> Done {
    let asks: Vec<String> = texts
        .iter()
        .map(|text| {
            format!(
                r#"curl --silent "$MISTRAL_SERVER_URL/v1/chat/completions" -d '{{"messages":[{{"role":"user","content":"{text}"}}]}}'"#
            )
        })
        .collect();
    let script = asks.join(" && ");
    project.run(&["run", "--mode", mode, "--upstream", upstream, "--", "sh", "-c", &script])
}

/// A project with three committed recordings, two of which contain a date.
async fn recorded() -> Project {
    let (project, server) = (
        Project::new(),
        Server::start(|number, _| Reply::json(format!(r#"{{"answer":{number}}}"#))).await,
    );
    let done = ask(
        &project,
        "record",
        &server.url,
        &["Today is 2026-11-20.", "Hello", "Tomorrow is 2026-11-21."],
    );
    assert_eq!(done.code(), 0, "{}", done.stderr);
    project.git(&["init", "--quiet"]);
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "--message", "recorded"]);
    project
}

fn cassettes(project: &Project) -> BTreeMap<String, Vec<u8>> {
    project
        .tree()
        .into_iter()
        .filter(|(name, _)| name.starts_with("cassettes/"))
        .collect()
}

const NOWHERE: &str = "http://127.0.0.1:9";

#[tokio::test(flavor = "multi_thread")]
async fn rekey_renames_recordings_after_a_change_of_the_settings() {
    let project = recorded().await;
    project.write("cassettes/settings.yaml", SETTINGS);
    let stale = ask(&project, "strict", NOWHERE, &["Today is 2026-11-20."]);
    assert!(
        stale
            .stderr
            .contains("under another key: the settings for matching, or that file, have changed since"),
        "{}",
        stale.stderr
    );

    let before = cassettes(&project);
    let shown = project.run(&["rekey"]);
    assert_eq!(shown.code(), 0, "{}", shown.stderr);
    assert!(
        shown
            .stdout
            .ends_with("2 cassettes to update, 0 skipped\n--yes updates them\n"),
        "{}",
        shown.stdout
    );
    assert_eq!(cassettes(&project), before);

    let done = project.run(&["rekey", "--yes"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(
        done.stdout.ends_with("2 cassettes updated, 0 skipped\n"),
        "{}",
        done.stdout
    );
    assert_eq!(cassettes(&project).len(), before.len());
    assert_eq!(project.run(&["verify"]).code(), 0);
    let replayed = ask(
        &project,
        "strict",
        NOWHERE,
        &["Today is 2031-01-01.", "Hello", "Tomorrow is 2031-01-02."],
    );
    assert_eq!(
        replayed.stdout, r#"{"answer":0}{"answer":1}{"answer":2}"#,
        "{}",
        replayed.stderr
    );
    assert_eq!(project.run(&["rekey"]).stdout, "0 cassettes to update, 0 skipped\n");
    // Back to the former settings.
    project.git(&["checkout", "--quiet", "."]);
    project.git(&["clean", "--quiet", "--force", "cassettes"]);
    assert_eq!(
        ask(&project, "strict", NOWHERE, &["Hello", "Today is 2026-11-20."]).code(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rekey_leaves_modified_files_and_requests_that_get_the_same_key() {
    let project = recorded().await;
    project.write("cassettes/settings.yaml", "matching: { ignore: [/messages] }\n");
    let shown = project.run(&["rekey"]);
    assert_eq!(shown.code(), 1);
    assert_eq!(
        shown.stdout.matches("its request now has the key of").count(),
        2,
        "{}",
        shown.stdout
    );

    project.write("cassettes/settings.yaml", SETTINGS);
    let file = cassettes(&project)
        .into_keys()
        .find(|name| name.contains("today"))
        .unwrap();
    let text = std::fs::read_to_string(project.path().join(&file)).unwrap();
    project.write(&file, format!("# mine\n{text}"));
    let before = cassettes(&project);
    let done = project.run(&["rekey", "--yes"]);
    assert_eq!(done.code(), 1);
    assert!(
        done.stdout.contains("modified in git: commit it, or add --force"),
        "{}",
        done.stdout
    );
    assert_eq!(cassettes(&project)[&file], before[&file]);
    let done = project.run(&["rekey", "--yes", "--force"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    // Comments of the user stay.
    assert!(cassettes(&project).values().any(|text| text.starts_with(b"# mine\n")));
    std::fs::remove_dir_all(project.path().join(".git")).unwrap();
    project.write("cassettes/settings.yaml", "");
    let refused = project.run(&["rekey", "--yes"]);
    assert_eq!(refused.code(), 2);
    assert!(
        refused.stderr.contains("is not in a git repository"),
        "{}",
        refused.stderr
    );
}

/// Files of every format version; they must never be deleted.
#[test]
fn every_format_version_is_read() {
    const VERSIONS: &[&str] = &["format-1"];
    for version in VERSIONS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(version);
        let project = Project::new();
        let output = |command: &str| {
            let done = project.run(&[command, "--dir", folder.to_str().unwrap()]);
            assert_eq!(done.code(), 0, "{}", done.stderr);
            done.stdout
        };
        assert!(output("verify").ends_with(", 0 problems\n"));
        let listed = output("list");
        assert!(listed.contains(" json") && listed.contains(" events"), "{listed}");
    }
}
