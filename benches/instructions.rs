//! How many instructions the usual tasks take, as valgrind counts them: `./scripts/instructions`.
//!
//! Times move with the machine and counts do not, so that these are compared with the counts in `instructions.txt`. They are
//! those of the dev profile, which is built anyway and quickly; what a task takes in a release build is told by the other
//! benchmarks. A task is run N times and 2 N times, and the difference counts: what comes before and after is in neither.
//!
//! `--update` writes the file. `cargo bench`, which builds another profile, leaves it alone.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use mistral_cassette::{Mode, Request};
use support::{Held, ask, file_of, question, recorder, recorder_on};

/// How much more than in the file a task may take.
const MARGIN: f64 = 0.10;

/// How many recordings the directory has.
const RECORDINGS: usize = 100;

/// The tasks, and how often each is run to tell what one takes.
const TASKS: [(&str, usize); 6] = [
    ("key", 20),
    ("read", 10),
    ("write", 10),
    ("warm-replay", 50),
    ("cold-replay", 10),
    ("miss", 1),
];

const COUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// A chat of 2 kB.
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
        println!("instructions are counted in the dev profile: ./scripts/instructions");
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

/// Runs a task a number of times; all of this is what valgrind sees.
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
            // One member is another. Where texts differ much, it is a time that ends their comparison, which no count can tell.
            let mut body: serde_json::Value = serde_json::from_slice(chat().body_bytes()).unwrap();
            body["temperature"] = 0.7.into();
            let request = Request::post("/v1/chat/completions").unwrap().json(&body).unwrap();
            for _ in 0..times {
                let fresh = recorder(folder, Mode::Strict);
                fresh.answer(request.clone(), support::upstream).await.unwrap_err();
            }
        }
        other => panic!("no task {other}"),
    }
}

/// What a task takes once.
fn count(task: &str, folder: &Path, times: usize) -> u64 {
    // Both at once: there are two processors nearly everywhere.
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
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let line = told.lines().find_map(|line| line.split_once("Collected : ")).unwrap();
    line.1.trim().parse().unwrap()
}

/// What the counts depend on beside the code.
fn toolchain() -> String {
    let said = |program: &str| {
        let output = Command::new(program).arg("--version").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{}, {}, {os} on {arch}", said("rustc"), said("valgrind"))
}

fn update(counts: &[(&str, u64)]) {
    let mut text = "# Instructions of the dev profile: ./scripts/instructions --update\n".to_owned();
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
    let mut is_well = true;
    for (task, count) in counts {
        let Some(before) = known(task).map(|count| count.parse::<u64>().unwrap()) else {
            println!("{task:12} {count:12}   new: ./scripts/instructions --update");
            is_well = false;
            continue;
        };
        let ratio = *count as f64 / before as f64;
        let verdict = match ratio {
            more if more > 1.0 + MARGIN => {
                is_well = false;
                "MORE than the margin allows"
            }
            less if less < 1.0 - MARGIN => "less: ./scripts/instructions --update keeps it so",
            _ => "",
        };
        println!(
            "{task:12} {count:12}   was {before:12}   {:+5.1} %   {verdict}",
            (ratio - 1.0) * 100.0
        );
    }
    if !is_same {
        println!("another toolchain than that of the file: reported, and not judged");
        println!(
            "{} here, {} there",
            toolchain(),
            known("toolchain").unwrap_or("nothing")
        );
        return ExitCode::SUCCESS;
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
