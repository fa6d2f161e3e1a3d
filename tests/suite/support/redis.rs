//! A real Redis, and a real cluster of three.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::Duration;

use super::process::{Process, free_port, wait_for};
use super::skip::is_installed;
use super::stores::Server;

/// A running `redis-server` in a folder of its own.
pub struct Redis {
    pub port: u16,
    process: Process,
    flags: Vec<String>,
    folder: tempfile::TempDir,
}

/// Whether `redis-server` is installed.
pub fn has_redis() -> bool {
    let is_there = |name: &str| Command::new(name).arg("--version").output().is_ok();
    is_installed(is_there("redis-server") && is_there("redis-cli"), "redis-server")
}

impl Redis {
    /// Starts a server that stores nothing on disk unless these flags change that.
    pub fn start(flags: &[&str]) -> Self {
        let port = free_port_with_bus();
        let folder = tempfile::tempdir().unwrap();
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let process = launch(port, folder.path(), &flags);
        let mut redis = Self {
            port,
            process,
            flags,
            folder,
        };
        redis.wait();
        redis
    }

    fn wait(&mut self) {
        let port = self.port;
        wait_for("redis-server answers", || {
            assert!(!self.process.is_over(), "redis-server has ended: {}", self.log());
            is_ready(port)
        });
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs `redis-cli` with these arguments; returns its output.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let done = Command::new("redis-cli").args(["-p", &port]).args(arguments).output();
        printed(done.unwrap())
    }
}

impl Server for Redis {
    fn kill(&mut self) {
        self.process.kill();
    }

    fn start_again(&mut self) {
        self.process = launch(self.port, self.folder.path(), &self.flags);
        self.wait();
    }
}

fn launch(port: u16, folder: &std::path::Path, flags: &[String]) -> Process {
    let port = port.to_string();
    Process::start(
        Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(folder)
            .args(flags),
        &folder.join("log"),
    )
}

/// Whether it accepts commands; an error about a password counts.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    ask().is_ok_and(|line| line.starts_with("+PONG") || line.starts_with("-NOAUTH"))
}

/// The nodes of a cluster communicate on ports that are 10,000 higher.
fn free_port_with_bus() -> u16 {
    loop {
        let port = free_port();
        if port < 55_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

fn printed(output: Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    out.trim().to_owned()
}

/// A cluster of three masters.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start(flags: &[&str]) -> Self {
        let flags: Vec<&str> = ["--cluster-enabled", "yes"].iter().chain(flags).copied().collect();
        let nodes: Vec<Redis> = (0..3).map(|_| Redis::start(&flags)).collect();
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        printed(
            Command::new("redis-cli")
                .args(["--cluster", "create", "--cluster-yes"])
                .args(&addresses)
                .output()
                .unwrap(),
        );
        let cluster = Self { nodes };
        cluster.wait();
        cluster
    }

    fn wait(&self) {
        wait_for("the cluster is complete", || {
            self.nodes.iter().all(|node| {
                let info = node.cli(&["cluster", "info"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
    }
}

/// One master of three.
impl Server for Cluster {
    fn kill(&mut self) {
        self.nodes[1].kill();
    }

    fn start_again(&mut self) {
        self.nodes[1].start_again();
        self.wait();
    }
}
