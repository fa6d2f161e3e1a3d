//! The files from which clients read certificates: in a private folder, which is removed at the end.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_native_certs::load_certs_from_paths;
use tempfile::TempDir;

use super::java::trust_store;
use crate::error::{Error, ErrorKind, Result};
use crate::proxy::{Interception, certificate_pem};

/// The variables with which users name further certificates. `SSL_CERT_FILE` replaces those of the system.
const USER_BUNDLES: [&str; 4] = [
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
];

/// Sends the TLS connections of Node.js to the proxy: old versions do not read `HTTPS_PROXY`.
const NODE_PRELOAD: &str = include_str!("preload.cjs");

/// Makes `certifi` return the bundle: some clients ask it for a file, and read no variable.
const PYTHON_PRELOAD: &str = include_str!("sitecustomize.py");

/// The files for the clients of one proxy. Dropping it removes them.
pub(crate) struct Trust {
    folder: TempDir,
}

impl Trust {
    /// Writes the certificate of the proxy at this address, and the preloads.
    pub(crate) fn new(certificate: &str, interception: &Interception, address: std::net::SocketAddr) -> Result<Self> {
        let mut folder = tempfile::Builder::new();
        folder.prefix("mistral-cassette-");
        #[cfg(unix)]
        folder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = folder.tempdir().map_err(|error| not_written(&env::temp_dir(), error))?;
        let trust = Self { folder };
        let mut roots = other_roots();
        let others: String = roots.iter().map(|root| certificate_pem(root)).collect();
        trust.write("ca-bundle.pem", &(others + certificate))?;
        roots.extend(CertificateDer::from_pem_slice(certificate.as_bytes()));
        trust.write("ca.jks", trust_store(&roots))?;
        trust.write("ca.pem", with_user_file(certificate, "NODE_EXTRA_CA_CERTS"))?;
        trust.write("ca-deno.pem", with_user_file(certificate, "DENO_CERT"))?;
        let settings = serde_json::json!({
            "address": address.ip().to_string(),
            "port": address.port(),
            "hosts": interception.shown_hosts(),
        });
        trust.write(
            "preload.cjs",
            NODE_PRELOAD.replace("\"SETTINGS\"", &settings.to_string()),
        )?;
        trust.write("python/sitecustomize.py", PYTHON_PRELOAD)?;
        Ok(trust)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(name);
        let parent = path.parent().unwrap_or(self.folder.path());
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, content))
            .map_err(|error| not_written(&path, error))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The certificates of the system and of the user, and that of the proxy.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.path("ca-bundle.pem")
    }

    /// The certificate of the proxy, with the further certificates of the user for Node.js.
    pub(super) fn for_node(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The certificate of the proxy, with the further certificates of the user for Deno.
    pub(super) fn for_deno(&self) -> PathBuf {
        self.path("ca-deno.pem")
    }

    /// All certificates in the format of Java.
    pub(super) fn for_java(&self) -> PathBuf {
        self.path("ca.jks")
    }

    pub(super) fn node_preload(&self) -> PathBuf {
        self.path("preload.cjs")
    }

    /// The folder with the preload for `PYTHONPATH`.
    pub(super) fn python_folder(&self) -> PathBuf {
        self.path("python")
    }
}

/// Writes the certificate of a proxy to the file of `--ca-file`.
pub(crate) fn write_certificate(file: &Path, certificate: &str) -> Result<()> {
    fs::write(file, certificate).map_err(|error| not_written(file, error))
}

fn not_written(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write {}", path.display())).with_source(error)
}

/// The certificates of the system and of the user, each once.
fn other_roots() -> Vec<CertificateDer<'static>> {
    let mut loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        tracing::warn!(
            "the system has no root certificates: the command can check the certificates of intercepted hosts only"
        );
    }
    // Often, several variables name the same file, which is read once.
    let mut read: BTreeSet<_> = env::var_os("SSL_CERT_FILE").into_iter().collect();
    for name in USER_BUNDLES {
        let path = env::var_os(name).filter(|path| !path.is_empty() && read.insert(path.clone()));
        let Some(path) = path else {
            continue;
        };
        let path = Path::new(&path);
        let (file, folder) = if path.is_dir() {
            (None, Some(path))
        } else {
            (Some(path), None)
        };
        let mut more = load_certs_from_paths(file, folder);
        if let Some(error) = more.errors.first() {
            tracing::warn!("cannot read the certificates in {name}: {error}");
        }
        loaded.certs.append(&mut more.certs);
    }
    let mut seen = BTreeSet::new();
    loaded.certs.retain(|certificate| seen.insert(certificate.to_vec()));
    loaded.certs
}

/// The certificate of the proxy, and the content of the file that the user names in a variable.
fn with_user_file(certificate: &str, variable: &str) -> String {
    let file = env::var_os(variable).filter(|file| !file.is_empty());
    let Some(file) = file else {
        return certificate.to_owned();
    };
    match fs::read_to_string(&file) {
        Ok(content) => format!("{}\n{certificate}", content.trim_end()),
        Err(error) => {
            tracing::warn!("cannot read the certificates in {variable}: {error}");
            certificate.to_owned()
        }
    }
}
