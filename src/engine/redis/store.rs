//! Sends commands to Redis: one shared connection, retries, lists of keys, errors.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterConfig;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
    cmd,
};
use tokio::sync::Mutex;

use super::address::{Address, RedisClient, host_and_port};
use crate::engine::retry::{Attempts, Failure, Retry};
use crate::engine::timeout::Timeout;
use crate::error::{Error, ErrorKind, Result};

/// How many keys are requested at a time.
pub(super) const PAGE: usize = 500;

/// A Redis server or cluster.
pub(super) struct Store {
    pub(super) address: Address,
    pub(super) timeout: Timeout,
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    /// Distinguishes this connection from earlier and later ones.
    id: Arc<()>,
    stream: Stream,
}

#[derive(Clone)]
enum Stream {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Stream {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// A message to the server.
#[derive(Clone, Copy)]
pub(super) enum Message<'a> {
    Command(&'a Cmd),
    Transaction(&'a Pipeline),
    /// A command to certain nodes of a cluster.
    To(&'a RoutingInfo, &'a Cmd),
}

impl Message<'_> {
    async fn send<T: FromRedisValue>(self, stream: &mut Stream) -> RedisResult<T> {
        match (self, stream) {
            (Self::Transaction(pipeline), stream) => pipeline.query_async(stream).await,
            (Self::To(nodes, command), Stream::Cluster(cluster)) => {
                let reply = cluster.route_command(command.clone(), nodes.clone()).await?;
                Ok(T::from_redis_value(reply)?)
            }
            (Self::Command(command) | Self::To(_, command), stream) => command.query_async(stream).await,
        }
    }
}

/// The kinds of entries that can be listed.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Cassette,
    Body,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Cassette => "cassette",
            Self::Body => "body",
        }
    }
}

