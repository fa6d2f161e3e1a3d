//! A temporary project with the real binary in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::KEY;

/// A temporary folder, removed when dropped.
pub struct Project {
    folder: tempfile::TempDir,
    /// Environment variables for its commands, in addition to those of the tests.
    variables: Vec<(String, String)>,
}

/// The output and the exit status of a command.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

impl Project {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// Sets an environment variable for all of its commands.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn cassettes(&self) -> PathBuf {
        self.folder.path().join("cassettes")
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The binary in this folder, with an API key and without the variables of the tests' own environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mistral-cassette"));
        command.args(arguments).current_dir(self.path());
        for name in [
            "CI",
            "MISTRAL_CASSETTE_MODE",
            "MISTRAL_CASSETTE_QUICK_TESTS",
            "MISTRAL_SERVER_URL",
            "NO_PROXY",
            "no_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            command.env_remove(name);
        }
        command.env("MISTRAL_API_KEY", KEY);
        command.envs(self.variables.iter().cloned());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        done(&mut self.command(arguments))
    }

    /// `proxy` with these flags in addition to `--mode` and `--upstream`.
    pub fn proxy(&self, mode: &str, upstream: &str, more: &[&str]) -> RunningProxy {
        let mut arguments = vec!["proxy", "--mode", mode, "--upstream", upstream];
        arguments.extend(more);
        RunningProxy::start(&mut self.command(&arguments))
    }

    /// Runs git in this folder with a fixed identity; returns its output.
    pub fn git(&self, arguments: &[&str]) -> String {
        let nobody = ["user.name=n", "user.email=e@example.com", "commit.gpgsign=false"];
        let mut git = Command::new("git");
        git.args(nobody.iter().flat_map(|setting| ["-c", setting]))
            .args(arguments)
            .current_dir(self.path());
        for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] {
            git.env_remove(name);
        }
        let done = done(&mut git);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        done.stdout
    }

    /// Every file with its content, by path.
    pub fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.insert(
                        path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
                        fs::read(&path).unwrap(),
                    );
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.path(), self.path(), &mut found);
        found
    }
}

/// Runs a command to its end.
pub fn done(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Done {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A proxy of the real binary; it is killed when dropped.
pub struct RunningProxy {
    pub url: String,
    /// The address of the live view, with `--ui`.
    pub live_view: String,
    child: Child,
}

impl RunningProxy {
    /// Starts it and waits for the lines that name its addresses.
    pub fn start(command: &mut Command) -> Self {
        let has_ui = command.get_args().any(|argument| argument == "--ui");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut line, mut live_view) = (String::new(), String::new());
        let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
        stdout.read_line(&mut line).unwrap();
        if has_ui {
            stdout.read_line(&mut live_view).unwrap();
        }
        let Some(url) = line.trim().strip_prefix("listening on ") else {
            let mut printed = String::new();
            child.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
            panic!("the proxy did not say where it listens: {line:?}, {printed}");
        };
        Self {
            url: url.to_owned(),
            live_view: live_view.trim().trim_start_matches("live view on ").to_owned(),
            child,
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Sends SIGTERM and waits.
    pub fn stop(self) -> Done {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Done {
        let mut printed = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
        Done {
            status: self.child.wait().unwrap(),
            stdout: String::new(),
            stderr: printed,
        }
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
