//! Cassettes in a database: SQLite in a file, PostgreSQL on a server.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, FromRow, PgPool, SqlitePool};
use tokio::sync::OnceCell;

use super::url::{StoreUrl, decoded, lock_milliseconds, milliseconds, unique, wrong};
use super::{CacheEngine, Counts, EngineExtensions, Lease, Lock, Size};
use crate::error::{Error, Result};
use crate::key::{RequestKey, Scope};

const SQLITE_FORM: &str = "sqlite:path/to/file.db; there are no options";

const POSTGRES_FORM: &str = "\
postgres://user:password@host:5432/database?schema=team; the other options are application_name, host, port, sslcert, \
sslkey, sslmode, sslrootcert, statement-cache-capacity and user, and what is left out comes from PGHOST, PGPORT, PGUSER, \
PGPASSWORD, PGDATABASE and ~/.pgpass";

/// What PostgreSQL's own clients take as well.
const POSTGRES_OPTIONS: [&str; 9] = [
    "application_name",
    "host",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

const TABLES: [&str; 5] = [
    "mistral_cassettes",
    "mistral_cassette_bodies",
    "mistral_cassette_counts",
    "mistral_cassette_locks",
    "mistral_cassette_settings",
];

/// How long getting a connection may take, and how long one of SQLite waits for another one's write.
const CONNECTING: Duration = Duration::from_secs(5);

/// How long an answer may take: 50 MB over a slow line.
const ANSWERING: Duration = Duration::from_secs(30);

const SQLITE_CONNECTIONS: u32 = 4;

const POSTGRES_CONNECTIONS: u32 = 8;

/// How often a statement is sent whose connection broke, when sending it again changes nothing.
const ATTEMPTS: u32 = 4;

/// The pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// Of how many writes one removes what is over, beginning with the first.
const SWEEPING: u64 = 64;

/// How many entries it removes at most.
const SWEPT: u32 = 1000;

/// The lock that makers of tables take in PostgreSQL; any number does.
const MAKING: i64 = 0x6d63_6173;

/// Keeps cassettes in a database: SQLite, or PostgreSQL for a team.
///
/// # Layout
/// The tables are made with the first request, unless they are there: `mistral_cassettes` with the documents by scope
/// and hash, `mistral_cassette_bodies`, `mistral_cassette_counts`, `mistral_cassette_locks` and
/// `mistral_cassette_settings`. What has a life ends by the clock of the database: it is not given back any more, and
/// removed now and then by those who write. Clones share a few connections.
#[derive(Clone)]
pub struct SqlEngine {
    store: Arc<Store>,
}

struct Store {
    options: Options,
    /// The database without credentials, as errors name it.
    place: String,
    /// What stands before the names of tables: a schema and a dot, or nothing.
    schema: String,
    pool: OnceCell<Pool>,
    writes: AtomicU64,
}

enum Options {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A value that a statement is given.
#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(Option<i64>),
}

/// Gives a query its values; a macro because the two kinds of query have no type in common.
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

/// Whether a statement can be sent again when it is not known if it has been carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BackgroundTransport {
    Yes,
    No,
}

impl SqlEngine {
    /// The engine of this URL: `sqlite:path/to/file.db`, or `postgres://[user:password@]host[:port]/database[?schema=…]`,
    /// where what is left out comes from where PostgreSQL's own clients take it (`PGPASSWORD`, `~/.pgpass`). Nothing is
    /// connected before the first request.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): a URL that is wrong; it is not repeated, because of what may
    /// be in it.
    pub fn open(url: &str) -> Result<Self> {
        let (options, place, schema) = match url.split_once(':') {
            Some(("sqlite", path)) => sqlite(path)?,
            Some((scheme @ ("postgres" | "postgresql"), _)) => postgres(url, scheme)?,
            _ => return Err(wrong("sql", "this is no scheme of a database", SQLITE_FORM)),
        };
        Ok(Self {
            store: Arc::new(Store {
                options,
                place,
                schema,
                pool: OnceCell::new(),
                writes: AtomicU64::new(0),
            }),
        })
    }

