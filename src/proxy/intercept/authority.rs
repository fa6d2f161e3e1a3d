//! The local certificate authority: made for one proxy, and gone with it.
//!
//! To trust it is safe: its key exists in the memory of this process only, it is valid for a day, and clients refuse its
//! certificates for any host that is not intercepted (name constraints, RFC 5280, section 4.2.1.10).

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lru::LruCache;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::host::{HostPattern, ip_address, normalized};
use crate::error::{Error, ErrorKind, Result};

/// How long the authority is valid, and how far its clients' clocks may be behind.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// How many certificates are cached. A pattern with `*` selects any number of hosts.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// The name in its certificate.
const NAME: &str = "mistral-cassette, valid for one run";

/// A certificate authority for the intercepted hosts.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The configuration of the TLS server for each host.
    configs: Mutex<LruCache<String, Arc<ServerConfig>>>,
}

impl Authority {
    /// Creates an authority whose certificates are valid only for hosts of these patterns.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if no key can be made.
    pub(super) fn new<'a>(hosts: impl Iterator<Item = &'a HostPattern>) -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, NAME);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.name_constraints = Some(constraints(hosts));
        set_validity(&mut parameters);
        let key = KeyPair::generate().map_err(failed)?;
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(parameters, key).map_err(failed)?,
            configs: Mutex::new(LruCache::new(CAPACITY)),
        })
    }

    /// The certificate, without the key.
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    /// The configuration of a TLS server with a certificate for this host. The server offers HTTP/2 and HTTP/1.1, and
    /// accepts no other name.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the host cannot be in a certificate.
    pub(super) fn config(&self, host: &str) -> Result<Arc<ServerConfig>> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(host) {
            return Ok(config.clone());
        }
        let config = Arc::new(self.new_config(host)?);
        configs.put(host.to_owned(), config.clone());
        Ok(config)
    }

    fn new_config(&self, host: &str) -> Result<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let resolver = OneHost {
            name: normalized(host),
            key: Arc::new(self.certify(host, &provider)?),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// A new key with a certificate for this host.
    fn certify(&self, host: &str, provider: &CryptoProvider) -> Result<CertifiedKey> {
        let mut parameters = CertificateParams::new([host.to_owned()]).map_err(failed)?;
        // A common name is limited to 64 characters, and clients read the alternative name.
        parameters
            .distinguished_name
            .push(DnType::CommonName, "mistral-cassette");
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        set_validity(&mut parameters);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(failed)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = provider.key_provider.load_private_key(key).map_err(failed)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "cannot create a certificate").with_source(error)
}

fn set_validity(parameters: &mut CertificateParams) {
    let now = SystemTime::now();
    parameters.not_before = (now - CLOCK_SKEW).into();
    parameters.not_after = (now + VALIDITY).into();
}

/// The names that the authority may certify. Addresses need constraints of their own: a list of names does not limit them.
fn constraints<'a>(hosts: impl Iterator<Item = &'a HostPattern>) -> NameConstraints {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for host in hosts {
        match ip_address(host.name()) {
            Some(IpAddr::V4(address)) => addresses.push(CidrSubnet::V4(address.octets(), [0xff; 4])),
            Some(IpAddr::V6(address)) => addresses.push(CidrSubnet::V6(address.octets(), [0xff; 16])),
            None => names.push(GeneralSubtree::DnsName(host.name().to_owned())),
        }
    }
    let has_version = |is_v4: bool| {
        let is_version = |address: &CidrSubnet| matches!(address, CidrSubnet::V4(..)) == is_v4;
        addresses.iter().any(is_version)
    };
    let mut excluded = Vec::new();
    if !has_version(true) {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
    }
    if !has_version(false) {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
    }
    names.extend(addresses.into_iter().map(GeneralSubtree::IpAddress));
    NameConstraints {
        permitted_subtrees: names,
        excluded_subtrees: excluded,
    }
}

/// Offers the certificate of one host, to clients that name this host or none.
#[derive(Debug)]
struct OneHost {
    name: String,
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_meant = hello.server_name().is_none_or(|name| normalized(name) == self.name);
        is_meant.then(|| self.key.clone())
    }
}

/// A certificate in the form of PEM.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    let encoded = BASE64.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{ClientConfig, RootCertStore};

    use super::*;

    fn authority(hosts: &[&str]) -> Authority {
        let hosts: Vec<HostPattern> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        Authority::new(hosts.iter()).unwrap()
    }

    /// The result of a handshake between a client that trusts only this authority and a server for `host`.
    fn handshake(authority: &Authority, host: &str, name: &str) -> std::result::Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = rustls::ServerConnection::new(authority.config(host).unwrap()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().map_err(|error| error.to_string())?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    #[test]
    fn a_client_accepts_the_authority_for_intercepted_hosts() {
        let authority = authority(&["api.mistral.ai", "*.example.com", "192.0.2.1"]);
        for host in ["api.mistral.ai", "a.example.com", "a.b.example.com", "192.0.2.1"] {
            assert_eq!(handshake(&authority, host, host), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_client_refuses_the_authority_for_any_other_host() {
        let names_only = authority(&["api.mistral.ai"]);
        let with_address = authority(&["api.mistral.ai", "192.0.2.1"]);
        for authority in [&names_only, &with_address] {
            for host in [
                "mistral.ai",
                "example.com",
                "xapi.mistral.ai",
                "192.0.2.2",
                "127.0.0.1",
                "::1",
            ] {
                let error = handshake(authority, host, host).unwrap_err();
                assert!(error.contains("NameConstraintViolation"), "{host}: {error}");
            }
        }
    }

    #[test]
    fn the_server_refuses_a_client_that_names_another_host() {
        let authority = authority(&["api.mistral.ai", "codestral.mistral.ai"]);
        let error = handshake(&authority, "api.mistral.ai", "codestral.mistral.ai").unwrap_err();
        assert!(error.contains("no server certificate chain resolved"), "{error}");
    }

    #[test]
    fn the_authority_is_valid_for_a_day() {
        let authority = authority(&["api.mistral.ai"]);
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let leaf = authority.certify("api.mistral.ai", &provider).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let name = ServerName::try_from("api.mistral.ai").unwrap();
        for (hours, is_valid) in [(23, true), (25, false)] {
            let then = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + hours * 3600));
            let verified = verifier.verify_server_cert(&leaf.cert[0], &[], &name, &[], then);
            assert_eq!(verified.is_ok(), is_valid, "{hours}");
        }
    }
}
