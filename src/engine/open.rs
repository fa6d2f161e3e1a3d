//! Opens the engine of a path or URL, such as the value of `--dir`.

use std::sync::Arc;

use super::{CacheEngine, DirectoryEngine, MemoryEngine};
use crate::error::{Error, ErrorKind, Result};

/// Opens an engine: a directory, or a URL from the table of this [module](super). It connects with the first request.
///
/// ```
/// use mistral_cassette::engine::open;
///
/// let directory = open("cassettes")?;
/// let memory = open("memory:?max_bytes=64000000")?;
/// # Ok::<(), mistral_cassette::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Settings`]: the URL is invalid, or its scheme is unknown or belongs to a feature that is not enabled.
pub fn open(location: &str) -> Result<Arc<dyn CacheEngine>> {
    let Some(scheme) = scheme_of(location) else {
        return Ok(Arc::new(DirectoryEngine::new(location)));
    };
    match scheme {
        "memory" => Ok(Arc::new(memory(location)?)),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+cluster" | "rediss+cluster" => Ok(Arc::new(super::RedisEngine::open(location)?)),
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" | "redis+cluster" | "rediss+cluster" => missing_feature("redis", scheme),
        #[cfg(feature = "object-store")]
        "s3" | "gs" | "az" => Ok(Arc::new(super::ObjectStoreEngine::open(location)?)),
        #[cfg(not(feature = "object-store"))]
        "s3" | "gs" | "az" => missing_feature("object-store", scheme),
        #[cfg(feature = "sql")]
        "sqlite" | "postgres" | "postgresql" => Ok(Arc::new(super::SqlEngine::open(location)?)),
        #[cfg(not(feature = "sql"))]
        "sqlite" | "postgres" | "postgresql" => missing_feature("sql", scheme),
        other => Err(Error::new(
            ErrorKind::Settings,
            format!("there is no engine for {other}: URLs"),
        )
        .with_hint("use a directory, memory:, redis://, rediss://, redis+cluster://, s3://, gs://, az://, sqlite: or postgres://")),
    }
}

/// Returns whether this is the path of a directory.
#[cfg(feature = "cli")]
pub(crate) fn is_directory(location: &str) -> bool {
    scheme_of(location).is_none()
}

/// Returns the file of a SQLite database; `None` for another location.
#[cfg(all(feature = "cli", feature = "sql"))]
pub(crate) fn database_file(location: &str) -> Option<std::path::PathBuf> {
    super::sql::database_file(location)
}

/// Without the feature, there are no databases.
#[cfg(all(feature = "cli", not(feature = "sql")))]
pub(crate) fn database_file(_location: &str) -> Option<std::path::PathBuf> {
    None
}

/// Returns the scheme of a URL. A path has none, including `C:\cassettes`.
fn scheme_of(location: &str) -> Option<&str> {
    let (scheme, _) = location.split_once(':')?;
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

#[cfg(not(all(feature = "redis", feature = "object-store", feature = "sql")))]
fn missing_feature(name: &str, scheme: &str) -> Result<Arc<dyn CacheEngine>> {
    Err(Error::new(
        ErrorKind::Settings,
        format!("this mistral-cassette was built without the engine for {scheme}: URLs"),
    )
    .with_hint(format!(
        "in a checkout: cargo install --path . --features cli,{name}; in a program: features = [\"{name}\"] in Cargo.toml"
    )))
}

fn memory(location: &str) -> Result<MemoryEngine> {
    let invalid = |reason: &str| {
        Error::new(ErrorKind::Settings, format!("{location}: {reason}"))
            .with_hint("the option of memory: is max_bytes, for example memory:?max_bytes=64000000")
    };
    let rest = location.strip_prefix("memory:").unwrap_or_default();
    let query = rest.strip_prefix('?').unwrap_or(rest);
    if query.len() == rest.len() && !rest.is_empty() {
        return Err(invalid("memory: has no name and no path"));
    }
    let mut engine = MemoryEngine::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "max_bytes" => {
                let bytes = value.parse().map_err(|_| invalid("max_bytes is not a number"))?;
                engine = MemoryEngine::bounded(bytes);
            }
            other => return Err(invalid(&format!("there is no option {other}"))),
        }
    }
    Ok(engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_without_a_scheme_is_a_directory() {
        for path in ["cassettes", "./a:b/c", "C:\\x", "/tmp/x", "tests/Redis:6379"] {
            assert_eq!(scheme_of(path), None, "{path}");
            assert!(open(path).unwrap().extensions().is_committed(), "{path}");
        }
        assert!(!open("memory:").unwrap().extensions().is_committed());
    }

    #[test]
    fn an_invalid_location_is_reported_with_the_reason() {
        for (location, reason) in [
            ("ftp://x", "no engine for ftp: URLs"),
            ("memory:x", "no name"),
            ("memory:?max=1", "no option max"),
            ("memory:?max_bytes=many", "not a number"),
        ] {
            let error = open(location).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.message().contains(reason), "{error}");
        }
    }
}