    async fn keep(&self, key: &RequestKey, cassette: &Bytes, life: Option<i64>) -> Result<()> {
        let store = &self.store;
        let (cassettes, now) = (store.table("mistral_cassettes"), store.now());
        let statement = format!(
            "insert into {cassettes} (scope, hash, endpoint, slug, document, expires_at) values ($1, $2, $3, $4, $5, {now} + $6) \
             on conflict (scope, hash) do update set endpoint = excluded.endpoint, slug = excluded.slug, \
             document = excluded.document, expires_at = excluded.expires_at"
        );
        let values = [
            Value::Text(key.scope().as_str()),
            Value::Text(key.hash()),
            Value::Text(key.endpoint()),
            Value::Text(key.slug()),
            Value::Bytes(cassette),
            Value::Number(life),
        ];
        store.execute(statement, &values, BackgroundTransport::Yes).await?;
        store.sweep().await;
        Ok(())
    }
}

fn sqlite(path: &str) -> Result<(Options, String, String)> {
    let wrong = |what: &str| wrong("sqlite", what, SQLITE_FORM);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.contains('?') {
        return Err(wrong("there are no options (a ? in a name is written %3F)"));
    }
    let path = decoded(path).ok_or_else(|| wrong("the path is no UTF-8"))?;
    match &*path {
        "" => return Err(wrong("there is no path")),
        ":memory:" => return Err(wrong("for cassettes in memory there is memory:")),
        _ => {}
    }
    let place = format!("sqlite:{path}");
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(CONNECTING)
        .synchronous(SqliteSynchronous::Normal)
        .disable_statement_logging();
    Ok((Options::Sqlite(options), place, String::new()))
}

fn postgres(url: &str, scheme: &str) -> Result<(Options, String, String)> {
    let parts = StoreUrl::parse(url, POSTGRES_FORM)?;
    let mut schema = String::new();
    let mut options = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &parts.options {
        if name == "schema" {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if !(1..=63).contains(&value.len()) || !value.bytes().all(is_plain) {
                return Err(parts.wrong("a schema is 1 to 63 letters, digits and _"));
            }
            schema = format!("\"{value}\".");
        } else if POSTGRES_OPTIONS.contains(&&**name) {
            options.append_pair(name, value);
        } else {
            return Err(parts.wrong(&format!("there is no option {name}")));
        }
    }
    let (user, password) = parts.user_and_password()?;
    if let Some(user) = user {
        options.append_pair("user", &user);
    }
    let url = format!("{scheme}://{}/{}?{}", parts.hosts, parts.path, options.finish());
    let mut options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| {
        parts
            .wrong("its host, its port or the value of an option cannot be read")
            .with_source(error)
    })?;
    if let Some(password) = password {
        options = options.password(&password);
    }
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if options.get_host().contains(':') && !options.get_host().starts_with('[') => {
            format!("[{}]", options.get_host())
        }
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    let place = format!("postgres://{host}:{}/{database}", options.get_port());
    Ok((Options::Postgres(options.disable_statement_logging()), place, schema))
}

impl Store {
    fn table(&self, name: &str) -> String {
        format!("{}{name}", self.schema)
    }

