//! Server processes that tests start and stop.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The time limit for the start of a server.
const STARTING: Duration = Duration::from_secs(120);

/// The process of a server; it is killed when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command that stays in the foreground. Its output goes to a file.
    pub fn start(command: &mut Command, log: &std::path::Path) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal, and waits for the end.
    pub fn stop(&mut self, signal: rustix::process::Signal) {
        if !self.is_over() {
            let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
            rustix::process::kill_process(pid, signal).unwrap();
            self.child.wait().unwrap();
        }
    }

    /// Sends SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The peak memory of a process in bytes; `None` where the system does not report it.
pub fn peak_memory(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    Some(kilobytes << 10)
}

/// Waits until a condition is true.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < STARTING, "{what}: not within {STARTING:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port on which nothing listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
