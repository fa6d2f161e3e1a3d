//! Every example runs offline from the committed cassettes, with no key and nothing listening.
//!
//! `RECORD_EXAMPLES=1 cargo test --features cli --test suite examples::` records those cassettes again, from the stand-in
//! for the API in `support/api.rs`; with a key, `MISTRAL_CASSETTE_MODE=record cargo run --example NAME` records from
//! the API.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::support::project::done;
use crate::support::{KEY, api};

const EXAMPLES: [&str; 6] = ["chat", "stream", "custom_engine", "middleware", "tools", "embeddings"];

fn example(name: &str) -> Command {
    let mut command = match built(name) {
        Some(binary) => Command::new(binary),
        None => {
            let mut command = Command::new(env!("CARGO"));
            command.args(["run", "--quiet", "--example", name]);
            if name == "hyper" {
                command.args(["--features", "tower"]);
            }
            command
        }
    };
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for variable in ["CI", "MISTRAL_API_KEY", "MISTRAL_CASSETTE_MODE"] {
        command.env_remove(variable);
    }
    // Nothing listens on this port: a request that leaves the process fails.
    command.env("MISTRAL_SERVER_URL", "http://127.0.0.1:9");
    command
}

/// The binary that `cargo test` has built, if it is newer than the sources.
fn built(name: &str) -> Option<PathBuf> {
    fn newest(path: &Path) -> Option<SystemTime> {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).ok()?;
            return entries.filter_map(|entry| newest(&entry.ok()?.path())).max();
        }
        std::fs::metadata(path).and_then(|file| file.modified()).ok()
    }
    let binary = std::env::current_exe()
        .ok()?
        .parent()?
        .parent()?
        .join("examples")
        .join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "Cargo.toml", "Cargo.lock", &format!("examples/{name}.rs")];
    let sources = sources.iter().filter_map(|source| newest(&root.join(source))).max()?;
    (newest(&binary)? > sources).then_some(binary)
}

#[tokio::test]
async fn every_example_runs_offline_from_the_committed_cassettes() {
    if std::env::var_os("RECORD_EXAMPLES").is_some() {
        let api = api::start().await;
        for name in EXAMPLES {
            let mut command = example(name);
            command
                .env("MISTRAL_CASSETTE_MODE", "record")
                .env("MISTRAL_API_KEY", KEY)
                .env("MISTRAL_SERVER_URL", &api.url);
            let recorded = tokio::task::spawn_blocking(move || done(&mut command)).await.unwrap();
            assert!(recorded.status.success(), "{name}: {}", recorded.stderr);
        }
        let mut test = Command::new(env!("CARGO"));
        test.args(["test", "--quiet", "--test", "readme"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("CI");
        test.env("MISTRAL_CASSETTE_MODE", "record")
            .env("MISTRAL_API_KEY", KEY)
            .env("MISTRAL_SERVER_URL", &api.url);
        let recorded = tokio::task::spawn_blocking(move || done(&mut test)).await.unwrap();
        assert!(recorded.status.success(), "{}{}", recorded.stdout, recorded.stderr);
    }
    let mut output = String::new();
    for name in EXAMPLES {
        let replayed = done(&mut example(name));
        assert!(replayed.status.success(), "{name}: {}", replayed.stderr);
        output.push_str(&format!("$ cargo run --example {name}\n{}\n", replayed.stdout));
    }
    insta::assert_snapshot!(output);
}

#[cfg(all(feature = "middleware", feature = "tower"))]
#[test]
fn a_program_on_hyper_replays_the_cassette_of_the_program_on_reqwest() {
    let [hyper, reqwest] = ["hyper", "middleware"].map(|name| done(&mut example(name)));
    assert!(hyper.status.success(), "{}", hyper.stderr);
    assert_eq!(hyper.stdout, reqwest.stdout);
}

#[test]
fn every_example_has_fewer_than_60_lines() {
    for name in EXAMPLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(format!("{name}.rs"));
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines < 60, "{name} has {lines} lines");
    }
}
