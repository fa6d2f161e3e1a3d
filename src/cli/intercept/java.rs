//! A trust store for Java, in its own format (JKS): Java reads neither PEM nor a variable with a file of certificates.
//!
//! The store is read without a password, so it has no digest at its end.

use rustls::pki_types::CertificateDer;

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;

/// The tag of a trusted certificate.
const CERTIFICATE: u32 = 2;

/// The store with these certificates.
pub(super) fn trust_store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut store = Vec::new();
    for number in [MAGIC, VERSION, length(certificates.len())] {
        store.extend_from_slice(&number.to_be_bytes());
    }
    for (index, certificate) in certificates.iter().enumerate() {
        store.extend_from_slice(&CERTIFICATE.to_be_bytes());
        text(&mut store, &format!("ca{index}"));
        // The time of creation is not used.
        store.extend_from_slice(&0_u64.to_be_bytes());
        text(&mut store, "X.509");
        store.extend_from_slice(&length(certificate.len()).to_be_bytes());
        store.extend_from_slice(certificate);
    }
    store
}

fn text(store: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    store.extend_from_slice(&length.to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
