//! A real PostgreSQL with a cluster of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::{Process, free_port, wait_for};
use super::skip::is_installed;
use super::stores::Server;

/// The password of its user `postgres`.
pub const PASSWORD: &str = "pg-secret@0123456789%";

/// The password in the form for URLs.
const ENCODED: &str = "pg-secret%400123456789%25";

/// A running PostgreSQL in a folder of its own.
pub struct Postgres {
    pub port: u16,
    process: Process,
    folder: tempfile::TempDir,
}

/// The newest one that Debian has installed, or the one on the `PATH`.
fn bin() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    folders.sort();
    let on_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| folder.join("initdb").exists());
    folders.pop().or_else(on_path)
}

/// Whether PostgreSQL is installed.
pub fn has_postgres() -> bool {
    is_installed(bin().is_some(), "postgresql")
}

/// One of its programs, as the user `postgres` if root runs the tests, since PostgreSQL refuses root.
fn program(name: &str) -> Command {
    let mut command = Command::new(bin().unwrap().join(name));
    if let Some((user, group)) = postgres_user() {
        command.uid(user).gid(group).current_dir("/");
    }
    command
}

fn id_of(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

fn postgres_user() -> Option<(u32, u32)> {
    (id_of(&["-u"])? == 0)
        .then(|| Some((id_of(&["-u", "postgres"])?, id_of(&["-g", "postgres"])?)))
        .flatten()
}

/// Makes a folder that PostgreSQL can write.
fn give_to_postgres(folder: &Path) {
    fs::create_dir(folder).unwrap();
    if let Some((user, group)) = postgres_user() {
        std::os::unix::fs::chown(folder, Some(user), Some(group)).unwrap();
    }
}

/// Copies a folder with owners and permissions.
fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The folder of a new cluster, below `target`: making one takes more time than most tests, so that all copy it.
fn new_cluster() -> PathBuf {
    let version = program("initdb").arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version)
        .unwrap()
        .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let cluster = Path::new(env!("CARGO_TARGET_TMPDIR")).join(version.trim_matches('-'));
    if cluster.exists() {
        return cluster;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (data, password) = (folder.path().join("data"), folder.path().join("password"));
    fs::write(&password, PASSWORD).unwrap();
    give_to_postgres(&data);
    let done = program("initdb")
        .args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--pwfile",
        ])
        .arg(&password)
        .arg("--pgdata")
        .arg(&data)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // Tests run at the same time: the first one to finish wins.
    let copied = cluster.with_extension(std::process::id().to_string());
    copy(&data, &copied);
    if fs::rename(&copied, &cluster).is_err() {
        fs::remove_dir_all(&copied).unwrap();
    }
    cluster
}

impl Postgres {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        give_to_postgres(&folder.path().join("sockets"));
        copy(&new_cluster(), &folder.path().join("data"));
        let port = free_port();
        let process = launch(port, folder.path());
        let mut postgres = Self { port, process, folder };
        postgres.wait();
        postgres
    }

    pub fn url(&self, options: &str) -> String {
        format!(
            "postgres://postgres:{ENCODED}@127.0.0.1:{}/postgres{options}",
            self.port
        )
    }

    fn wait(&mut self) {
        let port = self.port.to_string();
        wait_for("PostgreSQL answers", || {
            if self.process.is_over() {
                // The processes of a killed server have not ended yet.
                self.process = launch(self.port, self.folder.path());
            }
            program("pg_isready")
                .args(["--quiet", "--host=127.0.0.1", "--port", &port])
                .status()
                .unwrap()
                .success()
        });
    }

    /// What `psql` prints for a query.
    pub fn query(&self, query: &str) -> String {
        let done = program("psql")
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", query])
            .arg(self.url(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

impl Server for Postgres {
    fn kill(&mut self) {
        self.process.kill();
    }

    fn start_again(&mut self) {
        self.process = launch(self.port, self.folder.path());
        self.wait();
    }
}

/// A killed server would leave shared memory.
impl Drop for Postgres {
    fn drop(&mut self) {
        self.process.stop(rustix::process::Signal::QUIT);
    }
}

/// Starts the server. Fifty processes need more than the 100 connections that PostgreSQL accepts by default.
fn launch(port: u16, folder: &Path) -> Process {
    Process::start(
        program("postgres")
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-c", "max_connections=300"])
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(folder.join("sockets")),
        &folder.join("log"),
    )
}
