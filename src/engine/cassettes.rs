//! Writes cassettes to an engine and reads their bodies, inline or external.

use std::time::Duration;

use bytes::Bytes;

use super::stored_body::decode;
use super::{CacheEngine, layout};
use crate::cassette::{Blob, Cassette, yaml};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::key::RequestKey;
use crate::settings::Settings;

/// Reads the bytes of a body. `location` names the cassette in errors.
///
/// # Errors
/// [`ErrorKind::Cassette`]: an external body is missing or does not match its SHA-256.
pub(crate) async fn read_body(engine: &dyn CacheEngine, blob: &Blob, location: impl Fn() -> String) -> Result<Bytes> {
    let sha256 = match blob {
        Blob::Inline(bytes) => return Ok(bytes.clone()),
        Blob::External { sha256 } => sha256,
    };
    let invalid = |state: &str| {
        Error::new(
            ErrorKind::Cassette,
            format!("{}: the body {} is {state}", location(), layout::body(sha256)),
        )
    };
    match engine.extensions().get_body(sha256).await? {
        Some(stored) => decode(stored, sha256).ok_or_else(|| {
            invalid("damaged: its SHA-256 differs").with_hint("restore it from version control (a formatter or a git hook may have changed its white space), or record this request again")
        }),
        None => {
            Err(invalid("missing").with_hint("commit the folder bodies with the cassettes, or record this request again"))
        }
    }
}

/// Replaces every external body of a cassette by its bytes.
///
/// # Errors
/// The same as [`read_body`].
#[cfg(feature = "cli")]
pub(crate) async fn inline_bodies(
    engine: &dyn CacheEngine,
    mut cassette: Cassette,
    location: &str,
) -> Result<Cassette> {
    for blob in cassette.bodies_mut() {
        *blob = read_body(engine, blob, || location.to_owned()).await?.into();
    }
    Ok(cassette)
}

/// Stores the bodies that are larger than `inline_body_bytes` separately, if the cassettes are committed files and the
/// engine supports that. In a cache they stay in the document: a store that removes entries could remove one without the
/// other.
///
/// # Errors
/// Usually [`Error::engine`]: the store cannot be written.
pub(crate) async fn externalize_large_bodies(
    engine: &dyn CacheEngine,
    cassette: &mut Cassette,
    settings: &Settings,
) -> Result<()> {
    if !engine.extensions().is_committed() {
        return Ok(());
    }
    for blob in cassette.bodies_mut() {
        if let Blob::Inline(bytes) = blob
            && bytes.len() > settings.inline_body_bytes
        {
            let sha256 = sha256_hex(bytes);
            if engine.extensions().set_body(&sha256, bytes).await? {
                *blob = Blob::External { sha256 };
            }
        }
    }
    Ok(())
}

/// Writes a cassette: with the TTL that the settings define, or without one and with its large bodies external. Writes
/// nothing if it equals `existing`. Returns the document that it has written.
///
/// # Errors
/// Usually [`Error::engine`]: the store cannot be written.
pub(crate) async fn write_cassette(
    engine: &dyn CacheEngine,
    key: &RequestKey,
    cassette: &mut Cassette,
    existing: Option<&Cassette>,
    settings: &Settings,
) -> Result<Option<Bytes>> {
    let ttl = settings.expiry.ttl(key.endpoint(), cassette.history.as_ref());
    if ttl.is_none() {
        // External bodies do not expire and would outlive a cassette that does.
        externalize_large_bodies(engine, cassette, settings).await?;
    }
    if existing == Some(cassette) {
        return Ok(None);
    }
    let document = yaml::write(cassette)?;
    set_with_ttl(engine, key, document.clone(), ttl, settings).await?;
    Ok(Some(document))
}

/// Writes a cassette whose first responses are written already, see [`yaml::append`]. Returns the document.
///
/// # Errors
/// The same as [`write_cassette`].
pub(crate) async fn append_responses(
    engine: &dyn CacheEngine,
    key: &RequestKey,
    earlier: &[u8],
    cassette: &mut Cassette,
    settings: &Settings,
) -> Result<Bytes> {
    let ttl = settings.expiry.ttl(key.endpoint(), cassette.history.as_ref());
    if ttl.is_none() {
        externalize_large_bodies(engine, cassette, settings).await?;
    }
    let document = yaml::append(earlier, cassette)?;
    set_with_ttl(engine, key, document.clone(), ttl, settings).await?;
    Ok(document)
}

async fn set_with_ttl(
    engine: &dyn CacheEngine,
    key: &RequestKey,
    document: Bytes,
    ttl: Option<Duration>,
    settings: &Settings,
) -> Result<()> {
    match ttl {
        Some(ttl) => set_expiring(engine, key, document, settings.expiry.retention(ttl)).await,
        None => engine.set(key, document).await,
    }
}

/// Stores a document for at most `ttl` if the engine supports that, and without expiry if not.
///
/// # Errors
/// The same as [`CacheEngine::set`].
pub(super) async fn set_expiring(
    engine: &dyn CacheEngine,
    key: &RequestKey,
    document: Bytes,
    ttl: Duration,
) -> Result<()> {
    if engine.extensions().set_expiring(key, &document, ttl).await? {
        return Ok(());
    }
    engine.set(key, document).await
}
