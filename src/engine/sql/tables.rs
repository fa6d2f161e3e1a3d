//! Creates the tables.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::address::{Address, Options};
use super::code::is_busy;
use crate::engine::retry::PAUSE;

pub(super) const CASSETTES: &str = "mistral_cassettes";
pub(super) const BODIES: &str = "mistral_cassette_bodies";
pub(super) const COUNTS: &str = "mistral_cassette_counts";
pub(super) const LOCKS: &str = "mistral_cassette_locks";
pub(super) const SETTINGS: &str = "mistral_cassette_settings";

const TABLES: [&str; 5] = [CASSETTES, BODIES, COUNTS, LOCKS, SETTINGS];

/// The advisory lock under which a process creates tables in PostgreSQL: the bytes of `mcas`.
const CREATION_LOCK: i64 = 0x6d63_6173;

/// Creates the tables that are missing. Uses a connection of its own, because a pool hides why it cannot connect. Other
/// processes may do the same at the same time: in SQLite it waits for them for at most `wait`.
pub(super) async fn create(address: &Address, wait: Duration) -> sqlx::Result<()> {
    match &address.options {
        Options::Sqlite(options) => create_in_sqlite(address, &options.clone().busy_timeout(wait), wait).await,
        Options::Postgres(options) => create_in_postgres(address, options).await,
    }
}

async fn create_in_sqlite(address: &Address, options: &SqliteConnectOptions, wait: Duration) -> sqlx::Result<()> {
    let mut connection = options.connect().await?;
    use_write_ahead_log(&mut connection, wait).await?;
    let names = TABLES.map(|name| format!("'{name}'")).join(", ");
    let count = format!("select count(*) from sqlite_master where type = 'table' and name in ({names})");
    let existing: i64 = sqlx::query_scalar(AssertSqlSafe(count))
        .fetch_one(&mut connection)
        .await?;
    if existing < TABLES.len() as i64 {
        let statements = format!("begin immediate; {} commit;", statements(address));
        sqlx::raw_sql(AssertSqlSafe(statements))
            .execute(&mut connection)
            .await?;
    }
    connection.close().await
}

/// Sets the journal mode. Unlike other statements, SQLite does not wait for other writers here.
async fn use_write_ahead_log(connection: &mut SqliteConnection, wait: Duration) -> sqlx::Result<()> {
    let since = Instant::now();
    while let Err(error) = sqlx::raw_sql("pragma journal_mode = wal")
        .execute(&mut *connection)
        .await
    {
        if !is_busy(&error) || since.elapsed() > wait {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn create_in_postgres(address: &Address, options: &PgConnectOptions) -> sqlx::Result<()> {
    let mut connection = options.connect().await?;
    let names = TABLES.map(|name| format!("('{}')", address.table(name))).join(", ");
    let count = format!("select count(to_regclass(name)) from (values {names}) as wanted(name)");
    let existing: i64 = sqlx::query_scalar(AssertSqlSafe(count))
        .fetch_one(&mut connection)
        .await?;
    if existing < TABLES.len() as i64 {
        let schema = match address.schema.trim_end_matches('.') {
            "" => String::new(),
            schema => format!(
                "do $$ begin if to_regnamespace('{schema}') is null then create schema {schema}; end if; end $$;"
            ),
        };
        let tables = statements(address);
        let statements = format!("begin; select pg_advisory_xact_lock({CREATION_LOCK}); {schema} {tables} commit;");
        sqlx::raw_sql(AssertSqlSafe(statements))
            .execute(&mut connection)
            .await?;
    }
    connection.close().await
}

fn statements(address: &Address) -> String {
    let bytes = match address.options {
        Options::Sqlite(_) => "blob",
        Options::Postgres(_) => "bytea",
    };
    let [cassettes, bodies, counts, locks, settings] = TABLES.map(|name| address.table(name));
    // The name of an index has no schema: it is in the schema of its table.
    format!(
        "create table if not exists {cassettes} (scope text not null, hash text not null, endpoint text not null, \
         slug text not null, document {bytes} not null, expires_at bigint, primary key (scope, hash)); \
         create index if not exists mistral_cassettes_expire on {cassettes} (expires_at) where expires_at is not null; \
         create table if not exists {bodies} (sha256 text not null primary key, body {bytes} not null); \
         create table if not exists {counts} (id integer not null primary key, hits bigint not null, misses bigint not null, \
         tokens_saved bigint not null, milliseconds_saved bigint not null); \
         create table if not exists {locks} (id text not null primary key, token text not null, expires_at bigint not null); \
         create table if not exists {settings} (id integer not null primary key, document {bytes} not null);"
    )
}
