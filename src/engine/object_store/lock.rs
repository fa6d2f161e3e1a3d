//! Locks: objects that are created and replaced with conditional writes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{Error as StoreError, PutMode, UpdateVersion};
use tokio::sync::Mutex;

use super::bucket::{Bucket, LOCKS, Object};
use super::failure;
use crate::engine::ttl::lock_token;
use crate::engine::{Lease, Lock};
use crate::error::{Error, Result};

/// The number of attempts if the lock changes between reading and writing it.
const ATTEMPTS: usize = 4;

/// For how long a lock is extended before it is removed: longer than the request may take.
const REMOVAL_TTL: Duration = Duration::from_secs(60);

/// An ETag that no object has.
const NO_ETAG: &str = "\"00000000000000000000000000000000\"";

/// Returns a unique name for an object that tests the store.
pub(super) fn probe_name() -> String {
    format!("{LOCKS}/probe-{}", &lock_token()[..16])
}

/// Returns whether the store rejects writes whose condition is false. Some stores ignore the condition, others reject
/// every conditional write.
///
/// # Errors
/// The store cannot be reached.
pub(super) async fn are_supported(bucket: &Bucket) -> Result<bool> {
    let name = probe_name();
    let put = async |mode| bucket.put_if(&name, Bytes::from("probe\n"), mode).await;
    let verdict = async {
        match put(PutMode::Create).await {
            // If the response to a first attempt was lost, the retry finds the object that it has created itself.
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return is_unsupported(&error).then_some(false).ok_or(error),
        }
        let never = UpdateVersion {
            e_tag: Some(NO_ETAG.to_owned()),
            version: Some("1".to_owned()),
        };
        for mode in [PutMode::Create, PutMode::Update(never)] {
            match put(mode).await {
                Ok(_) => return Ok(false),
                Err(error) if is_rejected(&error) => {}
                Err(error) => return is_unsupported(&error).then_some(false).ok_or(error),
            }
        }
        Ok(true)
    };
    let verdict = verdict
        .await
        .map_err(|error: StoreError| bucket.failed("lock in", "", &error));
    // An earlier error is more useful than one of the removal. An object that remains does no harm.
    let removed = bucket.remove(&name).await;
    let is_supported = verdict?;
    removed?;
    if !is_supported {
        tracing::warn!(
            "{} does not support conditional writes, so there are no locks: several processes may send the same request",
            bucket.location
        );
    }
    Ok(is_supported)
}

/// Returns whether the condition was false.
fn is_rejected(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } | StoreError::NotModified { .. }
    ) || failure::is_absent(error)
}

/// Returns whether the store does not support the condition.
fn is_unsupported(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }
    ) || failure::is_not_implemented(error)
}

/// The content of a lock object.
struct Claim {
    /// Identifies the owner.
    token: String,
    /// Milliseconds since 1970.
    expires_at: u64,
}

impl Claim {
    fn new(token: &str, ttl: Duration) -> Self {
        let expires_at = now().saturating_add(ttl.as_millis().try_into().unwrap_or(u64::MAX));
        Self {
            token: token.to_owned(),
            expires_at,
        }
    }

    fn to_bytes(&self) -> Bytes {
        format!("{} {}\n", self.token, self.expires_at).into()
    }

    /// Parses the content of an object. Returns `None` if it is not that of a lock, and then nobody has the lock.
    fn read(object: &Object) -> Option<Self> {
        let (token, expires_at) = std::str::from_utf8(&object.bytes).ok()?.trim_end().split_once(' ')?;
        Some(Self {
            token: token.to_owned(),
            expires_at: expires_at.parse().ok()?,
        })
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Acquires the lock of this name if no other process has it.
///
/// # Errors
/// The store cannot be reached.
pub(super) async fn acquire(bucket: &Bucket, name: &str, ttl: Duration) -> Result<Lock> {
    let claim = Claim::new(&lock_token(), ttl);
    let acquired = |version| {
        Lock::Acquired(Box::new(ObjectLease {
            bucket: bucket.clone(),
            name: name.to_owned(),
            token: claim.token.clone(),
            version: Mutex::new(version),
        }))
    };
    let mut mode = PutMode::Create;
    for _ in 0..ATTEMPTS {
        match bucket.put_if(name, claim.to_bytes(), mode).await {
            Ok(version) => return Ok(acquired(version)),
            Err(error) if is_rejected(&error) => {}
            Err(error) => return Err(bucket.failed("lock", name, &error)),
        }
        mode = match bucket.read(name).await? {
            // Released meanwhile.
            None => PutMode::Create,
            Some(object) => match Claim::read(&object) {
                // If the response to a first attempt was lost, the retry is rejected because of its own lock.
                Some(found) if found.token == claim.token => return Ok(acquired(object.version)),
                Some(found) if found.expires_at > now() => return Ok(Lock::Held),
                _ => PutMode::Update(object.version),
            },
        };
    }
    // Another process was faster every time.
    Ok(Lock::Held)
}

/// A lock that belongs to this process as long as the object contains its token.
struct ObjectLease {
    bucket: Bucket,
    name: String,
    token: String,
    /// The version that this process has written last.
    version: Mutex<UpdateVersion>,
}

impl ObjectLease {
    /// Extends the lock. Returns `false` if another process has it.
    async fn extend(&self, ttl: Duration) -> Result<bool> {
        let claim = Claim::new(&self.token, ttl);
        let mut version = self.version.lock().await;
        for _ in 0..ATTEMPTS {
            let mode = PutMode::Update(version.clone());
            match self.bucket.put_if(&self.name, claim.to_bytes(), mode).await {
                Ok(new) => {
                    *version = new;
                    return Ok(true);
                }
                Err(error) if is_rejected(&error) => {}
                Err(error) => return Err(self.bucket.failed("lock", &self.name, &error)),
            }
            // If the response to an earlier renewal was lost, the version has changed and the lock is still valid.
            match self.bucket.read(&self.name).await? {
                Some(object) if Claim::read(&object).is_some_and(|found| found.token == self.token) => {
                    *version = object.version;
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Lease for ObjectLease {
    async fn renew(&self, ttl: Duration) -> Result<()> {
        if self.extend(ttl).await? {
            return Ok(());
        }
        let location = self.bucket.location_of(&self.name);
        Err(Error::engine(format!(
            "the lock {location} was not renewed in time: another process has it"
        )))
    }

    // Stores cannot remove an object conditionally. So the lock is first extended for longer than the removal may take:
    // that fails if another process has the lock, and it prevents other processes from acquiring the lock meanwhile.
    async fn release(self: Box<Self>) -> Result<()> {
        if self.extend(REMOVAL_TTL).await? {
            self.bucket.remove(&self.name).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_parsed_and_other_content_is_not() {
        let read = |bytes: Bytes| {
            let version = UpdateVersion {
                e_tag: None,
                version: None,
            };
            Claim::read(&Object { bytes, version })
        };
        let claim = Claim::new(&lock_token(), Duration::from_secs(60));
        let again = read(claim.to_bytes()).unwrap();
        assert_eq!((&again.token, again.expires_at), (&claim.token, claim.expires_at));
        assert!(claim.expires_at > now() && claim.token.len() == 32);
        assert_eq!(Claim::new("x", Duration::MAX).expires_at, u64::MAX);
        for other in ["", "x", "x soon", "\u{ff}"] {
            assert!(read(other.into()).is_none(), "{other}");
        }
    }
}
