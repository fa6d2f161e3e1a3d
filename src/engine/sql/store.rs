//! Executes statements: connection pool, retries, removal of expired entries, errors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Database, FromRow, PgPool, SqlitePool};
use tokio::sync::OnceCell;

use super::address::{Address, Options};
use super::code::{code_of, is_busy, is_disconnected, is_rolled_back};
use super::tables::{self, CASSETTES, LOCKS};
use crate::engine::retry::{Attempts, Failure, Retry};
use crate::engine::timeout::Timeout;
use crate::error::{Error, Result};

const SQLITE_CONNECTIONS: u32 = 4;

const POSTGRES_CONNECTIONS: u32 = 8;

/// One of this many writes also removes expired entries, beginning with the first.
const WRITES_PER_SWEEP: u64 = 64;

/// How many expired entries are removed at most.
const SWEPT: u32 = 1000;

/// A database.
pub(super) struct Store {
    pub(super) address: Address,
    pub(super) timeout: Timeout,
    pool: OnceCell<Pool>,
    writes: AtomicU64,
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A value bound to a statement.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(Option<i64>),
}

/// Binds values to a query. A macro, because the queries of the two databases share no type.
macro_rules! bind {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match *value {
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Number(number) => query.bind(number),
            };
        }
        query
    }};
}

