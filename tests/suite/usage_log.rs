//! The usage log, `run --fail-unused` and `prune`, with the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::project::{Done, Project, done};
use crate::support::skip::is_left_out;
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Request, Response, Scope};
use serde_json::{Value, json};

const LEDGER: &str = "target/ledger";

/// A project with these cassettes; the response of a cassette named `large` is in `bodies/`.
async fn project(cassettes: &[(&str, &str)]) -> Project {
    let project = Project::new();
    fs::create_dir_all(project.path().join("target")).unwrap();
    let recorder = Recorder::builder(DirectoryEngine::new(project.cassettes()))
        .mode(Mode::Record)
        .allow_record_in_ci()
        .build()
        .unwrap();
    for (scope, name) in cassettes {
        let scope = if scope.is_empty() {
            Scope::root()
        } else {
            Scope::new(scope).unwrap()
        };
        let text = if name.starts_with("large") {
            format!("{name} {}", "word ".repeat(20_000))
        } else {
            format!("about {name}")
        };
        let answer = json!({ "choices": [{ "message": { "content": text } }] }).to_string();
        let upstream = async move |_: Request| Ok(Response::new(http::StatusCode::OK, answer.into_bytes()));
        let response = recorder.scoped(scope).answer(question(name), upstream).await.unwrap();
        response.bytes().await.unwrap();
    }
    recorder.finish().await.unwrap();
    project
}

fn body(name: &str) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": name }] })
}

fn question(name: &str) -> Request {
    Request::post("/v1/chat/completions")
        .unwrap()
        .json(&body(name))
        .unwrap()
}

/// A script that sends these requests.
fn asking(names: &[&str]) -> String {
    let curl = |name: &&str| {
        format!(
            "curl -s -o /dev/null $MISTRAL_SERVER_URL/v1/chat/completions -H 'content-type: application/json' -d '{}'; ",
            body(name)
        )
    };
    names.iter().map(curl).collect()
}

/// `run` in mode strict with these flags and requests.
fn run(project: &Project, flags: &[&str], names: &[&str]) -> Done {
    let script = asking(names);
    let mut arguments = vec!["run", "--mode", "strict"];
    arguments.extend(flags);
    arguments.extend(["--", "sh", "-c", &script]);
    project.run(&arguments)
}

fn prune(project: &Project, flags: &[&str]) -> Done {
    let mut arguments = vec!["prune", "--ledger", LEDGER];
    arguments.extend(flags);
    project.run(&arguments)
}

/// The output with machine-independent names and keys.
fn report_text(done: &Done) -> String {
    format!("status {}\n{}{}", done.code(), done.stdout, done.stderr)
}

