//! What the connections of a target to the proxy share.

use std::io::ErrorKind;
use std::net::TcpListener;

use mistral_cassette::{DirectoryEngine, Mode, Recorder, Settings, Upstream};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A directory with recordings, and an upstream that nothing may reach.
pub struct Environment {
    pub runtime: Runtime,
    pub upstream: Upstream,
    directory: TempDir,
    listener: TcpListener,
}

impl Environment {
    /// An environment with these recordings, by their names in the directory.
    pub fn new(recordings: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, document) in recordings {
            let file = directory.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a new folder");
            std::fs::write(file, document).expect("a recording");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        Self {
            // The clock is paused and advances when every task waits, so that a target never waits.
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime"),
            upstream: Upstream::builder()
                .base_url(url)
                .api_key("sk-fuzz-0123456789")
                .build()
                .expect("an upstream"),
            directory,
            listener,
        }
    }

    /// A new session in mode `strict`.
    pub fn recorder(&self) -> Recorder {
        Recorder::builder(DirectoryEngine::new(self.directory.path()))
            .mode(Mode::Strict)
            .settings(Settings::default())
            .build()
            .expect("a recorder")
    }

    /// Panics if a request has reached the upstream.
    pub fn assert_upstream_not_reached(&self) {
        let reached = self.listener.accept();
        assert!(
            reached.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            "a request reached the upstream"
        );
    }
}
