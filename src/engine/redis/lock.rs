//! Locks in Redis: keys that expire and whose value identifies the owner.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::cmd;

use super::store::Store;
use crate::engine::ttl::{lock_milliseconds, lock_token};
use crate::engine::{Lease, Lock};
use crate::error::{Error, Result};

/// Acquires the lock, or extends it if the same token has it: the reply to an earlier attempt may have been lost.
const ACQUIRE: &str = "\
if redis.call('get', KEYS[1]) == ARGV[1] or redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return redis.call('pexpire', KEYS[1], ARGV[2])
end
return 0";

const RENEW: &str = "\
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('pexpire', KEYS[1], ARGV[2])
end
return 0";

const RELEASE: &str = "\
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('del', KEYS[1])
end
return 0";

/// Acquires the lock at a key of Redis.
///
/// # Errors
/// [`Error::engine`]: the store cannot be reached.
pub(super) async fn acquire(store: &Arc<Store>, key: String, ttl: Duration) -> Result<Lock> {
    let lease = RedisLease {
        store: Arc::clone(store),
        key,
        token: lock_token(),
    };
    Ok(if lease.run(ACQUIRE, Some(ttl)).await? {
        Lock::Acquired(Box::new(lease))
    } else {
        Lock::Held
    })
}

struct RedisLease {
    store: Arc<Store>,
    key: String,
    token: String,
}

impl RedisLease {
    /// Runs a script. Returns whether it changed the lock.
    async fn run(&self, script: &str, ttl: Option<Duration>) -> Result<bool> {
        let mut command = cmd("EVAL");
        command.arg(script).arg(1).arg(&self.key).arg(&self.token);
        if let Some(ttl) = ttl {
            command.arg(lock_milliseconds(ttl));
        }
        self.store.command(&command).await
    }
}

#[async_trait]
impl Lease for RedisLease {
    async fn renew(&self, ttl: Duration) -> Result<()> {
        if self.run(RENEW, Some(ttl)).await? {
            Ok(())
        } else {
            let location = &self.store.address.location;
            Err(Error::engine(format!("{location}: the lock {} has expired", self.key)))
        }
    }

    async fn release(self: Box<Self>) -> Result<()> {
        self.run(RELEASE, None).await.map(drop)
    }
}
