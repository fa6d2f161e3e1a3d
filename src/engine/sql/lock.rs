//! Locks in a database: rows that expire and whose token identifies the owner.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::store::{Store, Value};
use super::tables::LOCKS;
use crate::engine::retry::Retry;
use crate::engine::ttl::{lock_milliseconds, lock_token};
use crate::engine::{Lease, Lock};
use crate::error::{Error, Result};

/// Acquires the lock of this id.
///
/// # Errors
/// [`Error::engine`]: the database cannot be reached.
pub(super) async fn acquire(store: &Arc<Store>, id: String, ttl: Duration) -> Result<Lock> {
    let lease = SqlLease {
        store: Arc::clone(store),
        id,
        token: lock_token(),
    };
    let now = store.address.now();
    // The same token may acquire the lock again: the reply to an earlier attempt may have been lost.
    let statement = format!(
        "insert into {} as held (id, token, expires_at) values ($1, $2, {now} + $3) \
         on conflict (id) do update set token = excluded.token, expires_at = excluded.expires_at \
         where held.expires_at <= {now} or held.token = excluded.token",
        store.address.table(LOCKS)
    );
    Ok(if lease.execute(statement, Some(ttl)).await? {
        Lock::Acquired(Box::new(lease))
    } else {
        Lock::Held
    })
}

struct SqlLease {
    store: Arc<Store>,
    id: String,
    token: String,
}

impl SqlLease {
    /// Executes a statement about this lock. Returns whether it changed the lock.
    async fn execute(&self, statement: String, ttl: Option<Duration>) -> Result<bool> {
        let ttl = ttl.map(|ttl| Value::Number(Some(lock_milliseconds(ttl))));
        let values = [Value::Text(&self.id), Value::Text(&self.token)];
        let values: Vec<Value<'_>> = values.into_iter().chain(ttl).collect();
        Ok(self.store.execute(statement, &values, Retry::Always).await? > 0)
    }
}

#[async_trait]
impl Lease for SqlLease {
    async fn renew(&self, ttl: Duration) -> Result<()> {
        let (locks, now) = (self.store.address.table(LOCKS), self.store.address.now());
        let statement = format!("update {locks} set expires_at = {now} + $3 where id = $1 and token = $2");
        if self.execute(statement, Some(ttl)).await? {
            Ok(())
        } else {
            let location = &self.store.address.location;
            Err(Error::engine(format!("{location}: the lock {} has expired", self.id)))
        }
    }

    async fn release(self: Box<Self>) -> Result<()> {
        let locks = self.store.address.table(LOCKS);
        let statement = format!("delete from {locks} where id = $1 and token = $2");
        self.execute(statement, None).await.map(drop)
    }
}