    /// The milliseconds since 1970 by the clock of the database.
    fn now(&self) -> &'static str {
        match self.options {
            Options::Sqlite(_) => "cast(unixepoch('subsec') * 1000 as integer)",
            Options::Postgres(_) => "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)",
        }
    }

    /// The condition that an entry's life is not over.
    fn lives(&self) -> String {
        format!("(expires_at is null or expires_at > {})", self.now())
    }

    /// The connections, with the tables made: by one caller, for all.
    async fn pool(&self) -> Result<&Pool> {
        let connecting = self.pool.get_or_try_init(async || {
            self.make_tables().await?;
            Ok(match &self.options {
                Options::Sqlite(options) => Pool::Sqlite(
                    PoolOptions::new()
                        .max_connections(SQLITE_CONNECTIONS)
                        .acquire_timeout(CONNECTING)
                        .connect_lazy_with(options.clone()),
                ),
                Options::Postgres(options) => Pool::Postgres(
                    PoolOptions::new()
                        .max_connections(POSTGRES_CONNECTIONS)
                        .acquire_timeout(CONNECTING)
                        .connect_lazy_with(options.clone()),
                ),
            })
        });
        match tokio::time::timeout(CONNECTING, connecting).await {
            Ok(pool) => pool.map_err(|error| self.failed(error)),
            Err(_) => Err(self.failed(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Makes the tables that are missing, over a connection of its own, so that what keeps it from connecting is told at
    /// once. Others may do the same at the same time.
    async fn make_tables(&self) -> sqlx::Result<()> {
        match &self.options {
            Options::Sqlite(options) => {
                let mut connection = options.connect().await?;
                // A change of this mode does not wait for others, as all else does.
                let since = Instant::now();
                while let Err(error) = sqlx::raw_sql("pragma journal_mode = wal")
                    .execute(&mut connection)
                    .await
                {
                    if !is_busy(&error) || since.elapsed() > CONNECTING {
                        return Err(error);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                let names = TABLES.map(|name| format!("'{name}'")).join(", ");
                let count = format!("select count(*) from sqlite_master where type = 'table' and name in ({names})");
                let there: i64 = sqlx::query_scalar(AssertSqlSafe(count))
                    .fetch_one(&mut connection)
                    .await?;
                if there < TABLES.len() as i64 {
                    let all = format!("begin immediate; {} commit;", self.tables());
                    sqlx::raw_sql(AssertSqlSafe(all)).execute(&mut connection).await?;
                }
                connection.close().await
            }
            Options::Postgres(options) => {
                let mut connection = options.connect().await?;
                let names = TABLES.map(|name| format!("('{}')", self.table(name))).join(", ");
                let count = format!("select count(to_regclass(name)) from (values {names}) as wanted(name)");
                let there: i64 = sqlx::query_scalar(AssertSqlSafe(count))
                    .fetch_one(&mut connection)
                    .await?;
                if there < TABLES.len() as i64 {
                    let schema = match self.schema.trim_end_matches('.') {
                        "" => String::new(),
                        schema => format!(
                            "do $$ begin if to_regnamespace('{schema}') is null then create schema {schema}; end if; end $$;"
                        ),
                    };
                    let tables = self.tables();
                    let all = format!("begin; select pg_advisory_xact_lock({MAKING}); {schema} {tables} commit;");
                    sqlx::raw_sql(AssertSqlSafe(all)).execute(&mut connection).await?;
                }
                connection.close().await
            }
        }
    }

    fn tables(&self) -> String {
        let bytes = match self.options {
            Options::Sqlite(_) => "blob",
            Options::Postgres(_) => "bytea",
        };
        let [cassettes, bodies, counts, locks, settings] = TABLES.map(|name| self.table(name));
        format!(
            "create table if not exists {cassettes} (scope text not null, hash text not null, endpoint text not null, \
             slug text not null, document {bytes} not null, expires_at bigint, primary key (scope, hash)); \
             create index if not exists {} on {cassettes} (expires_at) where expires_at is not null; \
             create table if not exists {bodies} (sha256 text not null primary key, body {bytes} not null); \
             create table if not exists {counts} (id integer not null primary key, hits bigint not null, misses bigint not null, \
             tokens_saved bigint not null, milliseconds_saved bigint not null); \
             create table if not exists {locks} (id text not null primary key, token text not null, expires_at bigint not null); \
             create table if not exists {settings} (id integer not null primary key, document {bytes} not null);",
            // An index is in the schema of its table, and takes none.
            "mistral_cassettes_expire"
        )
    }

    /// Carries out a statement: how many rows it has changed.
    async fn execute(&self, statement: String, values: &[Value<'_>], again: BackgroundTransport) -> Result<u64> {
        let statement: Arc<str> = statement.into();
        let once = async || {
            let query = AssertSqlSafe(Arc::clone(&statement));
            Ok(match self.pool().await? {
                Pool::Sqlite(pool) => bind!(sqlx::query(query), values)
                    .execute(pool)
                    .await
                    .map(|done| done.rows_affected()),
                Pool::Postgres(pool) => bind!(sqlx::query(query), values)
                    .execute(pool)
                    .await
                    .map(|done| done.rows_affected()),
            })
        };
        let mut attempts = Attempts::new(again);
        loop {
            match self.within(once()).await? {
                Ok(rows) => return Ok(rows),
                Err(error) => attempts.next(error).await.map_err(|error| self.failed(error))?,
            }
        }
    }

    /// The rows of a query.
    async fn rows<T>(&self, statement: String, values: &[Value<'_>]) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let statement: Arc<str> = statement.into();
        let once = async || {
            let query = AssertSqlSafe(Arc::clone(&statement));
            Ok(match self.pool().await? {
                Pool::Sqlite(pool) => bind!(sqlx::query_as(query), values).fetch_all(pool).await,
                Pool::Postgres(pool) => bind!(sqlx::query_as(query), values).fetch_all(pool).await,
            })
        };
        let mut attempts = Attempts::new(BackgroundTransport::Yes);
        loop {
            match self.within(once()).await? {
                Ok(rows) => return Ok(rows),
                Err(error) => attempts.next(error).await.map_err(|error| self.failed(error))?,
            }
        }
    }

    /// The one value of a query that gives at most one row of bytes.
    async fn bytes(&self, statement: String, values: &[Value<'_>]) -> Result<Option<Bytes>> {
        let rows: Vec<(Vec<u8>,)> = self.rows(statement, values).await?;
        Ok(rows.into_iter().next().map(|(bytes,)| bytes.into()))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(ANSWERING, work).await {
            Ok(done) => done,
            Err(late) => Err(Error::engine(format!("{} did not answer in time", self.place)).with_source(late)),
        }
    }

    /// Removes some of what is over, now and then.
    async fn sweep(&self) {
        if !self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEPING) {
            return;
        }
        let now = self.now();
        let (cassettes, locks) = (self.table("mistral_cassettes"), self.table("mistral_cassette_locks"));
        let skipping = match self.options {
            Options::Sqlite(_) => "",
            Options::Postgres(_) => "for update skip locked",
        };
        // The condition stands outside as well: a row may be given a new life between the two.
        let entries = format!(
            "delete from {cassettes} where expires_at <= {now} and (scope, hash) in \
             (select scope, hash from {cassettes} where expires_at <= {now} limit {SWEPT} {skipping})"
        );
        let dead = format!(
            "delete from {locks} where expires_at <= {now} and id in \
             (select id from {locks} where expires_at <= {now} limit {SWEPT} {skipping})"
        );
        for statement in [entries, dead] {
            if let Err(error) = self.execute(statement, &[], BackgroundTransport::No).await {
                tracing::debug!("what is over stays for now: {error}");
            }
        }
    }

    fn failed(&self, error: sqlx::Error) -> Error {
        let place = &self.place;
        let code = code_of(&error);
        let code = code.as_deref().unwrap_or_default();
        let (message, hint) = match (&self.options, &error) {
            (Options::Postgres(_), _) if ["28000", "28P01"].contains(&code) => (
                format!("{place} refused the credentials"),
                Some(
                    "user and password come from the URL (/ ? # @ and % in them are written %2F %3F %23 %40 and %25), PGUSER and PGPASSWORD, or ~/.pgpass",
                ),
            ),
            (Options::Postgres(_), sqlx::Error::Io(_)) => (
                format!("{place} cannot be reached"),
                Some("is the server running, and is this its address?"),
            ),
            (Options::Sqlite(_), sqlx::Error::Database(_)) if code == "14" => {
                let path = place.trim_start_matches("sqlite:");
                let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
                match folder.filter(|folder| !folder.is_dir()) {
                    Some(folder) => (
                        format!("{place} cannot be made: there is no folder {}", folder.display()),
                        Some("make the folder, or name another file"),
                    ),
                    None => (format!("{place} cannot be opened"), None),
                }
            }
            (_, sqlx::Error::PoolTimedOut) => (
                format!("{place} gave no connection within {} seconds", CONNECTING.as_secs()),
                Some("is it running, and does it take more connections?"),
            ),
            (Options::Sqlite(_), _) if is_busy(&error) => (
                format!(
                    "{place} is being written by others for more than {} seconds",
                    CONNECTING.as_secs()
                ),
                None,
            ),
            _ => (format!("{place} failed"), None),
        };
        let failed = Error::engine(message).with_source(error);
        match hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    }
}

/// How often something has been tried.
struct Attempts {
    again: BackgroundTransport,
    made: u32,
    since: Instant,
}

impl Attempts {
    fn new(again: BackgroundTransport) -> Self {
        Self {
            again,
            made: 0,
            since: Instant::now(),
        }
    }

    /// Waits for the next one; the error when there is none.
    async fn next(&mut self, error: sqlx::Error) -> sqlx::Result<()> {
        self.made += 1;
        let may_pass = match self.again {
            BackgroundTransport::Yes => is_broken(&error) || is_undone(&error),
            BackgroundTransport::No => is_undone(&error),
        };
        if !may_pass || self.made == ATTEMPTS || self.since.elapsed() > CONNECTING {
            return Err(error);
        }
        tokio::time::sleep(PAUSE * 2u32.pow(self.made - 1)).await;
        Ok(())
    }
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether the connection broke, so that nobody knows what was carried out.
fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // The server is shutting down, or one of its processes has crashed.
        _ => code_of(error).is_some_and(|code| ["57P01", "57P02", "57P03"].contains(&&*code)),
    }
}

/// Whether it was given up in favour of others, and nothing was carried out: PostgreSQL's conflicts.
fn is_undone(error: &sqlx::Error) -> bool {
    code_of(error).is_some_and(|code| ["40001", "40P01"].contains(&&*code))
}

/// Whether SQLite is being written by somebody else: the primary code in the low byte is SQLITE_BUSY.
fn is_busy(error: &sqlx::Error) -> bool {
    let number = code_of(error).and_then(|code| code.parse::<u32>().ok());
    number.is_some_and(|number| number & 0xff == 5)
}

#[async_trait]
impl CacheEngine for SqlEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        let (cassettes, lives) = (self.store.table("mistral_cassettes"), self.store.lives());
        let statement = format!("select document from {cassettes} where scope = $1 and hash = $2 and {lives}");
        let values = [Value::Text(key.scope().as_str()), Value::Text(key.hash())];
        self.store.bytes(statement, &values).await
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.keep(key, &cassette, None).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        let statement = format!(
            "delete from {} where scope = $1 and hash = $2",
            self.store.table("mistral_cassettes")
        );
        let values = [Value::Text(key.scope().as_str()), Value::Text(key.hash())];
        self.store
            .execute(statement, &values, BackgroundTransport::Yes)
            .await
            .map(drop)
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        let (cassettes, lives) = (self.store.table("mistral_cassettes"), self.store.lives());
        let statement = format!("select scope, hash, endpoint, slug from {cassettes} where {lives}");
        let rows: Vec<(String, String, String, String)> = self.store.rows(statement, &[]).await?;
        let key = |(scope, hash, endpoint, slug): (String, String, String, String)| {
            let scope = match &*scope {
                "" => Scope::root(),
                scope => Scope::new(scope).ok()?,
            };
            // A row that is none of ours has no such hash.
            (hash.len() == 64 && hash.is_ascii()).then(|| RequestKey::from_parts(hash, scope, endpoint, slug))
        };
        Ok(rows.into_iter().filter_map(key).collect())
    }

    async fn clear(&self) -> Result<()> {
        for table in ["mistral_cassettes", "mistral_cassette_bodies"] {
            let statement = format!("delete from {}", self.store.table(table));
            self.store.execute(statement, &[], BackgroundTransport::Yes).await?;
        }
        Ok(())
    }

    fn location_of(&self, key: &RequestKey) -> String {
        format!("{} ({})", self.store.place, key.name())
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for SqlEngine {
    async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
        self.keep(key, cassette, milliseconds(ttl)).await?;
        Ok(true)
    }

    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        let statement = format!(
            "select body from {} where sha256 = $1",
            self.store.table("mistral_cassette_bodies")
        );
        self.store.bytes(statement, &[Value::Text(sha256)]).await
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        // One that was damaged is written again.
        let statement = format!(
            "insert into {} as kept (sha256, body) values ($1, $2) \
             on conflict (sha256) do update set body = excluded.body where kept.body <> excluded.body",
            self.store.table("mistral_cassette_bodies")
        );
        let values = [Value::Text(sha256), Value::Bytes(body)];
        self.store.execute(statement, &values, BackgroundTransport::Yes).await?;
        Ok(true)
    }

    async fn lock(&self, key: &RequestKey, life: Duration) -> Result<Lock> {
        let lease = SqlLease {
            store: Arc::clone(&self.store),
            id: key.id(),
            token: unique(),
        };
        let now = self.store.now();
        // With the same token it is taken again: an answer may have been lost on its way.
        let statement = format!(
            "insert into {} as held (id, token, expires_at) values ($1, $2, {now} + $3) \
             on conflict (id) do update set token = excluded.token, expires_at = excluded.expires_at \
             where held.expires_at <= {now} or held.token = excluded.token",
            self.store.table("mistral_cassette_locks")
        );
        let is_taken = lease.execute(statement, Some(life)).await?;
        Ok(if is_taken {
            Lock::Acquired(Box::new(lease))
        } else {
            Lock::Held
        })
    }

    async fn size(&self) -> Result<Option<Size>> {
        let (cassettes, lives) = (self.store.table("mistral_cassettes"), self.store.lives());
        let bodies = self.store.table("mistral_cassette_bodies");
        let statement = format!(
            "select (select count(*) from {cassettes} where {lives}), \
             (select cast(coalesce(sum(octet_length(document)), 0) as bigint) from {cassettes} where {lives}), \
             (select cast(coalesce(sum(octet_length(body)), 0) as bigint) from {bodies})"
        );
        let rows: Vec<(i64, i64, i64)> = self.store.rows(statement, &[]).await?;
        Ok(rows.first().map(|(entries, documents, bodies)| Size {
            entries: entries.unsigned_abs(),
            bytes: documents.unsigned_abs() + bodies.unsigned_abs(),
        }))
    }

    /// Sent once: rather one count too few than one too many.
    async fn add_counts(&self, counts: Counts) -> Result<()> {
        let statement = format!(
            "insert into {} as kept (id, hits, misses, tokens_saved, milliseconds_saved) values (1, $1, $2, $3, $4) \
             on conflict (id) do update set hits = kept.hits + excluded.hits, misses = kept.misses + excluded.misses, \
             tokens_saved = kept.tokens_saved + excluded.tokens_saved, \
             milliseconds_saved = kept.milliseconds_saved + excluded.milliseconds_saved",
            self.store.table("mistral_cassette_counts")
        );
        let values = [
            counts.hits,
            counts.misses,
            counts.tokens_saved,
            counts.milliseconds_saved,
        ]
        .map(|more| Value::Number(Some(i64::try_from(more).unwrap_or(i64::MAX))));
        self.store
            .execute(statement, &values, BackgroundTransport::No)
            .await
            .map(drop)
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        let statement = format!(
            "select hits, misses, tokens_saved, milliseconds_saved from {}",
            self.store.table("mistral_cassette_counts")
        );
        let rows: Vec<(i64, i64, i64, i64)> = self.store.rows(statement, &[]).await?;
        let (hits, misses, tokens, milliseconds) = rows.first().copied().unwrap_or_default();
        Ok(Some(Counts {
            hits: hits.unsigned_abs(),
            misses: misses.unsigned_abs(),
            tokens_saved: tokens.unsigned_abs(),
            milliseconds_saved: milliseconds.unsigned_abs(),
        }))
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        let statement = format!("select document from {}", self.store.table("mistral_cassette_settings"));
        self.store.bytes(statement, &[]).await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        let statement = format!(
            "insert into {} (id, document) values (1, $1) on conflict (id) do update set document = excluded.document",
            self.store.table("mistral_cassette_settings")
        );
        let values = [Value::Bytes(&settings)];
        self.store
            .execute(statement, &values, BackgroundTransport::Yes)
            .await
            .map(drop)
    }
}

impl fmt::Debug for SqlEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlEngine").field("place", &self.store.place).finish()
    }
}

struct SqlLease {
    store: Arc<Store>,
    id: String,
    token: String,
}

impl SqlLease {
    /// Carries out a statement about this lock: whether it changed it.
    async fn execute(&self, statement: String, life: Option<Duration>) -> Result<bool> {
        let life = life.map(|life| Value::Number(Some(lock_milliseconds(life))));
        let values = [Value::Text(&self.id), Value::Text(&self.token)];
        let values: Vec<Value<'_>> = values.into_iter().chain(life).collect();
        Ok(self.store.execute(statement, &values, BackgroundTransport::Yes).await? > 0)
    }
}

#[async_trait]
impl Lease for SqlLease {
    async fn renew(&self, life: Duration) -> Result<()> {
        let (locks, now) = (self.store.table("mistral_cassette_locks"), self.store.now());
        let statement = format!("update {locks} set expires_at = {now} + $3 where id = $1 and token = $2");
        if self.execute(statement, Some(life)).await? {
            Ok(())
        } else {
            Err(Error::engine(format!(
                "{}: the lock {} is lost: its life was over",
                self.store.place, self.id
            )))
        }
    }

    async fn release(self: Box<Self>) -> Result<()> {
        let locks = self.store.table("mistral_cassette_locks");
        let statement = format!("delete from {locks} where id = $1 and token = $2");
        self.execute(statement, None).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_wrong_url_says_what_is_wrong_and_repeats_nothing() {
        for (url, told) in [
            ("sqlite:", "there is no path"),
            ("sqlite::memory:", "there is memory:"),
            ("sqlite:a.db?mode=ro", "there are no options"),
            ("mysql://host/x", "no scheme of a database"),
            ("postgres:host", "no ://"),
            ("postgres://:secret@host:port/x", "its port"),
            ("postgres://:secret@host/x?sslmode=maybe", "value of an option"),
            ("postgres://:secret@host/x?shema=a", "no option shema"),
            ("postgres://:secret@host/x?password=secret", "no option password"),
            ("postgres://:secret@host/x?schema=a-b", "a schema is"),
            ("postgres://:se/cret@host/x", "%2F"),
        ] {
            let error = SqlEngine::open(url).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            let report = error.report();
            assert!(
                report.contains(told) && !report.contains("secret") && !report.contains("cret@"),
                "{url}: {report}"
            );
        }
    }

    #[test]
    fn its_place_has_no_credentials() {
        let key = RequestKey::from_parts("0".repeat(64), Scope::root(), "chat".to_owned(), "hello".to_owned());
        for (url, place) in [
            ("sqlite:a/b%20c.db", "sqlite:a/b c.db (chat/hello-0000000000000000)"),
            ("sqlite:///a.db", "sqlite:/a.db (chat/hello-0000000000000000)"),
            (
                "postgres://me:secret@db.example:7/x?schema=a",
                "postgres://db.example:7/x (chat/hello-0000000000000000)",
            ),
            (
                "postgresql://me:secret@[::1]:7/x",
                "postgres://[::1]:7/x (chat/hello-0000000000000000)",
            ),
            (
                "postgres://me@/x?host=/run/pg&port=7",
                "postgres:///run/pg:7/x (chat/hello-0000000000000000)",
            ),
        ] {
            let engine = SqlEngine::open(url).unwrap();
            assert_eq!(engine.location_of(&key), place);
            assert!(!format!("{engine:?}").contains("secret"));
        }
    }
}
