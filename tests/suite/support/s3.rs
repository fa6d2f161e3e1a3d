//! Object stores: moto (S3) supports conditional writes and checks no signatures; s3s-fs (S3) checks signatures and
//! stores objects as files; azurite (Azure) does both. `./scripts/test` installs them.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::skip::is_installed;

/// The credentials for s3s-fs.
pub const KEY_ID: &str = "cassette-test-id";
pub const SECRET: &str = "cassette-test-secret-0123456789";

/// The account of azurite and its key, which are public.
pub const AZURE_ACCOUNT: &str = "devstoreaccount1";
pub const AZURE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The bucket of every server.
pub const BUCKET: &str = "cassettes";

/// The time limit for the start of a server.
const START: Duration = Duration::from_secs(120);

/// A running server; it is killed when dropped.
pub struct S3 {
    program: PathBuf,
    arguments: Vec<String>,
    port: u16,
    child: Child,
    folder: tempfile::TempDir,
}

impl S3 {
    /// `None`, and the test is reported as skipped, where it is not installed; in CI it must be.
    pub fn moto() -> Option<Self> {
        let program = installed(root(".venv-s3/bin/moto_server"))?;
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec();
        let server = Self::start(program, arguments, port, folder);
        let created = request(port, &format!("PUT /{BUCKET} HTTP/1.1"));
        assert!(created.starts_with("HTTP/1.1 200"), "{created}");
        Some(server)
    }

    /// As [`moto`](Self::moto).
    pub fn s3s_fs() -> Option<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root("target"), PathBuf::from);
        let program = installed(target.join("tools/bin/s3s-fs"))?;
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let port_text = port.to_string();
        let arguments = [
            "--host",
            "127.0.0.1",
            "--port",
            &port_text,
            "--access-key",
            KEY_ID,
            "--secret-key",
            SECRET,
        ];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.push(folder.path().to_str().unwrap().to_owned());
        Some(Self::start(program, arguments, port, folder))
    }

    /// As [`moto`](Self::moto).
    pub fn azurite() -> Option<Self> {
        let program = installed(root("tests/sdks/node_modules/.bin/azurite-blob"))?;
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let port_text = port.to_string();
        let arguments = [
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &port_text,
            "--silent",
            "--inMemoryPersistence",
            "--disableTelemetry",
        ];
        let arguments = arguments.map(str::to_owned).to_vec();
        let server = Self::start(program, arguments, port, folder);
        server.make_container();
        Some(server)
    }

    /// The location of an engine below this prefix, on azurite.
    pub fn azure_url(&self, prefix: &str) -> String {
        format!(
            "az://{BUCKET}/{prefix}?account={AZURE_ACCOUNT}&endpoint={}/{AZURE_ACCOUNT}",
            self.endpoint()
        )
    }

    /// Azure requires a signature to create a container.
    fn make_container(&self) {
        let (date, version) = ("Sat, 21 Nov 2026 10:00:00 GMT", "2021-08-06");
        let headers = format!("x-ms-date:{date}\nx-ms-version:{version}");
        let target = format!("/{AZURE_ACCOUNT}/{BUCKET}");
        let signed = format!(
            "PUT{}{headers}\n/{AZURE_ACCOUNT}{target}\nrestype:container",
            "\n".repeat(12)
        );
        let signature = BASE64.encode(hmac_sha256(&BASE64.decode(AZURE_KEY).unwrap(), signed.as_bytes()));
        let line = format!("PUT {target}?restype=container HTTP/1.1");
        let headers = headers
            .replace(':', ": ")
            .replace("10: 00: 00", "10:00:00")
            .replace('\n', "\r\n");
        let created = request(
            self.port,
            &format!("{line}\r\n{headers}\r\nAuthorization: SharedKey {AZURE_ACCOUNT}:{signature}"),
        );
        assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    }

    fn start(program: PathBuf, arguments: Vec<String>, port: u16, folder: tempfile::TempDir) -> Self {
        let child = spawn(&program, &arguments, port);
        Self {
            program,
            arguments,
            port,
            child,
            folder,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The location of an engine below this prefix.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&region=us-east-1", self.endpoint())
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port and folder.
    pub fn restart(&mut self) {
        self.child = spawn(&self.program, &self.arguments, self.port);
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // A test may have killed it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, arguments: &[String], port: u16) -> Child {
    let mut child = Command::new(program)
        .args(arguments)
        // So that moto lists in pages; it makes a thousand objects slowly.
        .env("MOTO_S3_DEFAULT_MAX_KEYS", "100")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{} ended with {status}", program.display());
        }
        if since.elapsed() > START {
            let _ = child.kill();
            panic!("{} does not listen", program.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// A port on which nothing listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// HMAC (RFC 2104), for a key of at most one block.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |with: u8| {
        let mut block = [with; 64];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

fn request(port: u16, line: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "{line}\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn installed(program: PathBuf) -> Option<PathBuf> {
    let name = program.file_name().unwrap().to_str().unwrap();
    is_installed(program.exists(), name).then_some(program)
}
