//! Programs of other languages that start once and answer many tests: interpreters, clients and browsers take seconds to load.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A program that answers each line on its stdin with lines and an empty one. It ends when its stdin is closed, at the latest
/// with the tests.
struct Worker {
    program: Child,
    stdout: BufReader<ChildStdout>,
}

/// The workers that no test uses at the moment, by name.
static IDLE: Mutex<BTreeMap<&str, Vec<Worker>>> = Mutex::new(BTreeMap::new());

/// Sends a line to the worker of this name, and returns its answer. `command` starts a worker if all are in use.
pub fn ask(name: &'static str, command: impl FnOnce() -> Command, line: &str) -> String {
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = idle().get_mut(name).and_then(Vec::pop);
    let mut worker = worker.unwrap_or_else(|| Worker::start(&mut command()));
    let answer = worker.answer(name, line);
    idle().entry(name).or_default().push(worker);
    answer
}

impl Worker {
    fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut program = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            stdout: BufReader::new(program.stdout.take().unwrap()),
            program,
        }
    }

    fn answer(&mut self, name: &str, line: &str) -> String {
        writeln!(self.program.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\n\n") && answer != "\n" {
            let read = self.stdout.read_line(&mut answer).unwrap();
            assert!(read > 0, "{name} ended: {line}: {answer}");
        }
        answer.truncate(answer.len() - 1);
        answer
    }
}