impl Store {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            timeout: Timeout::default(),
            pool: OnceCell::new(),
            writes: AtomicU64::new(0),
        }
    }

    /// Returns the pool that all callers share. The first caller creates the tables.
    async fn pool(&self) -> Result<&Pool> {
        let (limit, wait) = (self.timeout.connect(), self.timeout.wait_for_writers());
        let connecting = self.pool.get_or_try_init(async || {
            tables::create(&self.address, wait).await?;
            Ok(match &self.address.options {
                Options::Sqlite(options) => {
                    let options = options.clone().busy_timeout(wait);
                    Pool::Sqlite(pool_options(SQLITE_CONNECTIONS, limit).connect_lazy_with(options))
                }
                Options::Postgres(options) => {
                    Pool::Postgres(pool_options(POSTGRES_CONNECTIONS, limit).connect_lazy_with(options.clone()))
                }
            })
        });
        match tokio::time::timeout(limit, connecting).await {
            Ok(pool) => pool.map_err(|error| self.error(error)),
            Err(_) => Err(self.error(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Executes a statement. Returns how many rows it has changed.
    pub(super) async fn execute(&self, statement: String, values: &[Value<'_>], retry: Retry) -> Result<u64> {
        let statement: Arc<str> = statement.into();
        let mut attempts = Attempts::new(retry, self.timeout.connect());
        loop {
            let query = AssertSqlSafe(Arc::clone(&statement));
            let attempt = async {
                let pool = self.pool().await.map_err(Failure::permanent)?;
                match pool {
                    Pool::Sqlite(pool) => bind!(sqlx::query(query), values)
                        .execute(pool)
                        .await
                        .map(|result| result.rows_affected()),
                    Pool::Postgres(pool) => bind!(sqlx::query(query), values)
                        .execute(pool)
                        .await
                        .map(|result| result.rows_affected()),
                }
                .map_err(|error| self.failure(error))
            };
            match self.in_time(attempt).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => attempts.next(failure).await?,
            }
        }
    }

    /// Returns the rows of a query.
    pub(super) async fn rows<T>(&self, statement: String, values: &[Value<'_>]) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let statement: Arc<str> = statement.into();
        let mut attempts = Attempts::new(Retry::Always, self.timeout.connect());
        loop {
            let query = AssertSqlSafe(Arc::clone(&statement));
            let attempt = async {
                let pool = self.pool().await.map_err(Failure::permanent)?;
                match pool {
                    Pool::Sqlite(pool) => bind!(sqlx::query_as(query), values).fetch_all(pool).await,
                    Pool::Postgres(pool) => bind!(sqlx::query_as(query), values).fetch_all(pool).await,
                }
                .map_err(|error| self.failure(error))
            };
            match self.in_time(attempt).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => attempts.next(failure).await?,
            }
        }
    }

    /// Returns the value of a query for at most one row with one column of bytes.
    pub(super) async fn bytes(&self, statement: String, values: &[Value<'_>]) -> Result<Option<Bytes>> {
        let rows: Vec<(Vec<u8>,)> = self.rows(statement, values).await?;
        Ok(rows.into_iter().next().map(|(bytes,)| bytes.into()))
    }

    async fn in_time<T>(&self, attempt: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout.response(), attempt).await {
            Ok(result) => result,
            Err(elapsed) => {
                let message = format!("{} did not respond in time", self.address.location);
                Err(Failure::permanent(Error::engine(message).with_source(elapsed)))
            }
        }
    }

    /// Removes some of the expired entries after the first write and after every 64th write that follows.
    pub(super) async fn sweep(&self) {
        if !self
            .writes
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(WRITES_PER_SWEEP)
        {
            return;
        }
        let now = self.address.now();
        let (cassettes, locks) = (self.address.table(CASSETTES), self.address.table(LOCKS));
        let skip_locked = match self.address.options {
            Options::Sqlite(_) => "",
            Options::Postgres(_) => "for update skip locked",
        };
        // The outer query repeats the condition, because a row may be renewed after the inner query has read it.
        let expired_entries = format!(
            "delete from {cassettes} where expires_at <= {now} and (scope, hash) in \
             (select scope, hash from {cassettes} where expires_at <= {now} limit {SWEPT} {skip_locked})"
        );
        let expired_locks = format!(
            "delete from {locks} where expires_at <= {now} and id in \
             (select id from {locks} where expires_at <= {now} limit {SWEPT} {skip_locked})"
        );
        for statement in [expired_entries, expired_locks] {
            if let Err(error) = self.execute(statement, &[], Retry::IfNotExecuted).await {
                tracing::debug!("expired entries were not removed: {error}");
            }
        }
    }

    fn failure(&self, error: sqlx::Error) -> Failure {
        if is_rolled_back(&error) {
            Failure::not_executed(self.error(error))
        } else if is_disconnected(&error) {
            Failure::unknown(self.error(error))
        } else {
            Failure::permanent(self.error(error))
        }
    }

    fn error(&self, error: sqlx::Error) -> Error {
        let location = &self.address.location;
        let code = code_of(&error);
        let code = code.as_deref().unwrap_or_default();
        let (message, hint) = match (&self.address.options, &error) {
            (Options::Postgres(_), _) if ["28000", "28P01"].contains(&code) => (
                format!("{location} refused the credentials"),
                Some(
                    "user and password come from the URL (/ ? # @ and % in them are written %2F %3F %23 %40 and %25), PGUSER and PGPASSWORD, or ~/.pgpass",
                ),
            ),
            (Options::Postgres(_), sqlx::Error::Io(_)) => (
                format!("cannot connect to {location}"),
                Some("check that the server is running and that this is its address"),
            ),
            (Options::Sqlite(_), sqlx::Error::Database(_)) if code == "14" => cannot_open(location),
            (_, sqlx::Error::PoolTimedOut) => (
                format!("{location} provided no connection within {:?}", self.timeout.connect()),
                Some("check that it is running and accepts more connections"),
            ),
            (Options::Sqlite(_), _) if is_busy(&error) => (
                format!(
                    "{location} has been locked by other writers for more than {:?}",
                    self.timeout.wait_for_writers()
                ),
                None,
            ),
            _ => (format!("{location} failed"), None),
        };
        let error = Error::engine(message).with_source(error);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Returns the options of a pool. By default sqlx logs a warning when a connection takes more than two seconds. It is
/// turned off: after `acquire_timeout` there is an error.
fn pool_options<DB: Database>(connections: u32, limit: Duration) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(limit)
        .acquire_slow_threshold(Duration::MAX)
}

fn cannot_open(location: &str) -> (String, Option<&'static str>) {
    let path = location.trim_start_matches("sqlite:");
    let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => (
            format!("cannot create {location}: there is no folder {}", folder.display()),
            Some("create the folder, or use another file"),
        ),
        None => (format!("cannot open {location}"), None),
    }
}
