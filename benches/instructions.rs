//! Counts the instructions of typical tasks with valgrind: `./scripts/instructions`.
//!
//! Unlike times, counts do not depend on the machine, so that they can be compared with those in `instructions.txt`. They are
//! counts of the test profile, which is built anyway; the other benchmarks measure release builds. Each task runs N times and
//! 2 N times, and the difference is counted, so that start and end of the process are excluded.
//!
//! `--update` writes the file. `cargo bench` builds another profile and prints a message only.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use mistral_cassette::{Mode, Request};
use support::{Held, ask, file_of, question, recorder, recorder_on};

/// By how much a count may exceed that in the file.
const MARGIN: f64 = 0.10;

/// The number of recordings in the directory.
const RECORDINGS: usize = 100;

/// The tasks, and how many times each is run.
const TASKS: [(&str, usize); 6] = [
    ("key", 20),
    ("read", 10),
    ("write", 10),
    ("warm-replay", 50),
    ("cold-replay", 10),
    ("miss", 1),
];

const COUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// Returns a chat request of 2 kB.
fn chat() -> Request {
    question(12)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if let Some(arguments) = support::task() {
        run(&arguments[0], Path::new(&arguments[1]), arguments[2].parse().unwrap()).await;
        return ExitCode::SUCCESS;
    }
    if !cfg!(debug_assertions) {
        println!("instructions are counted in the test profile: ./scripts/instructions");
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().unwrap();
    let recording = recorder(folder.path(), Mode::Record);
    for number in 0..RECORDINGS {
        ask(&recording, question(number)).await;
    }
    let counts = TASKS.map(|(task, times)| (task, count(task, folder.path(), times)));
    if std::env::args().any(|argument| argument == "--update") {
        update(&counts);
        return ExitCode::SUCCESS;
    }
    compare(&counts)
}

/// Runs a task a number of times. This is the code that valgrind counts.
async fn run(task: &str, folder: &Path, times: usize) {
    let strict = recorder(folder, Mode::Strict);
    match task {
        "key" => {
            for _ in 0..times {
                strict.key_of(&chat()).await.unwrap();
            }
        }
        "read" => {
            let held = Held::new(fs::read(file_of(folder, &strict, &chat()).await).unwrap().into());
            for _ in 0..times {
                ask(&recorder_on(held.clone(), Mode::Strict), chat()).await;
            }
        }
        "write" => {
            for _ in 0..times {
                ask(&recorder_on(Held::default(), Mode::Record), chat()).await;
            }
        }
        "warm-replay" => {
            for _ in 0..times {
                ask(&strict, chat()).await;
            }
        }
        "cold-replay" => {
            for _ in 0..times {
                ask(&recorder(folder, Mode::Strict), chat()).await;
            }
        }
        "miss" => {
            // One member differs. The comparison of very different texts ends after a time limit, which makes counts vary.
            let mut body: serde_json::Value = serde_json::from_slice(chat().body_bytes()).unwrap();
            body["temperature"] = 0.7.into();
            let request = Request::post("/v1/chat/completions").unwrap().json(&body).unwrap();
            for _ in 0..times {
                let fresh = recorder(folder, Mode::Strict);
                fresh.answer(request.clone(), support::upstream).await.unwrap_err();
            }
        }
        other => panic!("unknown task {other}"),
    }
}

/// Returns the count of one run of a task.
fn count(task: &str, folder: &Path, times: usize) -> u64 {
    // Both processes run at the same time, because most machines have at least two processors.
    let [once, twice] = [times, 2 * times].map(|times| start(task, folder, times));
    let [once, twice] = [once, twice].map(total);
    (twice - once) / times as u64
}

fn start(task: &str, folder: &Path, times: usize) -> Child {
    Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["child", task])
        .arg(folder)
        .arg(times.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind is installed")
}

fn total(child: Child) -> u64 {
    let output = child.wait_with_output().unwrap();
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let line = report.lines().find_map(|line| line.split_once("Collected : ")).unwrap();
    line.1.trim().parse().unwrap()
}

/// Returns the tools on which the counts depend.
fn toolchain() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{}, {}, {os} on {arch}", version("rustc"), version("valgrind"))
}

fn update(counts: &[(&str, u64)]) {
    let mut text = "# Instructions of the test profile: ./scripts/instructions --update\n".to_owned();
    writeln!(text, "toolchain: {}", toolchain()).unwrap();
    for (task, count) in counts {
        println!("{task:12} {count:12}");
        writeln!(text, "{task}: {count}").unwrap();
    }
    fs::write(COUNTS, text).unwrap();
}

fn compare(counts: &[(&str, u64)]) -> ExitCode {
    let text = fs::read_to_string(COUNTS).unwrap();
    let known = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let is_same = known("toolchain") == Some(&toolchain());
    let mut has_passed = true;
    for (task, count) in counts {
        let Some(before) = known(task).map(|count| count.parse::<u64>().unwrap()) else {
            println!("{task:12} {count:12}   new: ./scripts/instructions --update");
            has_passed = false;
            continue;
        };
        let ratio = *count as f64 / before as f64;
        let verdict = match ratio {
            more if more > 1.0 + MARGIN => {
                has_passed = false;
                "MORE than the margin allows"
            }
            less if less < 1.0 - MARGIN => "less: ./scripts/instructions --update records it",
            _ => "",
        };
        println!(
            "{task:12} {count:12}   was {before:12}   {:+5.1} %   {verdict}",
            (ratio - 1.0) * 100.0
        );
    }
    if !is_same {
        println!("the toolchain differs from that of the file: the comparison is for information only");
        println!(
            "current: {}, file: {}",
            toolchain(),
            known("toolchain").unwrap_or("nothing")
        );
        return ExitCode::SUCCESS;
    }
    if has_passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
