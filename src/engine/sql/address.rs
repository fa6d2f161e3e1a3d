//! Parses the URL of a database.

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};

use crate::engine::url::{StoreUrl, invalid_url};
use crate::error::Result;

const SQLITE_FORM: &str = "sqlite:path/to/file.db; there are no options";

const POSTGRES_FORM: &str = "\
postgres://user:password@host:5432/database?schema=team; the other options are application_name, host, port, sslcert, \
sslkey, sslmode, sslrootcert, statement-cache-capacity and user; the defaults come from PGHOST, PGPORT, PGUSER, \
PGPASSWORD, PGDATABASE and ~/.pgpass";

/// The options that the clients of PostgreSQL accept as well.
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

/// A database, not connected.
pub(super) struct Address {
    pub(super) options: Options,
    /// The URL without credentials, for messages.
    pub(super) location: String,
    /// The quoted schema and a dot, or empty.
    pub(super) schema: String,
}

/// How to connect.
pub(super) enum Options {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Address {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::error::ErrorKind::Settings): the URL is invalid.
    pub(super) fn parse(url: &str) -> Result<Self> {
        match url.split_once(':') {
            Some(("sqlite", path)) => sqlite(path),
            Some((scheme @ ("postgres" | "postgresql"), _)) => postgres(url, scheme),
            _ => Err(invalid_url("sql", "the scheme is not one of a database", SQLITE_FORM)),
        }
    }

    /// Returns the file of a SQLite database.
    #[cfg(feature = "cli")]
    pub(super) fn file(&self) -> Option<std::path::PathBuf> {
        match &self.options {
            Options::Sqlite(options) => Some(options.get_filename().to_path_buf()),
            Options::Postgres(_) => None,
        }
    }

    /// Returns the name of a table with its schema.
    pub(super) fn table(&self, name: &str) -> String {
        format!("{}{name}", self.schema)
    }

    /// Returns the SQL expression for the milliseconds since 1970, by the clock of the database.
    pub(super) fn now(&self) -> &'static str {
        match self.options {
            Options::Sqlite(_) => "cast(unixepoch('subsec') * 1000 as integer)",
            Options::Postgres(_) => "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)",
        }
    }

    /// Returns the SQL expression for the bytes of a column. A value in SQLite may have another type than its column.
    pub(super) fn bytes(&self, column: &str) -> String {
        match self.options {
            Options::Sqlite(_) => format!("cast({column} as blob)"),
            Options::Postgres(_) => column.to_owned(),
        }
    }

    /// Returns the SQL condition that an entry has not expired.
    pub(super) fn not_expired(&self) -> String {
        format!("(expires_at is null or expires_at > {})", self.now())
    }
}

fn sqlite(path: &str) -> Result<Address> {
    let invalid = |reason: &str| invalid_url("sqlite", reason, SQLITE_FORM);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.contains('?') {
        return Err(invalid("there are no options (a ? in a name is written %3F)"));
    }
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| invalid("the path is not UTF-8"))?;
    match &*path {
        "" => return Err(invalid("there is no path")),
        ":memory:" => return Err(invalid("for cassettes in memory use memory:")),
        _ => {}
    }
    let location = format!("sqlite:{path}");
    let options = SqliteConnectOptions::new()
        .filename(&*path)
        .create_if_missing(true)
        .synchronous(SqliteSynchronous::Normal)
        .disable_statement_logging();
    Ok(Address {
        options: Options::Sqlite(options),
        location,
        schema: String::new(),
    })
}

fn postgres(url: &str, scheme: &str) -> Result<Address> {
    let parts = StoreUrl::parse(url, POSTGRES_FORM)?;
    let mut schema = String::new();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &parts.options {
        if name == "schema" {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if !(1..=63).contains(&value.len()) || !value.bytes().all(is_plain) {
                return Err(parts.invalid("a schema is 1 to 63 letters, digits and _"));
            }
            schema = format!("\"{value}\".");
        } else if POSTGRES_OPTIONS.contains(&&**name) {
            query.append_pair(name, value);
        } else {
            return Err(parts.invalid(&format!("there is no option {name}")));
        }
    }
    let (user, password) = parts.user_and_password()?;
    if let Some(user) = user {
        query.append_pair("user", &user);
    }
    let url = format!("{scheme}://{}/{}?{}", parts.hosts, parts.path, query.finish());
    let mut options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| {
        parts
            .invalid("the host, the port or the value of an option is invalid")
            .with_source(error)
    })?;
    if let Some(password) = password {
        options = options.password(&password);
    }
    let location = postgres_location(&options);
    Ok(Address {
        options: Options::Postgres(options.disable_statement_logging()),
        location,
        schema,
    })
}

fn postgres_location(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if options.get_host().contains(':') && !options.get_host().starts_with('[') => {
            format!("[{}]", options.get_host())
        }
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("postgres://{host}:{}/{database}", options.get_port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn errors_about_a_url_give_the_reason_and_repeat_no_secret() {
        for (url, reason) in [
            ("sqlite:", "there is no path"),
            ("sqlite::memory:", "use memory:"),
            ("sqlite:a.db?mode=ro", "there are no options"),
            ("mysql://host/x", "the scheme is not one of a database"),
            ("postgres:host", "no ://"),
            ("postgres://:secret@host:port/x", "the port"),
            ("postgres://:secret@host/x?sslmode=maybe", "value of an option"),
            ("postgres://:secret@host/x?shema=a", "no option shema"),
            ("postgres://:secret@host/x?password=secret", "no option password"),
            ("postgres://:secret@host/x?schema=a-b", "a schema is"),
            ("postgres://:se/cret@host/x", "%2F"),
        ] {
            let error = Address::parse(url).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            let report = error.report();
            assert!(
                report.contains(reason) && !report.contains("secret") && !report.contains("cret@"),
                "{url}: {report}"
            );
        }
    }
}
