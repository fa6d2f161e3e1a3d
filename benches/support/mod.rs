//! What the benchmarks share: a workload, and how figures are taken and told.
//!
//! Absolute times are the machine's; the ratios, with both sides taken in turn in one run, are what counts.
#![allow(dead_code)]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use mistral_cassette::engine::EngineExtensions;
use mistral_cassette::{CacheEngine, DirectoryEngine, Mode, Recorder, Request, RequestKey, Response, Result};
use serde_json::{Value, json};

/// A request of 1 to 4 kB: of ten there are seven chats, two streams of 60 events, and one embedding.
pub fn question(number: usize) -> Request {
    let context = format!("Some words of context, as a prompt of a kilobyte has them, number {number}. ");
    let post = |path: &str, body: &Value| Request::post(path).unwrap().json(body).unwrap();
    if number % 10 == 9 {
        let inputs = vec![context.repeat(4); 4];
        return post("/v1/embeddings", &json!({ "model": "mistral-embed", "input": inputs }));
    }
    post(
        "/v1/chat/completions",
        &json!({
            "model": "mistral-small-latest",
            "messages": [
                { "role": "system", "content": context.repeat(13 + number % 39) },
                { "role": "user", "content": format!("Question number {number} of many?") },
            ],
            "temperature": 0.2,
            "stream": number % 5 == 3,
        }),
    )
}

/// What the API would answer, with its content type.
pub fn answer(request: &[u8]) -> (Bytes, &'static str) {
    let value: Value = serde_json::from_slice(request).unwrap();
    let usage = json!({ "prompt_tokens": request.len() / 4, "completion_tokens": 240, "total_tokens": 600 });
    let head = json!({ "id": "6b9018ce9f43448e9a81f2c875097ba4", "object": "chat.completion", "created": 1_795_255_200, "model": "mistral-small-latest" });
    if value["input"].is_array() {
        let vector: Vec<f64> = (0..1024).map(|at| f64::from(at) / 65_536.0 - 0.007).collect();
        let mut body = head;
        body["data"] = json!([{ "object": "embedding", "index": 0, "embedding": vector }]);
        body["usage"] = usage;
        return (body.to_string().into(), "application/json");
    }
    if value["stream"] == true {
        let mut text = String::new();
        for at in 0..60 {
            let mut chunk = head.clone();
            chunk["choices"] =
                json!([{ "index": 0, "delta": { "content": format!("word {at} ") }, "finish_reason": null }]);
            text.push_str(&format!("data: {chunk}\n\n"));
        }
        return ((text + "data: [DONE]\n\n").into(), "text/event-stream");
    }
    let mut body = head;
    let words = "Words of an answer. ".repeat(60);
    body["choices"] =
        json!([{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": words } }]);
    body["usage"] = usage;
    (body.to_string().into(), "application/json")
}

/// An upstream that answers at once.
pub async fn upstream(request: Request) -> Result<Response> {
    let (body, kind) = answer(request.body_bytes());
    Ok(response(body, kind))
}

fn response(body: Bytes, kind: &'static str) -> Response {
    Response::new(StatusCode::OK, body).header(header::CONTENT_TYPE, HeaderValue::from_static(kind))
}

/// A session on a directory.
pub fn recorder(folder: &Path, mode: Mode) -> Recorder {
    recorder_on(DirectoryEngine::new(folder), mode)
}

/// A session on any engine.
pub fn recorder_on(engine: impl CacheEngine + 'static, mode: Mode) -> Recorder {
    let recorder = Recorder::builder(engine).mode(mode);
    recorder.allow_record_in_ci().build().unwrap()
}

/// Asks, and reads the answer to its end.
pub async fn ask(recorder: &Recorder, request: Request) -> Bytes {
    recorder.answer(request, upstream).await.unwrap().bytes().await.unwrap()
}

/// Records an answer that is there already.
pub async fn record(recorder: &Recorder, request: Request, (body, kind): (Bytes, &'static str)) {
    let upstream = async |_| Ok(response(body.clone(), kind));
    recorder.answer(request, upstream).await.unwrap().bytes().await.unwrap();
}

/// Where a directory keeps the recording of a request.
pub async fn file_of(folder: &Path, recorder: &Recorder, request: &Request) -> PathBuf {
    folder.join(format!("{}.yaml", recorder.key_of(request).await.unwrap().name()))
}

/// The hash of the canonical text of a body.
pub fn canonical(body: &[u8]) -> [u8; 32] {
    let value: Value = serde_json::from_slice(body).unwrap();
    let text = serde_json_canonicalizer::to_string(&value).unwrap();
    <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes()).into()
}

/// What any tool that keeps a file a request has to do: read it and parse it.
pub fn read_and_parse(file: &Path) -> Value {
    serde_yaml::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The same, with the key by which it is found.
pub fn look_up(request: &Request, file: &Path) {
    black_box(canonical(request.body_bytes()));
    assert!(read_and_parse(file).is_object());
}

/// An engine that holds one document and costs nothing: what is left is reading and writing the document.
#[derive(Clone, Default)]
pub struct Held(Arc<Mutex<Option<Bytes>>>);

impl Held {
    pub fn new(document: Bytes) -> Self {
        Self(Arc::new(Mutex::new(Some(document))))
    }
}

#[mistral_cassette::async_trait]
impl CacheEngine for Held {
    async fn get(&self, _: &RequestKey) -> Result<Option<Bytes>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn set(&self, _: &RequestKey, cassette: Bytes) -> Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cassette);
        Ok(())
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[mistral_cassette::async_trait]
impl EngineExtensions for Held {
    // As a directory: with no locks and bounds, which come with stores that are far away.
    fn is_committed(&self) -> bool {
        true
    }
}

/// This program again, with a task of its own: `child TASK ARGUMENT…`.
pub fn child(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("child").args(arguments);
    command
}

/// The task and the arguments of a child.
pub fn task() -> Option<Vec<String>> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next().as_deref() == Some("child")).then(|| arguments.collect())
}

/// The most memory that this process has held, in MB; Linux tells it.
pub fn peak_megabytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// The processor time of the children that have ended, in seconds; Linux tells it, in hundredths.
pub fn seconds_of_children() -> f64 {
    ticks("self", 15) / 100.0
}

/// The processor time of a process, in seconds; Linux tells it, in hundredths.
pub fn seconds_of(process: u32) -> f64 {
    ticks(&process.to_string(), 13) / 100.0
}

/// The sum of two fields of a process's `stat`, counted from 0.
fn ticks(process: &str, first: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field may hold spaces, and ends in a bracket.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(first - 2).take(2);
    ticks.map(|field| field.parse::<f64>().unwrap()).sum()
}

/// The middle one of these values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times of one side, taken in turn with the others'.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn take<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = call();
        self.0.push(start.elapsed());
        value
    }

    pub async fn take_async<T>(&mut self, call: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let value = call.await;
        self.0.push(start.elapsed());
        value
    }

    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// In microseconds.
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// In microseconds: what this many of a hundred take at most.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut times = self.0.clone();
        times.sort();
        times[times.len() * percent / 100].as_secs_f64() * 1e6
    }
}

/// A line: what it is, what it takes in microseconds, beside what, and the ratio with its target.
pub fn row(name: &str, here: f64, beside: &str, there: f64, target: &str) {
    row_in("µs", name, here, beside, there, target);
}

/// The same in another unit.
pub fn row_in(unit: &str, name: &str, here: f64, beside: &str, there: f64, target: &str) {
    println!(
        "{name:52} {here:9.1} {unit:3}  {beside:40} {there:9.1} {unit:3}  ratio {:5.2}   {target}",
        here / there
    );
}
