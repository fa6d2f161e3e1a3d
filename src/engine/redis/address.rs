//! Parses the URL of a Redis server or cluster.

use redis::cluster::ClusterClient;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use crate::engine::retry::ATTEMPTS;
use crate::engine::timeout::Timeout;
use crate::engine::url::StoreUrl;
use crate::error::Result;

const FORM: &str = "\
redis://user:password@host:6379/0?prefix=mistral-cassette, rediss:// with TLS, redis+cluster://host:6379,host:6379 or \
rediss+cluster:// for a cluster; prefix is the only option; user, password, port, database and prefix are optional";

const DEFAULT_PREFIX: &str = "mistral-cassette";

const DEFAULT_PORT: u16 = 6379;

/// A server or cluster, not connected.
pub(super) struct Address {
    pub(super) client: RedisClient,
    /// The URL without credentials, for messages.
    pub(super) location: String,
    /// The start of every key.
    pub(super) prefix: String,
}

/// The client that makes connections.
pub(super) enum RedisClient {
    Server(Box<Client>),
    Cluster(Box<ClusterClient>),
}

impl Address {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::error::ErrorKind::Settings): the URL is invalid.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let url = StoreUrl::parse(url, FORM)?;
        let (is_tls, is_cluster) = match url.scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+cluster" => (false, true),
            "rediss+cluster" => (true, true),
            _ => return Err(url.invalid("the scheme is not one of Redis")),
        };
        let prefix = prefix(&url)?;
        let database = database(&url, is_cluster)?;
        let nodes = nodes(&url, is_tls, &login(&url, database)?)?;
        if nodes.len() > 1 && !is_cluster {
            return Err(url.invalid("several hosts are a cluster, whose URL begins with redis+cluster://"));
        }
        if is_tls && rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails if another thread has installed one meanwhile, which is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut location = format!("{}://{}", url.scheme, url.hosts);
        let client = if is_cluster {
            cluster(&url, nodes)?
        } else {
            location.push_str(&format!("/{database}"));
            server(&url, nodes)?
        };
        Ok(Self {
            client,
            location,
            prefix,
        })
    }
}

fn prefix(url: &StoreUrl<'_>) -> Result<String> {
    let mut prefix = DEFAULT_PREFIX.to_owned();
    for (name, value) in &url.options {
        match &**name {
            "prefix" if value.is_empty() => return Err(url.invalid("the prefix is empty")),
            "prefix" => prefix.clone_from(value),
            other => return Err(url.invalid(&format!("there is no option {other}"))),
        }
    }
    Ok(prefix)
}

fn database(url: &StoreUrl<'_>, is_cluster: bool) -> Result<i64> {
    match url.path.trim_end_matches('/') {
        "" | "0" => Ok(0),
        _ if is_cluster => Err(url.invalid("a cluster has no databases")),
        path => path
            .parse()
            .ok()
            .filter(|database| *database >= 0)
            .ok_or_else(|| url.invalid("the database is not a number")),
    }
}

fn login(url: &StoreUrl<'_>, database: i64) -> Result<RedisConnectionInfo> {
    let (user, password) = url.user_and_password()?;
    let mut login = RedisConnectionInfo::default().set_db(database);
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if let Some(password) = password {
        login = login.set_password(password);
    }
    Ok(login)
}

fn nodes(url: &StoreUrl<'_>, is_tls: bool, login: &RedisConnectionInfo) -> Result<Vec<ConnectionInfo>> {
    let node = |host| {
        let (host, port) =
            host_and_port(host).ok_or_else(|| url.invalid("the host or the port is missing or invalid"))?;
        let address = if is_tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address
            .into_connection_info()
            .map_err(|error| url.invalid(error.category()))?;
        Ok(info.set_redis_settings(login.clone()))
    };
    url.hosts.split(',').map(node).collect()
}

fn cluster(url: &StoreUrl<'_>, nodes: Vec<ConnectionInfo>) -> Result<RedisClient> {
    let client = ClusterClient::builder(nodes)
        .overall_response_timeout(Some(Timeout::default().response()))
        .retries(ATTEMPTS)
        .max_retry_wait(1000)
        .build()
        .map_err(|error| url.invalid(error.category()))?;
    Ok(RedisClient::Cluster(Box::new(client)))
}

fn server(url: &StoreUrl<'_>, nodes: Vec<ConnectionInfo>) -> Result<RedisClient> {
    let [node]: [ConnectionInfo; 1] = nodes.try_into().map_err(|_| url.invalid("there is no host"))?;
    let client = Client::open(node).map_err(|error| url.invalid(error.category()))?;
    Ok(RedisClient::Server(Box::new(client)))
}

/// Parses `host:6379`, `host` or `[::1]:6379`.
pub(super) fn host_and_port(address: &str) -> Option<(String, u16)> {
    let url = reqwest::Url::parse(&format!("redis://{address}")).ok()?;
    let is_plain = url.path().is_empty() && url.username().is_empty() && url.password().is_none();
    let host = url.host_str().filter(|host| !host.is_empty() && is_plain)?;
    Some((
        host.trim_matches(['[', ']']).to_owned(),
        url.port().unwrap_or(DEFAULT_PORT),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn errors_about_a_url_give_the_reason_and_repeat_no_secret() {
        for (url, reason) in [
            ("redis:host", "no ://"),
            ("redis://", "the host or the port is missing"),
            ("redis://:secret@/0", "the host or the port is missing"),
            (
                "redis://:secret@host:port/0",
                "the host or the port is missing or invalid",
            ),
            ("redis://:secret@host/one", "the database is not a number"),
            ("redis://:secret@host/-1", "the database is not a number"),
            ("redis://:secret@host?prefix=", "the prefix is empty"),
            ("redis://:secret@host?prefx=a", "no option prefx"),
            ("redis://:secret@one,two", "several hosts are a cluster"),
            ("redis+cluster://:secret@one,two/1", "a cluster has no databases"),
            ("redis://:%ff@host", "not UTF-8"),
        ] {
            let error = Address::parse(url).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            let report = error.report();
            assert!(report.contains(reason) && !report.contains("secret"), "{url}: {report}");
        }
    }
}
