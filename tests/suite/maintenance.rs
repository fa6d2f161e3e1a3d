//! `copy`, `stats`, `remove`, `clear` and caches with every kind of store, with the real binary.

use std::collections::BTreeMap;

use crate::support::api;
use crate::support::project::{Done, Project, done};
#[cfg(feature = "object-store")]
use crate::support::s3;
use crate::support::server::{Reply, Server};
use crate::support::skip::is_left_out;
use serde_json::{Value, json};

/// Commands that record a chat, a stream, an upload and a large body, one of them in a scope.
const ASKS: &str = r#"
set -e
ask() { curl --silent --fail --output /dev/null "$MISTRAL_SERVER_URL$1/v1/$2" -d "$3"; }
ask "" chat/completions '{"model":"m","messages":[{"role":"user","content":"What is the capital of France?"}]}'
ask "" chat/completions '{"model":"m","stream":true,"messages":[{"role":"user","content":"What is the capital of France?"}]}'
ask /c/suite%2Fweather embeddings '{"model":"mistral-embed","input":["a wind"]}'
curl --silent --fail --output /dev/null "$MISTRAL_SERVER_URL/v1/files" -F purpose=ocr -F file=@large.bin
"#;

/// A project with settings and recordings of every kind.
async fn recorded() -> Project {
    let (project, server) = (Project::new(), api::start().await);
    let large: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    project.write("large.bin", large);
    project.write("cassettes/settings.yaml", "# agreed on\npace: recorded\n");
    let done = run(&project, "cassettes", "record", &server.url);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    project
}

fn run(project: &Project, dir: &str, mode: &str, upstream: &str) -> Done {
    done(&mut project.command(&[
        "run",
        "--dir",
        dir,
        "--mode",
        mode,
        "--allow-ci",
        "--upstream",
        upstream,
        "--",
        "sh",
        "-c",
        ASKS,
    ]))
}

/// The files of a cassette directory.
fn files(project: &Project, directory: &str) -> BTreeMap<String, Vec<u8>> {
    let prefix = format!("{directory}/");
    let inside = |(name, content): (String, Vec<u8>)| Some((name.strip_prefix(&prefix)?.to_owned(), content));
    project.tree().into_iter().filter_map(inside).collect()
}

