//! A certificate authority of the tests, and TLS connections through a proxy.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::wire::{Wire, address};

/// An authority, and a server with a certificate of it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub fn pem(&self) -> String {
        pem(self.issuer.der())
    }

    /// A TLS server for these names and addresses.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

fn pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n")
}

/// A client that trusts only these certificates, and offers these protocols.
pub fn client(trusted: &str, protocols: &[&str]) -> ClientConfig {
    client_of(rustls::DEFAULT_VERSIONS, trusted, protocols)
}

/// A client of these versions of TLS.
pub fn client_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
    trusted: &str,
    protocols: &[&str],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// A connection to the proxy that has asked it for a tunnel, and its response.
pub async fn connect(proxy: &str, target: &str, headers: &str) -> (Wire<TcpStream>, super::wire::Answer) {
    let mut wire = Wire::to(proxy).await;
    wire.say(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{headers}\r\n").as_bytes())
        .await;
    let mut answer = wire.head().await;
    if answer.status != 200 {
        wire.rest(&mut answer).await.unwrap();
    }
    (wire, answer)
}

/// The TLS connection of a client in a tunnel. It names `name` in the handshake.
pub async fn handshake(
    wire: Wire<TcpStream>,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    connector.connect(name, wire.stream.into_inner()).await
}

/// An HTTP/1.1 connection to an intercepted host.
pub async fn intercepted(proxy: &str, trusted: &str, host: &str, headers: &str) -> Wire<TlsStream<TcpStream>> {
    let (wire, answer) = connect(proxy, &format!("{host}:443"), headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let stream = handshake(wire, client(trusted, &["http/1.1"]), host).await.unwrap();
    Wire::on(stream, host)
}

/// A client that uses the proxy and trusts only these certificates, with HTTP/2 if the server has it.
pub fn reqwest(proxy: &str, trusted: &str) -> reqwest::Client {
    assert!(!address(proxy).is_empty());
    reqwest::Client::builder()
        .tls_backend_preconfigured(client(trusted, &["h2", "http/1.1"]))
        .proxy(reqwest::Proxy::all(proxy).unwrap())
        .build()
        .unwrap()
}
