//! What the commands cost that read a directory of many cassettes: `cargo bench --features cli --bench tools`.
//!
//! Beside each stands a bare program that reads and parses the same files with the same YAML parser, in as many threads as there
//! are processors. `RECORDINGS=100000` takes another number than 10,000, `DIRECTORY=…` keeps the recordings there and uses them
//! again, and `COMMAND=…` measures another build of the command.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mistral_cassette::Mode;
use support::{Times, ask, child, question, read_and_parse, recorder};

const ROUNDS: usize = 7;

/// How often the memory of a command is read.
const SAMPLE: Duration = Duration::from_millis(2);

fn main() {
    if let Some(arguments) = support::task() {
        return read_bare(&arguments[1..]);
    }
    let many = std::env::var("RECORDINGS").map_or(10_000, |many| many.parse().unwrap());
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var("DIRECTORY").map_or(temporary.path().to_owned(), PathBuf::from);
    let (one, other) = (folder.join("one"), folder.join("other"));
    if !one.is_dir() {
        record(&one, many);
        copy(&one, &other);
    }
    let files = files_in(&one);
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    let threads = std::thread::available_parallelism().unwrap();
    println!(
        "{} recordings, {} MB, {threads} threads, medians of {ROUNDS} rounds",
        files.len(),
        bytes / 1_000_000
    );
    measure(&one, &other, &files);
}

fn record(folder: &Path, many: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let recording = recorder(folder, Mode::Record);
        for number in 0..many {
            ask(&recording, question(number)).await;
        }
    });
}

fn copy(from: &Path, to: &Path) {
    for file in files_in(from) {
        let copied = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copied.parent().unwrap()).unwrap();
        fs::copy(file, copied).unwrap();
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_in(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// The bare program: reads and parses all files of these folders.
fn read_bare(folders: &[String]) {
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| files_in(Path::new(folder))).collect();
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for number in 0..threads {
            let part = files.iter().skip(number).step_by(threads);
            scope.spawn(move || part.for_each(|file| assert!(read_and_parse(file).is_object())));
        }
    });
}

/// A command, with what stands beside it.
struct Row {
    name: &'static str,
    arguments: Vec<String>,
    folders: usize,
    times: Times,
    peak: f64,
}

fn measure(one: &Path, other: &Path, files: &[PathBuf]) {
    let [one_text, other_text] = [one, other].map(|folder| folder.to_str().unwrap().to_owned());
    let out = tempfile::tempdir().unwrap();
    let out = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let victim = &files[files.len() / 2];
    let name = victim.strip_prefix(one).unwrap().to_str().unwrap().to_owned();
    let row = |name, folders, arguments: &[&str]| Row {
        name,
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        folders,
        times: Times::default(),
        peak: 0.0,
    };
    let dir = ["--dir", &one_text];
    let with_dir = |arguments: &[&str]| -> Vec<String> {
        arguments
            .iter()
            .chain(&dir)
            .map(|argument| (*argument).to_owned())
            .collect()
    };
    let (har, page) = (out("out.har"), out("report.html"));
    let mut rows = vec![
        row("verify", 1, &[]),
        row("list", 1, &[]),
        row("stats", 1, &[]),
        row("report", 1, &["--out", &page]),
        row("export", 1, &["--to", "har", "--out", &har]),
        row("diff", 2, &[&one_text, &other_text]),
        row("show NAME", 0, &[&name]),
        row("remove NAME", 0, &[&name]),
    ];
    for row in rows.iter_mut().filter(|row| row.name != "diff") {
        row.arguments = with_dir(&row.arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let command = std::env::var("COMMAND").unwrap_or_else(|_| env!("CARGO_BIN_EXE_mistral-cassette").to_owned());
    let mut bare: [Times; 3] = Default::default();
    let kept = fs::read(victim).unwrap();
    for _ in 0..ROUNDS {
        for (folders, times) in bare.iter_mut().enumerate().skip(1) {
            let arguments = ["bare", &one_text, &other_text];
            times.take(|| run(&mut child(&arguments[..=folders])));
        }
        for row in &mut rows {
            let mut process = Command::new(&command);
            process.arg(row.name.split(' ').next().unwrap()).args(&row.arguments);
            let peak = row.times.take(|| run(&mut process));
            row.peak = row.peak.max(peak);
            fs::write(victim, &kept).unwrap();
        }
    }
    for row in rows {
        let milliseconds = row.times.median() / 1e3;
        let beside = match row.folders {
            0 => String::new(),
            folders => {
                let bare = bare[folders].median() / 1e3;
                format!("bare {bare:7.0} ms   ratio {:4.2}   target 1.3", milliseconds / bare)
            }
        };
        println!("{:12} {milliseconds:7.0} ms  {:5.0} MB   {beside}", row.name, row.peak);
    }
}

/// Runs a process to its end; returns its peak memory in MB, where the system tells it.
fn run(command: &mut Command) -> f64 {
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", process.id());
    let mut peak = 0.0;
    while process.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kilobytes) = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()) {
            peak = kilobytes / 1024.0;
        }
        std::thread::sleep(SAMPLE);
    }
    assert!(
        process.wait().unwrap().code().is_some_and(|code| code < 2),
        "{command:?}"
    );
    peak
}