impl Store {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            timeout: Timeout::default(),
            connection: Mutex::new(None),
        }
    }

    /// Returns a key in Redis: the prefix and a name.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.address.prefix)
    }

    /// Returns the key in Redis of an entry.
    pub(super) fn entry_key(&self, kind: Kind, id: &str) -> String {
        self.key(&format!("{}:{id}", kind.name()))
    }

    /// Returns the connection that all callers share. The first caller connects.
    async fn connection(&self) -> RedisResult<Connection> {
        let (connect, response) = (self.timeout.connect(), self.timeout.response());
        let connecting = async {
            let mut connection = self.connection.lock().await;
            if let Some(connection) = &*connection {
                return Ok(connection.clone());
            }
            let stream = match &self.address.client {
                RedisClient::Server(client) => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(connect))
                        .set_response_timeout(Some(response));
                    Stream::Server(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                RedisClient::Cluster(client) => {
                    let config = ClusterConfig::new()
                        .set_connection_timeout(connect)
                        .set_response_timeout(response);
                    Stream::Cluster(client.get_async_connection_with_config(config).await?)
                }
            };
            let id = Arc::new(());
            Ok(connection.insert(Connection { id, stream }).clone())
        };
        match tokio::time::timeout(connect, connecting).await {
            Ok(connection) => connection,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Discards a broken connection, unless another caller has replaced it.
    async fn discard(&self, broken: &Connection) {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_some_and(|now| Arc::ptr_eq(&now.id, &broken.id)) {
            *connection = None;
        }
    }

    /// Sends a message. If the connection breaks, it is sent again over a new connection, as far as `retry` allows.
    pub(super) async fn send<T: FromRedisValue>(&self, message: Message<'_>, retry: Retry) -> Result<T> {
        let mut attempts = Attempts::new(retry, self.timeout.connect());
        loop {
            match self.send_once(message).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => attempts.next(failure).await?,
            }
        }
    }

    async fn send_once<T: FromRedisValue>(&self, message: Message<'_>) -> Result<T, Failure> {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) if is_transient(&error) => return Err(Failure::not_executed(self.error(error))),
            Err(error) => return Err(Failure::permanent(self.error(error))),
        };
        match message.send(&mut connection.stream).await {
            Ok(reply) => Ok(reply),
            Err(error) => {
                if error.is_timeout() || error.is_unrecoverable_error() {
                    self.discard(&connection).await;
                }
                Err(if is_transient(&error) {
                    Failure::unknown(self.error(error))
                } else {
                    Failure::permanent(self.error(error))
                })
            }
        }
    }

    /// Sends an idempotent command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.send(Message::Command(command), Retry::Always).await
    }

    /// Sends a command for each id, many at once. The replies are in the same order, `None` for a key of another type.
    pub(super) async fn commands<T: FromRedisValue>(
        &self,
        ids: &[String],
        command: impl Fn(&str) -> Cmd,
    ) -> Result<Vec<Option<T>>> {
        let mut replies = Vec::with_capacity(ids.len());
        let send = async |command: Cmd| match self.command(&command).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.kind() == ErrorKind::Cassette => Ok(None),
            Err(error) => Err(error),
        };
        for page in ids.chunks(PAGE) {
            replies.extend(try_join_all(page.iter().map(|id| send(command(id)))).await?);
        }
        Ok(replies)
    }

    /// Lists the ids of all entries of a kind, in a cluster those of every master.
    pub(super) async fn list(&self, kind: Kind) -> Result<Vec<String>> {
        let start = self.entry_key(kind, "");
        let pattern = format!("{}*", escape_pattern(&start));
        let scan = |cursor: u64| {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(PAGE);
            scan
        };
        // SCAN may return a key twice.
        let mut found = HashSet::new();
        // A cursor is valid only for the server that returned it.
        for master in self.masters().await? {
            let mut cursor = 0;
            loop {
                let command = scan(cursor);
                let message = match &master {
                    Some(master) => Message::To(master, &command),
                    None => Message::Command(&command),
                };
                let (next, keys): (u64, Vec<Vec<u8>>) = self.send(message, Retry::Always).await?;
                let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
                found.extend(keys.filter_map(|key| Some(key.strip_prefix(&start)?.to_owned())));
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Returns every master of a cluster, or `None` for the only server.
    async fn masters(&self) -> Result<Vec<Option<RoutingInfo>>> {
        if let RedisClient::Server(_) = self.address.client {
            return Ok(vec![None]);
        }
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let replies: HashMap<String, Value> = self.send(Message::To(&all, &cmd("PING")), Retry::Always).await?;
        let master = |address: &String| match host_and_port(address) {
            Some((host, port)) => Ok(Some(RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress {
                host,
                port,
            }))),
            None => Err(Error::engine(format!(
                "{} has a node without an address",
                self.address.location
            ))),
        };
        replies.keys().map(master).collect()
    }

    fn error(&self, error: RedisError) -> Error {
        let location = &self.address.location;
        if is_wrong_type(&error) {
            let message = format!("{location}: a key in Redis is not of the type that this engine writes");
            return Error::new(ErrorKind::Cassette, message).with_source(error);
        }
        // A cluster reports the cause of a failed connection only as text.
        let text = error.to_string();
        let (message, hint) = if text.contains("NOAUTH") {
            (
                format!("{location} requires credentials"),
                Some("put them into the URL: redis://user:password@host, or redis://:password@host"),
            )
        } else if text.contains("AuthenticationFailed") || text.contains("WRONGPASS") {
            (
                format!("{location} refused the credentials"),
                Some("check user and password in the URL; / ? # @ and % in them are written %2F %3F %23 %40 and %25"),
            )
        } else if error.is_timeout() {
            (format!("{location} did not respond in time"), None)
        } else if error.is_connection_dropped() || error.kind() == redis::ErrorKind::ClusterConnectionNotFound {
            (
                format!("cannot connect to {location}"),
                Some("check that the server is running and that this is its address"),
            )
        } else {
            (format!("{location} failed"), None)
        };
        let error = Error::engine(message).with_source(error);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Returns whether the key exists and is not of the type that the command needs.
fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

fn is_transient(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.kind() == redis::ErrorKind::Server(ServerErrorKind::BusyLoading)
}

/// Escapes a text so that a pattern of SCAN matches it literally.
fn escape_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if r"*?[]\^-".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_of_patterns_are_escaped() {
        assert_eq!(escape_pattern("a*[b]?"), r"a\*\[b\]\?");
    }
}
