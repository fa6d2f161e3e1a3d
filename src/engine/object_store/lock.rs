//! Locks: objects that are made and replaced only when nobody else has done so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{Error as StoreError, PutMode, UpdateVersion};
use tokio::sync::Mutex;

use super::{Bucket, LOCKS, Object, failure};
use crate::engine::{Lease, Lock};
use crate::error::{Error, Result};

/// How often a lock is tried again that changed while it was looked at.
const TRIES: usize = 4;

/// How long a lock is still held while it is being removed: longer than the request may take.
const REMOVAL: Duration = Duration::from_secs(60);

/// The ETag of no object.
const NO_ETAG: &str = "\"00000000000000000000000000000000\"";

/// The name of an object that nobody else has.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn probe() -> Result<String> {
    Ok(format!("{LOCKS}/probe-{}", &token()?[..16]))
}

/// Whether the store refuses writes whose condition does not hold: some ignore the condition, some the whole request.
///
/// # Errors
/// The store cannot be asked.
pub(super) async fn are_supported(bucket: &Bucket) -> Result<bool> {
    let name = probe()?;
    let put = async |mode| bucket.put_if(&name, Bytes::from("probe\n"), mode).await;
    let verdict = async {
        match put(PutMode::Create).await {
            // One whose answer was lost is sent again, and finds itself there.
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
                Err(error) if is_refused(&error) => {}
                Err(error) => return is_unsupported(&error).then_some(false).ok_or(error),
            }
        }
        Ok(true)
    };
    let verdict = verdict
        .await
        .map_err(|error: StoreError| bucket.failed("lock in", "", &error));
    // One that stays behind is no harm, and what went wrong before is what to tell.
    let removed = bucket.remove(&name).await;
    let is_supported = verdict?;
    removed?;
    if !is_supported {
        tracing::warn!(
            "{} does no conditional writes: of several programs that miss a recording, each asks for it",
            bucket.place
        );
    }
    Ok(is_supported)
}

/// The condition did not hold.
fn is_refused(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } | StoreError::NotModified { .. }
    ) || failure::is_absent(error)
}

/// The store says that it knows no such condition.
fn is_unsupported(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }
    ) || failure::is_not_implemented(error)
}

/// What a lock object holds: whose it is, and until when, in milliseconds since 1970.
struct Claim {
    token: String,
    until: u64,
}

impl Claim {
    fn new(token: &str, life: Duration) -> Self {
        let until = now().saturating_add(life.as_millis().try_into().unwrap_or(u64::MAX));
        Self {
            token: token.to_owned(),
            until,
        }
    }

    fn to_bytes(&self) -> Bytes {
        format!("{} {}\n", self.token, self.until).into()
    }

    /// `None` for what no lock says; it holds nothing.
    fn read(object: &Object) -> Option<Self> {
        let (token, until) = std::str::from_utf8(&object.bytes).ok()?.trim_end().split_once(' ')?;
        Some(Self {
            token: token.to_owned(),
            until: until.parse().ok()?,
        })
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

fn token() -> Result<String> {
    let mut bytes = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| Error::engine("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Takes the lock of this name if nobody has it.
///
/// # Errors
/// The store cannot be asked.
pub(super) async fn take(bucket: &Bucket, name: &str, life: Duration) -> Result<Lock> {
    let claim = Claim::new(&token()?, life);
    let taken = |version| {
        Lock::Acquired(Box::new(ObjectLease {
            bucket: bucket.clone(),
            name: name.to_owned(),
            token: claim.token.clone(),
            version: Mutex::new(version),
        }))
    };
    let mut mode = PutMode::Create;
    for _ in 0..TRIES {
        match bucket.put_if(name, claim.to_bytes(), mode).await {
            Ok(version) => return Ok(taken(version)),
            Err(error) if is_refused(&error) => {}
            Err(error) => return Err(bucket.failed("lock", name, &error)),
        }
        mode = match bucket.read(name).await? {
            // Given back meanwhile.
            None => PutMode::Create,
            Some(object) => match Claim::read(&object) {
                // A write whose answer was lost is sent again, and refused for what it has done itself.
                Some(found) if found.token == claim.token => return Ok(taken(object.version)),
                Some(found) if found.until > now() => return Ok(Lock::Held),
                _ => PutMode::Update(object.version),
            },
        };
    }
    // Others are quicker every time.
    Ok(Lock::Held)
}

/// A lock object that is ours as long as it holds our token.
struct ObjectLease {
    bucket: Bucket,
    name: String,
    token: String,
    /// The version that we wrote last.
    version: Mutex<UpdateVersion>,
}

impl ObjectLease {
    /// Writes another life; `false` when somebody else has the lock.
    async fn hold(&self, life: Duration) -> Result<bool> {
        let claim = Claim::new(&self.token, life);
        let mut version = self.version.lock().await;
        for _ in 0..TRIES {
            let mode = PutMode::Update(version.clone());
            match self.bucket.put_if(&self.name, claim.to_bytes(), mode).await {
                Ok(new) => {
                    *version = new;
                    return Ok(true);
                }
                Err(error) if is_refused(&error) => {}
                Err(error) => return Err(self.bucket.failed("lock", &self.name, &error)),
            }
            // A renewal whose answer was lost has changed the version, and the lock is still ours.
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
    async fn renew(&self, life: Duration) -> Result<()> {
        if self.hold(life).await? {
            return Ok(());
        }
        let place = self.bucket.place_of(&self.name);
        Err(Error::engine(format!(
            "the lock {place} was not renewed in time: somebody else has it"
        )))
    }

    // Stores remove an object whatever it holds. So it is first made ours for longer than removing it may take, which
    // fails when it is ours no more; nobody takes it over in between.
    async fn release(self: Box<Self>) -> Result<()> {
        if self.hold(REMOVAL).await? {
            self.bucket.remove(&self.name).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_comes_back_and_anything_else_is_none() {
        let read = |bytes: Bytes| {
            let version = UpdateVersion {
                e_tag: None,
                version: None,
            };
            Claim::read(&Object { bytes, version })
        };
        let claim = Claim::new(&token().unwrap(), Duration::from_secs(60));
        let again = read(claim.to_bytes()).unwrap();
        assert_eq!((&again.token, again.until), (&claim.token, claim.until));
        assert!(claim.until > now() && claim.token.len() == 32);
        assert_eq!(Claim::new("x", Duration::MAX).until, u64::MAX);
        for other in ["", "x", "x soon", "\u{ff}"] {
            assert!(read(other.into()).is_none(), "{other}");
        }
    }
}
