//! What a directory of many cassettes costs: `cargo bench --bench directory`; `RECORDINGS=100000` takes another number than
//! 10,000 for many.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use mistral_cassette::{Body, Mode, Request, Response};
use support::{
    Held, Times, ask, child, file_of, look_up, question, read_and_parse, recorder, recorder_on, row, row_in,
};

const FEW: usize = 10;
const SOME: usize = 1000;
const ROUNDS: usize = 200;

/// Questions of the workload are alike in kind and size every so many.
const PERIOD: usize = 390;

/// How many processes a test suite starts, and how many answers each uses.
const PROCESSES: usize = 200;
const ANSWERS: usize = 5;

/// A question of a directory, like those that the other directories are asked in this round.
fn in_round(round: usize, many: usize) -> Request {
    question(round % FEW + PERIOD * (round / FEW % (many / PERIOD).max(1)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if let Some(arguments) = support::task() {
        return run_child(&arguments).await;
    }
    let many = std::env::var("RECORDINGS").map_or(10_000, |many| many.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [few_folder, some_folder, many_folder] = [FEW, SOME, many].map(|number| folder.join(number.to_string()));
    println!("10, 1,000 and {many} recordings, medians");

    fill(&few_folder, FEW).await;
    fill(&some_folder, SOME).await;
    recording(folder, &many_folder, many).await;
    first_answers([(&few_folder, FEW), (&some_folder, SOME), (&many_folder, many)]).await;
    documents(&few_folder).await;
    misses(&many_folder, many).await;
    first_bytes(folder).await;
    if cfg!(target_os = "linux") {
        memory(&few_folder, &many_folder, many);
        short_processes(&many_folder, many).await;
    }
}

async fn fill(folder: &Path, number: usize) {
    let recording = recorder(folder, Mode::Record);
    for number in 0..number {
        ask(&recording, question(number)).await;
    }
}

/// The same requests recorded by a session on many and by one on few, and their files written by hand.
async fn recording(folder: &Path, many_folder: &Path, many: usize) {
    let on_few = recorder(&folder.join("growing"), Mode::Record);
    let on_many = recorder(many_folder, Mode::Record);
    for number in 0..FEW {
        ask(&on_few, question(number)).await;
    }
    let start = Instant::now();
    for number in 0..many {
        ask(&on_many, question(number)).await;
    }
    println!("recording all of them, s: {:.2}", start.elapsed().as_secs_f64());

    let bare = folder.join("bare");
    fs::create_dir(&bare).unwrap();
    let mut times: [Times; 3] = Default::default();
    let [of_many, of_few, limit] = &mut times;
    // Nothing is deleted in between: some file systems are slow to create a file after that.
    for number in many..many + ROUNDS {
        let request = question(number);
        let mut sides = [(&on_many, &mut *of_many), (&on_few, &mut *of_few)];
        if number % 2 == 1 {
            sides.reverse();
        }
        for (session, times) in sides {
            let (request, answer) = (request.clone(), support::answer(request.body_bytes()));
            times.take_async(support::record(session, request, answer)).await;
        }
        let document = fs::read(file_of(many_folder, &on_many, &request).await).unwrap();
        limit.take(|| {
            fs::write(bare.join("new"), &document).unwrap();
            fs::rename(bare.join("new"), bare.join(number.to_string())).unwrap();
        });
    }
    let [of_many, of_few, limit] = times.map(|times| times.median());
    let beside_few = "on 10 (and those recorded since)";
    row("recording one, on many", of_many, beside_few, of_few, "target 1.1");
    let beside_file = "writing the same bytes, renaming the file";
    row("recording one, on many", of_many, beside_file, limit, "target 2");
}

/// A session is opened, answers one question, and is closed.
async fn first_answers(directories: [(&Path, usize); 3]) {
    let mut times: [Times; 3] = Default::default();
    let mut limit = Times::default();
    for round in 0..ROUNDS {
        for ((folder, number), times) in directories.iter().zip(&mut times) {
            let request = in_round(round, *number);
            times
                .take_async(async { ask(&recorder(folder, Mode::Strict), request.clone()).await })
                .await;
        }
        let (folder, number) = directories[2];
        let request = in_round(round, number);
        let file = file_of(folder, &recorder(folder, Mode::Strict), &request).await;
        limit.take(|| look_up(&request, &file));
    }
    let [few, some, many] = times.map(|times| times.median());
    row("first answer of a session on 1,000", some, "on 10", few, "target 1.2");
    row("first answer of a session on many", many, "on 10", few, "target 1.2");
    row(
        "first answer of a session on many",
        many,
        "its key, reading and parsing its file",
        limit.median(),
        "target 1.3",
    );
}

/// A cassette read and written, with no store around it.
async fn documents(folder: &Path) {
    let mut times: [Times; 4] = Default::default();
    let [read, parse, write, print] = &mut times;
    let strict = recorder(folder, Mode::Strict);
    for round in 0..ROUNDS {
        let request = in_round(round, FEW);
        let document = Bytes::from(fs::read(file_of(folder, &strict, &request).await).unwrap());
        let replaying = recorder_on(Held::new(document.clone()), Mode::Strict);
        read.take_async(ask(&replaying, request.clone())).await;
        let value: serde_json::Value = parse.take(|| serde_yaml::from_slice(&document).unwrap());
        let recording = recorder_on(Held::default(), Mode::Record);
        let answer = support::answer(request.body_bytes());
        write.take_async(support::record(&recording, request, answer)).await;
        print.take(|| serde_yaml::to_string(&value).unwrap());
    }
    let [read, parse, write, print] = times.map(|times| times.median());
    row("a replay that reads its cassette", read, "parsing its YAML", parse, "");
    row("a recording, kept nowhere", write, "writing its YAML", print, "");
}

async fn misses(folder: &Path, many: usize) {
    let (mut misses, mut again) = (Times::default(), Times::default());
    for round in 0..10 {
        let strict = recorder(folder, Mode::Strict);
        for (times, number) in [(&mut misses, round), (&mut again, 100 + round)] {
            let asked = strict.answer(question(many + ROUNDS + number), support::upstream);
            times.take_async(asked).await.unwrap_err();
        }
    }
    row_in(
        "ms",
        "a miss on many, with the nearest and the diff",
        misses.median() / 1e3,
        "the next miss of the session",
        again.median() / 1e3,
        "target 300 ms",
    );
}

/// What recording adds until the first event of a stream is there.
async fn first_bytes(folder: &Path) {
    let upstream = async |request: Request| {
        let (body, kind) = support::answer(request.body_bytes());
        let text = String::from_utf8(body.to_vec()).unwrap();
        let events: Vec<_> = text
            .split_inclusive("\n\n")
            .map(|event| Ok(Bytes::from(event.to_owned())))
            .collect();
        let body = Body::from_stream(futures_util::stream::iter(events));
        Ok(Response::new(StatusCode::OK, body).header(header::CONTENT_TYPE, HeaderValue::from_static(kind)))
    };
    let mut times: [Times; 2] = Default::default();
    let sessions = [Mode::Record, Mode::Live].map(|mode| recorder(&folder.join("streams"), mode));
    for round in 0..ROUNDS {
        for (session, times) in sessions.iter().zip(&mut times) {
            let first = async {
                let response = session.answer(question(10 * round + 3), upstream).await.unwrap();
                let mut body = response.into_body().into_stream();
                body.next().await.unwrap().unwrap();
                body
            };
            let mut rest = times.take_async(first).await;
            while let Some(event) = rest.next().await {
                event.unwrap();
            }
        }
    }
    let [recording, live] = times.map(|times| times.median());
    row(
        "first event of a stream while recording",
        recording,
        "in mode live",
        live,
        "target 1,000 µs more",
    );
}

fn memory(few_folder: &Path, many_folder: &Path, many: usize) {
    let peak = |folder: &Path, number: usize| {
        let output = child(&["memory", folder.to_str().unwrap(), &number.to_string()]).output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .trim()
            .parse::<f64>()
            .unwrap()
    };
    let (few, many) = (peak(few_folder, FEW), peak(many_folder, many));
    row_in(
        "MB",
        "peak memory of a session on many, 20 answers",
        many,
        "on 10",
        few,
        "target 1.1",
    );
}

/// As a test suite is: many processes, a few answers each.
async fn short_processes(folder: &Path, many: usize) {
    let mut spent = [0.0; 2];
    let strict = recorder(folder, Mode::Strict);
    for process in 0..PROCESSES {
        let first = process * ANSWERS * 9 % (many - ANSWERS);
        let mut arguments = vec![
            "replays".to_owned(),
            folder.to_str().unwrap().to_owned(),
            first.to_string(),
        ];
        let mut files = vec!["files".to_owned()];
        for number in first..first + ANSWERS {
            let file = file_of(folder, &strict, &question(number)).await;
            files.push(file.to_str().unwrap().to_owned());
        }
        for (arguments, spent) in [&mut arguments, &mut files].into_iter().zip(&mut spent) {
            let before = support::seconds_of_children();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            assert!(child(&arguments).status().unwrap().success());
            *spent += support::seconds_of_children() - before;
        }
    }
    let [replays, files] = spent.map(|spent| spent / PROCESSES as f64 * 1e3);
    row_in(
        "ms",
        "processor time of a process with 5 replays of many",
        replays,
        "that reads and parses those 5 files",
        files,
        "",
    );
}

async fn run_child(arguments: &[String]) {
    match arguments[0].as_str() {
        "memory" => {
            let (folder, many) = (Path::new(&arguments[1]), arguments[2].parse().unwrap());
            let strict = recorder(folder, Mode::Strict);
            for round in 0..20 {
                ask(&strict, in_round(round, many)).await;
            }
            println!("{}", support::peak_megabytes());
        }
        "replays" => {
            let strict = recorder(Path::new(&arguments[1]), Mode::Strict);
            let first: usize = arguments[2].parse().unwrap();
            for number in first..first + ANSWERS {
                ask(&strict, question(number)).await;
            }
        }
        "files" => {
            for file in &arguments[1..] {
                assert!(read_and_parse(Path::new(file)).is_object());
            }
        }
        other => panic!("no task {other}"),
    }
}