/// Copies to another location and back, which changes no byte, and replays from there.
fn there_and_back(project: &Project, at_location: &str) {
    let printed = |arguments: &[&str]| {
        let done = project.run(arguments);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        done.stdout
    };
    assert_eq!(printed(&["copy", "cassettes", at_location]), "4 copied, 0 unchanged\n");
    assert_eq!(printed(&["copy", "cassettes", at_location]), "0 copied, 4 unchanged\n");
    assert_eq!(printed(&["copy", at_location, "back"]), "4 copied, 0 unchanged\n");
    assert_eq!(files(project, "cassettes"), files(project, "back"));
    let replayed = run(project, at_location, "strict", "http://127.0.0.1:9");
    assert_eq!(replayed.code(), 0, "{}", replayed.stderr);
    assert_eq!(printed(&["verify", "--dir", at_location]), "4 cassettes, 0 problems\n");
    assert_eq!(printed(&["list", "--dir", at_location]), printed(&["list"]));
    assert!(printed(&["show", "--dir", at_location, "capital-of-france"]).contains("Paris"));
    let stats = |at_location| -> Value {
        serde_json::from_str(&printed(&["stats", "--format", "json", "--dir", at_location])).unwrap()
    };
    let (mut here, mut there) = (stats("cassettes"), stats(at_location));
    assert_eq!(here["counts"].take(), Value::Null);
    let counts = there["counts"].take();
    if !counts.is_null() {
        // The strict run above is a separate process.
        assert_eq!((counts["hits"].as_u64(), counts["misses"].as_u64()), (Some(4), Some(0)));
    }
    assert_eq!(here, there);
    std::fs::remove_dir_all(project.path().join("back")).unwrap();

    let refused = project.run(&["clear", "--dir", at_location]);
    assert_eq!(refused.code(), 2);
    assert!(
        refused.stderr.contains("this would remove 4 cassettes"),
        "{}",
        refused.stderr
    );
    assert!(
        printed(&["remove", "--dir", at_location, "embeddings/wind"])
            .starts_with("removed suite/weather/embeddings/wind-")
    );
    assert_eq!(
        printed(&["clear", "--yes", "--dir", at_location]),
        "3 cassettes removed\n"
    );
    assert_eq!(printed(&["list", "--dir", at_location]).lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_copied_byte_for_byte() {
    there_and_back(&recorded().await, "other/folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cassette_that_cannot_be_copied_is_reported_and_does_not_stop_the_others() {
    let project = recorded().await;
    let files = files(&project, "cassettes");
    let stream = files.keys().find(|name| name.contains("embeddings")).unwrap();
    let damaged = format!("cassettes/{stream}");
    project.write(&damaged, "version: 1\n");
    let body = files.keys().find(|name| name.starts_with("bodies/")).unwrap();
    project.write(&format!("cassettes/{body}"), "another one");
    let done = project.run(&["copy", "cassettes", "other"]);
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (1, "2 copied, 0 unchanged, 2 failed\n")
    );
    assert!(
        done.stderr.contains(&damaged) && done.stderr.contains("is damaged"),
        "{}",
        done.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_printed_as_text_and_as_json() {
    let project = recorded().await;
    let done = project.run(&["stats", "--format", "json"]);
    let mut stats: Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(stats["bytes"].take().as_u64().unwrap() > 200_000);
    let tokens = stats["tokens"].take().as_u64().unwrap();
    assert!(tokens > 20);
    let costs = stats["costs"].take();
    assert_eq!(costs["tests"]["-"]["cassettes"], 4);
    let scopes: Vec<_> = costs["scopes"].as_object().unwrap().keys().collect();
    assert_eq!(scopes, ["-", "suite/weather"]);
    // The sum of the models, of the scopes and of the tests is that of all cassettes.
    for rows in ["models", "scopes", "tests"] {
        let rows = costs[rows].as_object().unwrap().values();
        assert_eq!(rows.map(|row| row["tokens"].as_u64().unwrap()).sum::<u64>(), tokens);
    }
    assert!(stats["oldest"].take().as_str() <= stats["newest"].take().as_str());
    assert_eq!(
        stats,
        json!({
            "cassettes": 4, "responses": 4, "bytes": null, "tokens": null, "oldest": null, "newest": null,
            "endpoints": { "chat-completions": 2, "embeddings": 1, "files": 1 }, "damaged": 0, "counts": null, "costs": null,
        })
    );
    let text = project.run(&["stats"]).stdout;
    assert!(text.starts_with("4 cassettes, 4 responses, "), "{text}");
    assert!(
        text.contains("hits and misses are not counted in this store\n"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_requires_a_name_that_matches_one_cassette() {
    let project = recorded().await;
    let before = files(&project, "cassettes");
    for (wanted, reported) in [
        (
            "capital",
            "\"capital\" matches 2 cassettes:\n  chat-completions/capital-",
        ),
        ("nothing-like-it", "no cassette in cassettes matches"),
    ] {
        let done = project.run(&["remove", "embeddings/wind", wanted]);
        assert_eq!(done.code(), 2);
        assert!(done.stderr.contains(reported), "{}", done.stderr);
    }
    // Nothing is removed unless all are found.
    assert_eq!(files(&project, "cassettes"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_location_is_reported_before_anything_is_done() {
    let project = Project::new();
    let mut reported = String::new();
    for at_location in ["ftp://example.com", "memory:x", "memory:?max_bytes=few"] {
        let done = project.run(&["list", "--dir", at_location]);
        reported.push_str(&format!("# {at_location}: exit {}\n{}\n", done.code(), done.stderr));
    }
    insta::assert_snapshot!(reported);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_accepts_a_settings_file_and_a_near_cache() {
    let (project, server) = (recorded().await, api::start().await);
    project.write("other.yaml", "matching: { ignore: [/messages] }\n");
    project.write("wrong.yaml", "matching: { ignored: [] }\n");
    let run = |settings: &str| {
        let ask =
            r#"curl --silent --fail "$MISTRAL_SERVER_URL/v1/chat/completions" -d '{"model":"m","messages":['$0']}'"#;
        let mut arguments = vec![
            "run",
            "--mode",
            "replay",
            "--dir",
            "new",
            "--near",
            "memory:",
            "--settings",
            settings,
        ];
        arguments.extend(["--upstream", &server.url, "--", "sh", "-c"]);
        let script = format!("{} ; {}", ask.replace("$0", "1"), ask.replace("$0", "2"));
        arguments.push(&script);
        project.run(&arguments)
    };
    let done = run("other.yaml");
    assert_eq!(
        (done.code(), done.stderr.as_str()),
        (0, "mistral-cassette: 1 replayed, 1 recorded\n")
    );
    let done = run("wrong.yaml");
    assert_eq!(done.code(), 2);
    assert!(
        done.stderr.contains("cannot read wrong.yaml: line 1"),
        "{}",
        done.stderr
    );
    assert!(run("none.yaml").stderr.contains("cannot read none.yaml"));
}

/// Fifty concurrent commands that miss the same key send one request to the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_processes_make_one_call_with_a_directory() {
    fifty_processes(&Project::new(), "cassettes").await;
}

async fn fifty_processes(project: &Project, dir: &str) {
    let server = Server::start(|number, _| Reply::json(format!(r#"{{"answer":{number}}}"#))).await;
    let script = r#"curl --silent --fail "$MISTRAL_SERVER_URL/v1/chat/completions" -d '{"model":"m"}'"#;
    let mut arguments = vec!["run", "--mode", "replay", "--dir", dir, "--upstream", &server.url];
    // Fifty concurrent processes on a small machine need time to connect.
    arguments.extend(["--engine-timeout", "60", "--", "sh", "-c", script]);
    let processes: Vec<_> = (0..50)
        .map(|_| {
            let mut command = project.command(&arguments);
            std::thread::spawn(move || done(&mut command))
        })
        .collect();
    for process in processes {
        let done = process.join().unwrap();
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (0, r#"{"answer":0}"#),
            "{}",
            done.stderr
        );
    }
    assert_eq!(server.call_count(), 1);
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn redis_stores_the_same_as_a_directory_and_coalesces_fifty_calls() {
    use crate::support::redis::{Redis, has_redis};
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&[]);
    let url = |prefix: &str| format!("redis://127.0.0.1:{}?prefix={prefix}", redis.port);
    there_and_back(&recorded().await, &url("there"));
    fifty_processes(&Project::new(), &url("fifty")).await;
}

#[cfg(feature = "sql")]
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_stores_the_same_as_a_directory_and_coalesces_fifty_calls() {
    there_and_back(&recorded().await, "sqlite:cache.db");
    fifty_processes(&Project::new(), "sqlite:cache.db").await;
}

#[cfg(all(feature = "sql", unix))]
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_stores_the_same_as_a_directory_and_coalesces_fifty_calls() {
    if is_left_out() {
        return;
    }
    use crate::support::postgres::{Postgres, has_postgres};
    if !has_postgres() {
        return;
    }
    let postgres = Postgres::start();
    there_and_back(&recorded().await, &postgres.url(""));
    fifty_processes(&Project::new(), &postgres.url("")).await;
}

#[cfg(feature = "object-store")]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_stores_the_same_as_a_directory_and_coalesces_fifty_calls() {
    if is_left_out() {
        return;
    }
    let Some(s3) = s3::S3::moto() else { return };
    let project = |project: Project| {
        project
            .with("AWS_ACCESS_KEY_ID", s3::KEY_ID)
            .with("AWS_SECRET_ACCESS_KEY", s3::SECRET)
    };
    there_and_back(&project(recorded().await), &s3.url("there"));
    fifty_processes(&project(Project::new()), &s3.url("fifty")).await;
}