fn lines(log_file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log_file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn committed(project: &Project) {
    project.git(&["init", "-q"]);
    project.write(".gitignore", "target\n");
    project.git(&["add", "-A"]);
    project.git(&["commit", "-qm", "cassettes"]);
}

fn file(project: &Project, name: &str) -> Option<PathBuf> {
    let tree = project.tree();
    let found = tree.keys().find(|path| path.contains(&format!("/{name}-")))?;
    Some(project.path().join(found))
}

fn cassettes(project: &Project) -> Vec<String> {
    let tree = project.tree();
    let cassettes = tree.keys().filter(|path| path.starts_with("cassettes/"));
    cassettes.cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_writes_a_line_for_each_cassette_and_scope() {
    let project = project(&[("", "alpha"), ("suite", "beta")]).await;
    run(&project, &["--ledger", LEDGER], &["alpha", "alpha", "alpha", "gamma"]);
    let project = project.with("MISTRAL_CASSETTE_LEDGER", LEDGER);
    run(&project, &["--scope", "suite"], &["beta"]);
    let lines = lines(&project.path().join(LEDGER));
    let directory = fs::canonicalize(project.cassettes()).unwrap().display().to_string();
    let mut seen = Vec::new();
    for line in &lines {
        assert_eq!(
            (&line["ledger"], line["directory"].as_str()),
            (&json!(1), Some(&*directory))
        );
        assert!(line["session"].is_string() && line["at"].as_str().unwrap().ends_with('Z'));
        seen.push(match line["scopes"].as_array() {
            Some(scopes) => format!("scopes {scopes:?}"),
            None => {
                assert_eq!(line["key"].as_str().unwrap().len(), 64);
                let name = line["name"].as_str().unwrap();
                let name = name.rsplit_once('-').unwrap().0;
                let more = line["more"]
                    .as_u64()
                    .map(|more| format!(", {more} more"))
                    .unwrap_or_default();
                format!("{} {name} in {}{more}", line["what"], line["scope"])
            }
        });
    }
    assert_eq!(
        seen,
        [
            "scopes [String(\"\")]",
            "\"replayed\" chat-completions/alpha in \"\"",
            "\"missed\" chat-completions/gamma in \"\"",
            "\"replayed\" chat-completions/alpha in \"\", 2 more",
            "scopes [String(\"suite\")]",
            "\"replayed\" suite/chat-completions/beta in \"suite\"",
        ]
    );
    assert_ne!(lines[0]["session"], lines[4]["session"]);
}

/// The former names are `--ledger` and `MISTRAL_CASSETTE_LEDGER`.
#[tokio::test(flavor = "multi_thread")]
async fn the_usage_log_flag_and_variable_accept_their_former_names() {
    let mut project = project(&[("", "alpha"), ("", "beta")]).await;
    committed(&project);
    for flag in ["--usage-log", "--ledger"] {
        let file = format!("target/by{flag}");
        assert_eq!(run(&project, &[flag, &file], &["alpha"]).code(), 0);
        assert!(!lines(&project.path().join(&file)).is_empty(), "{flag}");
        for command in ["prune", "stats"] {
            let done = project.run(&[command, flag, &file]);
            assert_eq!(done.code(), 0, "{}", report_text(&done));
        }
        let pruned = project.run(&["prune", flag, &file]).stdout;
        assert!(
            pruned.starts_with("would delete cassettes/chat-completions/beta-"),
            "{pruned}"
        );
    }
    // The new variable takes precedence.
    for variable in ["MISTRAL_CASSETTE_LEDGER", "MISTRAL_CASSETTE_USAGE_LOG"] {
        let file = format!("target/by-{variable}");
        project = project.with(variable, &file);
        assert_eq!(run(&project, &[], &["alpha"]).code(), 0);
        let before = lines(&project.path().join(&file)).len();
        assert_eq!(before, 2, "{variable}");
        assert!(
            !project.run(&["stats"]).stdout.contains("--usage-log adds"),
            "{variable}"
        );
    }
    assert_eq!(
        lines(&project.path().join("target/by-MISTRAL_CASSETTE_LEDGER")).len(),
        2
    );
    // The command of `run` finds the file under both names.
    let script = "echo $MISTRAL_CASSETTE_LEDGER; echo $MISTRAL_CASSETTE_USAGE_LOG";
    let done = project.run(&["run", "--usage-log", "target/of-run", "--", "sh", "-c", script]);
    let named: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(named.len(), 2, "{}", report_text(&done));
    assert!(named.iter().all(|name| name.ends_with("/target/of-run")), "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_session_writes_its_test_and_its_recordings() {
    let project = Project::new();
    let log_file = project.path().join("ledger");
    let recorder = Recorder::builder(DirectoryEngine::new(project.cassettes()))
        .mode(Mode::Replay)
        .usage_log(&log_file)
        .test("winds::asks")
        .build()
        .unwrap();
    for _ in 0..2 {
        let upstream = async |_: Request| Ok(Response::new(http::StatusCode::OK, "{}"));
        let response = recorder.answer(question("alpha"), upstream).await.unwrap();
        response.bytes().await.unwrap();
    }
    let lines = lines(&log_file);
    let used: Vec<_> = lines.iter().filter(|line| line["what"].is_string()).collect();
    assert_eq!(used.len(), 2);
    assert_eq!(
        (&used[0]["what"], &used[1]["what"]),
        (&json!("recorded"), &json!("replayed"))
    );
    assert!(used.iter().all(|line| line["test"] == "winds::asks"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_usage_log_that_cannot_be_written_is_an_error_at_the_start() {
    let project = project(&[("", "alpha")]).await;
    let done = run(&project, &["--ledger", "no/such/folder"], &["alpha"]);
    assert_eq!(done.code(), 2);
    assert!(
        done.stderr.contains("cannot write the usage log ") && done.stderr.contains("no/such/folder\n"),
        "{}",
        done.stderr
    );
}

/// Eight concurrent processes append, each with forty requests; another one is killed repeatedly.
#[tokio::test(flavor = "multi_thread")]
async fn many_processes_write_one_usage_log_and_a_killed_one_damages_nothing() {
    if is_left_out() {
        return;
    }
    let names: Vec<String> = (0..40).map(|number| format!("cassette{number}")).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| ("", name.as_str())).collect();
    let project = project(&all).await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let script = asking(&names);
    let arguments = ["run", "--mode", "strict", "--ledger", LEDGER, "--", "sh", "-c", &script];
    let start = || {
        let mut command = project.command(&arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let running: Vec<_> = (0..8).map(|_| start()).collect();
    for after in [150, 300, 450] {
        let mut killed = start();
        std::thread::sleep(Duration::from_millis(after));
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    // Every line is complete.
    let lines = lines(&project.path().join(LEDGER));
    let mut sessions = std::collections::BTreeMap::new();
    for line in &lines {
        let used = usize::from(line["what"] == "replayed");
        *sessions.entry(line["session"].to_string()).or_insert(0) += used;
    }
    let whole = sessions.values().filter(|used| **used == 40).count();
    assert!(whole >= 8, "{sessions:?}");
    let pruned = prune(&project, &[]);
    assert_eq!(pruned.code(), 0, "{}", report_text(&pruned));
    assert!(
        pruned.stdout.starts_with("0 cassettes and 0 bodies to delete"),
        "{}",
        report_text(&pruned)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_line_affects_no_other_line_and_prevents_prune_from_deleting() {
    let project = project(&[("", "alpha"), ("", "beta")]).await;
    committed(&project);
    run(&project, &["--ledger", LEDGER], &["alpha"]);
    let log_file = project.path().join(LEDGER);
    // The disk was full while the previous line was written.
    let text = fs::read_to_string(&log_file).unwrap();
    fs::write(&log_file, format!("{{\"ledger\":1,\"at\":\"2026-{text}")).unwrap();
    let shown = prune(&project, &[]);
    assert!(
        shown.stdout.contains("would delete cassettes/chat-completions/beta-") && !shown.stdout.contains("alpha"),
        "{}",
        report_text(&shown)
    );
    let done = prune(&project, &["--yes"]);
    assert_eq!(done.code(), 2);
    assert!(
        done.stderr.contains("1 line of the usage log cannot be read"),
        "{}",
        report_text(&done)
    );
    assert_eq!(cassettes(&project).len(), 2);
    assert_eq!(prune(&project, &["--yes", "--force"]).code(), 0);
    assert_eq!(cassettes(&project).len(), 1);
}

/// Truncated lines are reported, and the other lines are used.
#[tokio::test(flavor = "multi_thread")]
async fn run_reports_unreadable_lines_of_the_usage_log() {
    let project = project(&[("", "alpha"), ("", "beta")]).await;
    project.write(LEDGER, "of an earlier run, and broken\n");
    // The proxy appends its lines to these three, one of which is empty.
    let break_lines =
        format!("printf '%s\\n' '{{\"ledger\":1,\"at\"' '' '{{\"ledger\":1,\"session\":[]}}' >> {LEDGER}\n");
    for (names, code) in [(&["alpha", "beta"][..], 0), (&["alpha"], 1)] {
        let before = lines_in(&project);
        let script = format!("{break_lines}{}", asking(names));
        let done = project.run(&[
            "run",
            "--mode",
            "strict",
            "--ledger",
            LEDGER,
            "--fail-unused",
            "--",
            "sh",
            "-c",
            &script,
        ]);
        assert_eq!(done.code(), code, "{}", report_text(&done));
        let warnings: Vec<&str> = done
            .stderr
            .lines()
            .filter(|line| line.starts_with("mistral-cassette: warning: "))
            .collect();
        let is_told = |(line, warning): (usize, &&str)| {
            warning.ends_with(&format!(
                "{LEDGER}:{line}: the line cannot be read, and may name used cassettes"
            ))
        };
        assert_eq!(warnings.len(), 2, "{}", report_text(&done));
        assert!(
            [before + 1, before + 3].into_iter().zip(&warnings).all(is_told),
            "{}",
            report_text(&done)
        );
    }
}

fn lines_in(project: &Project) -> usize {
    fs::read_to_string(project.path().join(LEDGER)).unwrap().lines().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_fails_for_unused_recordings_in_the_scopes_that_were_used() {
    let project = project(&[("", "alpha"), ("", "beta"), ("suite", "gamma")]).await;
    let done = run(&project, &["--fail-unused"], &["alpha"]);
    let beta = file(&project, "beta").unwrap();
    let beta = beta.strip_prefix(project.path()).unwrap().display().to_string();
    assert_eq!(
        report_text(&done),
        format!(
            "status 1\nmistral-cassette: 1 replayed, 0 recorded\n\
             mistral-cassette: not checked without --all-scopes, because no request used these scopes: suite\n\
             mistral-cassette: 1 cassette not used:\n  {beta}\n\
             hint: mistral-cassette prune deletes unused cassettes, given the usage log of a complete run\n"
        )
    );
    assert_eq!(run(&project, &["--fail-unused"], &["alpha", "beta"]).code(), 0);
    assert_eq!(
        run(&project, &["--fail-unused", "--scope", "suite"], &["gamma"]).code(),
        0
    );
    let done = run(&project, &["--fail-unused", "--all-scopes"], &["alpha", "beta"]);
    assert_eq!(done.code(), 1);
    assert!(done.stderr.contains("suite/chat-completions/gamma-"), "{}", done.stderr);
    assert!(!done.stderr.contains("not checked"), "{}", done.stderr);
    // Recordings used by an earlier run do not count.
    assert_eq!(run(&project, &["--ledger", LEDGER], &["alpha", "beta"]).code(), 0);
    let done = run(&project, &["--ledger", LEDGER, "--fail-unused"], &["alpha"]);
    assert_eq!(done.code(), 1);
    assert!(done.stderr.contains(&beta), "{}", done.stderr);
}

/// Recordings that the command replays without the proxy count as well.
#[tokio::test(flavor = "multi_thread")]
async fn run_counts_recordings_that_the_command_replays_itself() {
    let project = project(&[("", "alpha"), ("", "beta")]).await;
    let script = format!(
        "{}{} run --mode strict -- sh -c \"$INNER\"",
        asking(&["alpha"]),
        env!("CARGO_BIN_EXE_mistral-cassette")
    );
    let mut command = project.command(&["run", "--mode", "strict", "--fail-unused", "--", "sh", "-c", &script]);
    let done = done(command.env("INNER", asking(&["beta"])));
    assert_eq!(done.code(), 0, "{}", report_text(&done));
}

/// The processes of the command have sessions of their own, as those of `cargo test`.
#[tokio::test(flavor = "multi_thread")]
async fn the_summary_of_run_counts_the_sessions_of_the_command() {
    let project = project(&[("", "alpha"), ("", "beta")]).await;
    let inner = "$BINARY run --mode strict -- sh -c";
    let (twice, missed) = (asking(&["beta", "beta", "alpha"]), asking(&["beta", "gamma"]));
    let sessions = format!("{inner} \"{}\"; {inner} \"{}\"", "$TWICE", "$MISSED");
    let last_line = |flags: &[&str], script: &str| {
        let mut arguments = vec!["run", "--mode", "strict"];
        arguments.extend(flags);
        arguments.extend(["--", "sh", "-c", script]);
        let mut command = project.command(&arguments);
        command.env("BINARY", env!("CARGO_BIN_EXE_mistral-cassette"));
        let done = done(command.env("TWICE", &twice).env("MISSED", &missed));
        let last = done.stderr.lines().rfind(|line| line.starts_with("mistral-cassette: "));
        last.unwrap_or_else(|| panic!("{}", report_text(&done))).to_owned()
    };
    let counts = "sessions of the command: 4 replayed, 0 recorded, 1 missed";
    assert_eq!(
        last_line(&[], &sessions),
        format!("mistral-cassette: 0 replayed, 0 recorded; {counts}")
    );
    // The lines of earlier runs in a usage log that the user names do not count.
    let both = format!("{}{sessions}; exit 0", asking(&["alpha"]));
    for _ in 0..2 {
        assert_eq!(
            last_line(&["--usage-log", LEDGER, "--allow-no-requests"], &both),
            format!("mistral-cassette: 1 replayed, 0 recorded; {counts}")
        );
    }
    // A usage log that the command begins again.
    let again = format!("rm {LEDGER}; {sessions}; exit 0");
    assert_eq!(
        last_line(&["--usage-log", LEDGER], &again),
        format!("mistral-cassette: 0 replayed, 0 recorded; {counts}")
    );
    let failed = format!("{}{sessions}; exit 0", asking(&["gamma"]));
    assert_eq!(
        last_line(&[], &failed),
        format!("mistral-cassette: 0 replayed, 0 recorded, 1 missed; {counts}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_lists_what_it_would_delete_and_deletes_with_yes() {
    let project = project(&[("", "alpha"), ("", "beta"), ("old/suite", "gamma"), ("other", "delta")]).await;
    committed(&project);
    run(&project, &["--ledger", LEDGER], &["alpha"]);
    run(&project, &["--ledger", LEDGER, "--scope", "old/suite"], &["nothing"]);
    let before = project.tree();
    let names = |tree: &str| -> String {
        let names = tree.split(' ').map(|word| match word.rsplit_once('-') {
            Some((name, key)) if key.starts_with(|digit: char| digit.is_ascii_hexdigit()) => format!("{name}-…"),
            _ => word.to_owned(),
        });
        names.collect::<Vec<_>>().join(" ")
    };
    insta::assert_snapshot!(names(&report_text(&prune(&project, &[]))), @"
    status 0
    would delete cassettes/chat-completions/beta-… (not used)
    would delete cassettes/old/suite/chat-completions/gamma-… (not used)
    2 cassettes and 0 bodies to delete, 0 skipped; the usage log contains 2 sessions
    1 cassette in scopes that the usage log does not contain (other): not checked without --all-scopes
    --yes deletes them
    ");
    assert!(project.tree() == before, "without --yes nothing is written");
    let json: Value = serde_json::from_str(&prune(&project, &["--format", "json"]).stdout).unwrap();
    assert_eq!(
        (&json["deleted"], &json["unseen"], &json["sessions"]),
        (&json!(false), &json!(1), &json!(2))
    );
    assert_eq!(json["cassettes"].as_array().unwrap().len(), 2);
    assert_eq!(json["scopes"], json!(["", "old/suite"]));
    assert_eq!(json["unseen_scopes"], json!(["other"]));
    let all = prune(&project, &["--all-scopes", "--format", "json"]);
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(
        (all["cassettes"].as_array().unwrap().len(), &all["unseen"]),
        (3, &json!(0))
    );
    assert_eq!(prune(&project, &["--yes"]).code(), 0);
    let left: Vec<String> = cassettes(&project);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left[0].contains("/alpha-") && left[1].contains("other/chat-completions/delta-"),
        "{left:?}"
    );
    assert!(!project.cassettes().join("old").exists(), "empty folders go");
    assert!(!prune(&project, &["--yes"]).stdout.contains("deleted cassettes/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_leaves_files_that_git_cannot_restore() {
    let project = project(&[("", "alpha"), ("", "clean"), ("", "changed"), ("", "staged")]).await;
    let staged = fs::read(file(&project, "staged").unwrap()).unwrap();
    let staged_at = file(&project, "staged").unwrap();
    fs::remove_file(&staged_at).unwrap();
    committed(&project);
    fs::write(&staged_at, &staged).unwrap();
    project.git(&["add", staged_at.to_str().unwrap()]);
    let changed = file(&project, "changed").unwrap();
    fs::write(&changed, fs::read_to_string(&changed).unwrap() + "# a note\n").unwrap();
    // A copy under another key is untracked; one that git ignores is not tracked.
    let folder = changed.parent().unwrap();
    fs::copy(&changed, folder.join("untracked-0123456789abcdef.yaml")).unwrap();
    fs::copy(&changed, folder.join("ignored-1123456789abcdef.yaml")).unwrap();
    project.write(".git/info/exclude", "ignored-*\n");
    run(&project, &["--ledger", LEDGER], &["alpha"]);
    let done = prune(&project, &["--yes"]);
    assert_eq!(done.code(), 1, "{}", report_text(&done));
    for (name, why) in [
        ("changed", "modified in git"),
        ("staged", "staged and not committed in git"),
        ("untracked", "untracked in git"),
        ("ignored", "not tracked in git"),
    ] {
        let line = done
            .stdout
            .lines()
            .find(|line| line.contains(&format!("/{name}-")))
            .unwrap();
        assert!(line.starts_with("skipped ") && line.contains(why), "{line}");
        assert!(file(&project, name).is_some(), "{name}");
    }
    assert!(file(&project, "clean").is_none());
    assert_eq!(prune(&project, &["--yes", "--force"]).code(), 0);
    assert_eq!(cassettes(&project).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_without_git_requires_force() {
    let project = project(&[("", "alpha"), ("", "beta")]).await;
    run(&project, &["--ledger", LEDGER], &["alpha"]);
    let shown = prune(&project, &[]);
    assert!(
        shown.code() == 0 && shown.stdout.contains("cassettes is not in a git repository"),
        "{}",
        report_text(&shown)
    );
    let without_git = project.with("PATH", "/nowhere");
    let shown = prune(&without_git, &[]);
    assert!(shown.stdout.contains("git is not installed"), "{}", report_text(&shown));
    let project = without_git.with("PATH", &std::env::var("PATH").unwrap());
    // An error in a repository does not mean that there is no repository.
    project.git(&["init", "--quiet"]);
    project.write(".git/config", "[core\n");
    for command in [&["prune", "--ledger", LEDGER, "--yes"][..], &["diff", "HEAD"]] {
        let refused = project.run(command);
        assert!(
            refused.code() == 2
                && refused.stderr.contains("fatal: bad config")
                && !refused.stderr.contains("not in a git repository"),
            "{}",
            report_text(&refused)
        );
    }
    fs::remove_dir_all(project.path().join(".git")).unwrap();
    let refused = prune(&project, &["--yes"]);
    assert!(
        refused.code() == 2 && refused.stderr.contains("nothing was deleted"),
        "{}",
        report_text(&refused)
    );
    assert_eq!(cassettes(&project).len(), 2);
    assert_eq!(prune(&project, &["--yes", "--force"]).code(), 0);
    assert_eq!(cassettes(&project).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_deletes_unreferenced_bodies() {
    let project = project(&[("", "large one"), ("", "large two"), ("other", "large three")]).await;
    project.write(&format!("cassettes/bodies/{}", "0".repeat(64)), "of nobody");
    project.write("cassettes/bodies/README", "not one of ours");
    committed(&project);
    run(&project, &["--ledger", LEDGER], &["large one"]);
    let done = prune(&project, &["--yes"]);
    assert_eq!(done.code(), 0, "{}", report_text(&done));
    assert!(
        done.stdout.contains("1 cassette and 2 bodies deleted"),
        "{}",
        report_text(&done)
    );
    let left = cassettes(&project);
    let bodies = left.iter().filter(|path| path.starts_with("cassettes/bodies/")).count();
    assert_eq!((left.len(), bodies), (5, 3), "{left:?}");
    assert_eq!(project.run(&["verify"]).code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_cassette_prevents_the_deletion_of_bodies() {
    let project = project(&[("", "alpha"), ("other", "large three")]).await;
    fs::write(file(&project, "large-three").unwrap(), "version: [").unwrap();
    committed(&project);
    run(&project, &["--ledger", LEDGER], &["alpha"]);
    let done = prune(&project, &["--yes"]);
    assert!(
        done.code() == 0 && done.stdout.contains("cannot be read, and may refer to it"),
        "{}",
        report_text(&done)
    );
    assert_eq!(cassettes(&project).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_ignores_the_usage_log_of_another_directory() {
    let project = project(&[("", "alpha")]).await;
    run(&project, &["--ledger", LEDGER, "--dir", "elsewhere"], &["alpha"]);
    let done = prune(&project, &["--yes", "--force"]);
    assert_eq!(done.code(), 2);
    assert!(
        done.stderr.contains("contains no session of cassettes") && done.stderr.contains("elsewhere"),
        "{}",
        report_text(&done)
    );
    let missing = project.run(&["prune", "--ledger", "none"]);
    assert!(
        missing.code() == 2 && missing.stderr.contains("the usage log none does not exist"),
        "{}",
        report_text(&missing)
    );
    for command in [
        &["prune", "--ledger", LEDGER, "--dir", "memory:"][..],
        &["run", "--fail-unused", "--dir", "memory:", "--", "true"],
    ] {
        let cache = project.run(command);
        assert!(
            cache.code() == 2
                && cache
                    .stderr
                    .contains("needs a cassette directory, but memory: is a cache"),
            "{}",
            report_text(&cache)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_and_savings_are_reported_by_model_and_test() {
    let project = Project::new();
    project.write(LEDGER, "");
    let answer = async |_: Request| {
        let usage = json!({ "prompt_tokens": 1_000_000, "completion_tokens": 100_000, "total_tokens": 1_100_000 });
        let answer = json!({ "choices": [], "usage": usage }).to_string().into_bytes();
        Ok(Response::new(http::StatusCode::OK, answer))
    };
    for (test, mode, questions) in [
        ("winds::asks", Mode::Record, &["alpha", "beta"][..]),
        ("winds::asks", Mode::Strict, &["alpha", "alpha", "beta"]),
        ("storms::asks", Mode::Strict, &["alpha"]),
    ] {
        let recorder = Recorder::builder(DirectoryEngine::new(project.cassettes()))
            .mode(mode)
            .allow_record_in_ci()
            .usage_log(project.path().join(LEDGER))
            .test(test)
            .build()
            .unwrap();
        for name in questions {
            let mut body = body(name);
            body["model"] = if *name == "alpha" {
                "mistral-small-latest"
            } else {
                "nobody-knows"
            }
            .into();
            let question = Request::post("/v1/chat/completions").unwrap().json(&body).unwrap();
            recorder.answer(question, answer).await.unwrap().bytes().await.unwrap();
        }
        recorder.finish().await.unwrap();
    }
    let done = project.run(&["stats", "--ledger", LEDGER]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let table = done.stdout.split_once("\n\n").unwrap().1;
    let table = table.split_once("in US dollars").unwrap().0;
    insta::assert_snapshot!(table, @r"
    model                 cassettes      tokens        cost     replays       saved
    mistral-small-latest          1     1100000       $0.21           3       $0.63
    nobody-knows                  1     1100000    no price           1       $0.00

    test          cassettes      tokens        cost     replays       saved
    storms::asks          0           0       $0.00           1       $0.21
    winds::asks           2     2200000     > $0.21           3       $0.42
    ");
    let without = project.run(&["stats", "--format", "json"]);
    let without: Value = serde_json::from_str(&without.stdout).unwrap();
    assert_eq!(
        without["costs"]["models"]["mistral-small-latest"],
        json!({ "cassettes": 1, "tokens": 1_100_000, "cost": 0.21, "without_price": 0 })
    );
    assert!(
        without["costs"]["prices"]["source"]
            .as_str()
            .unwrap()
            .contains("mistral.ai")
    );
}
