//! Cassettes in Redis: one for a team, a cluster for many.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _,
    Pipeline, RedisConnectionInfo, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value, cmd, pipe,
};
use tokio::sync::Mutex;

use super::url::{StoreUrl, lock_milliseconds, milliseconds, unique};
use super::{CacheEngine, Counts, EngineExtensions, Lease, Lock, Size};
use crate::error::{Error, Result};
use crate::hash::is_lower_hex;
use crate::key::{RequestKey, Scope};

const FORM: &str = "\
redis://user:password@host:6379/0?prefix=mistral-cassette, rediss:// with TLS, redis+cluster://host:6379,host:6379 or \
rediss+cluster:// for a cluster; prefix is the only option, and user, password, port, database and prefix can be left out";

const DEFAULT_PREFIX: &str = "mistral-cassette";

const DEFAULT_PORT: u16 = 6379;

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(5);

/// How long an answer may take: 50 MB over a slow line.
const ANSWERING: Duration = Duration::from_secs(30);

/// How often a command is sent whose connection broke, when sending it again changes nothing.
const ATTEMPTS: u32 = 4;

/// The pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// How many keys a store is asked for at a time.
const PAGE: usize = 500;

/// Takes a lock, or takes it again: an answer may have been lost on its way.
const TAKE: &str = "\
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

/// Keeps cassettes in Redis, or in what speaks like it: for a team, for many machines.
///
/// # Layout
/// ```text
/// mistral-cassette:cassette:<key>    hash: cassette (the document), name (endpoint and slug)
/// mistral-cassette:body:<sha256>     a large body
/// mistral-cassette:lock:<key>        the token of its holder
/// mistral-cassette:counts            hash: hits, misses, tokens_saved, milliseconds_saved
/// mistral-cassette:settings          the settings document
/// ```
/// `<key>` is [`RequestKey::id`], and `mistral-cassette` is what `?prefix=` puts there instead. An entry with a life
/// expires in Redis itself. Clones share one connection, which is made with the first request and again when it breaks.
#[derive(Clone)]
pub struct RedisEngine {
    store: Arc<Store>,
}

struct Store {
    target: Target,
    /// The server without credentials, as errors name it.
    place: String,
    prefix: String,
    connection: Mutex<Option<Connection>>,
}

enum Target {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
struct Connection {
    /// Tells it from those before and after it.
    id: Arc<()>,
    to: Connected,
}

#[derive(Clone)]
enum Connected {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connected {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
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
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// What is kept, as far as a list of keys shows it.
#[derive(Clone, Copy)]
enum Kind {
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

impl RedisEngine {
    /// The engine of this URL: `redis://[user:password@]host[:port][/database][?prefix=…]`, `rediss://` with TLS, and
    /// `redis+cluster://host:port,host:port` or `rediss+cluster://` for a cluster, of which some nodes are enough.
    /// Nothing is connected before the first request.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): a URL that is wrong; it is not repeated, because of what may
    /// be in it.
    pub fn open(url: &str) -> Result<Self> {
        let url = StoreUrl::parse(url, FORM)?;
        let (is_tls, is_cluster) = match url.scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+cluster" => (false, true),
            "rediss+cluster" => (true, true),
            _ => return Err(url.wrong("this is no scheme of Redis")),
        };
        let mut prefix = DEFAULT_PREFIX.to_owned();
        for (name, value) in &url.options {
            match &**name {
                "prefix" if value.is_empty() => return Err(url.wrong("the prefix is empty")),
                "prefix" => prefix.clone_from(value),
                other => return Err(url.wrong(&format!("there is no option {other}"))),
            }
        }
        let database = match url.path.trim_end_matches('/') {
            "" | "0" => 0,
            _ if is_cluster => return Err(url.wrong("a cluster has no databases")),
            path => path
                .parse()
                .ok()
                .filter(|database| *database >= 0)
                .ok_or_else(|| url.wrong("the database is no number"))?,
        };
        let (user, password) = url.user_and_password()?;
        let mut login = RedisConnectionInfo::default().set_db(database);
        if let Some(user) = user {
            login = login.set_username(user);
        }
        if let Some(password) = password {
            login = login.set_password(password);
        }
        let hosts: Vec<&str> = url.hosts.split(',').collect();
        if hosts.len() > 1 && !is_cluster {
            return Err(url.wrong("several hosts are a cluster, whose URL begins with redis+cluster://"));
        }
        let nodes = hosts
            .into_iter()
            .map(|host| {
                let (host, port) =
                    host_and_port(host).ok_or_else(|| url.wrong("there is no host, or a port that is none"))?;
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
                    .map_err(|error| url.wrong(error.category()))?;
                Ok(info.set_redis_settings(login.clone()))
            })
            .collect::<Result<Vec<ConnectionInfo>>>()?;
        if is_tls && rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may have been quicker, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut place = format!("{}://{}", url.scheme, url.hosts);
        let target = if is_cluster {
            let client = ClusterClient::builder(nodes)
                .connection_timeout(CONNECTING)
                .response_timeout(ANSWERING)
                .overall_response_timeout(Some(ANSWERING))
                .retries(ATTEMPTS)
                .max_retry_wait(1000)
                .build()
                .map_err(|error| url.wrong(error.category()))?;
            Target::Cluster(Box::new(client))
        } else {
            place.push_str(&format!("/{database}"));
            let [node]: [ConnectionInfo; 1] = nodes.try_into().map_err(|_| url.wrong("there is no host"))?;
            Target::One(Box::new(
                Client::open(node).map_err(|error| url.wrong(error.category()))?,
            ))
        };
        let connection = Mutex::new(None);
        Ok(Self {
            store: Arc::new(Store {
                target,
                place,
                prefix,
                connection,
            }),
        })
    }

    fn cassette_at(&self, key: &RequestKey) -> String {
        self.store.at(&format!("cassette:{}", key.id()))
    }

    fn body_at(&self, sha256: &str) -> String {
        self.store.at(&format!("body:{sha256}"))
    }

    async fn keep(&self, key: &RequestKey, cassette: &Bytes, life: Option<i64>) -> Result<()> {
        let at = self.cassette_at(key);
        let mut all = pipe();
        all.atomic()
            .cmd("HSET")
            .arg(&at)
            .arg("cassette")
            .arg(&cassette[..])
            .arg("name")
            .arg(format!("{}/{}", key.endpoint(), key.slug()))
            .ignore();
        match life {
            Some(life) => all.cmd("PEXPIRE").arg(&at).arg(life).ignore(),
            None => all.cmd("PERSIST").arg(&at).ignore(),
        };
        self.store
            .send(Message::Transaction(&all), BackgroundTransport::Yes)
            .await
    }
}

/// What is sent.
#[derive(Clone, Copy)]
enum Message<'a> {
    Command(&'a Cmd),
    Transaction(&'a Pipeline),
    /// To certain nodes of a cluster.
    To(&'a RoutingInfo, &'a Cmd),
}

impl Message<'_> {
    async fn send<T: FromRedisValue>(self, connection: &mut Connected) -> RedisResult<T> {
        match (self, connection) {
            (Self::Transaction(all), connection) => all.query_async(connection).await,
            (Self::To(nodes, command), Connected::Cluster(cluster)) => {
                let answer = cluster.route_command(command.clone(), nodes.clone()).await?;
                Ok(T::from_redis_value(answer)?)
            }
            (Self::Command(command) | Self::To(_, command), connection) => command.query_async(connection).await,
        }
    }
}

/// Whether a command can be sent again when it is not known if it has arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BackgroundTransport {
    Yes,
    No,
}

impl Store {
    fn at(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// The connection, made if there is none: by one caller, for all.
    async fn connection(&self) -> RedisResult<Connection> {
        let connecting = async {
            let mut connection = self.connection.lock().await;
            if let Some(connection) = &*connection {
                return Ok(connection.clone());
            }
            let to = match &self.target {
                Target::One(client) => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(CONNECTING))
                        .set_response_timeout(Some(ANSWERING));
                    Connected::One(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                Target::Cluster(client) => Connected::Cluster(client.get_async_connection().await?),
            };
            Ok(connection.insert(Connection { id: Arc::new(()), to }).clone())
        };
        match tokio::time::timeout(CONNECTING, connecting).await {
            Ok(connection) => connection,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Lets go of a connection that broke, unless that has been done.
    async fn forget(&self, broken: &Connection) {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_some_and(|now| Arc::ptr_eq(&now.id, &broken.id)) {
            *connection = None;
        }
    }

    /// Sends something, and sends it again over a new connection when the old one broke.
    async fn send<T: FromRedisValue>(&self, message: Message<'_>, again: BackgroundTransport) -> Result<T> {
        let since = Instant::now();
        let mut attempt = 1;
        loop {
            let (error, again) = match self.connection().await {
                Ok(mut connection) => match message.send(&mut connection.to).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => {
                        if error.is_timeout() || error.is_unrecoverable_error() {
                            self.forget(&connection).await;
                        }
                        (error, again)
                    }
                },
                // Nothing has been sent.
                Err(error) => (error, BackgroundTransport::Yes),
            };
            let may_pass = error.is_connection_dropped() || is(&error, ServerErrorKind::BusyLoading);
            if again == BackgroundTransport::No || !may_pass || attempt == ATTEMPTS || since.elapsed() > CONNECTING {
                return Err(self.failed(error));
            }
            tokio::time::sleep(PAUSE * 2u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.send(Message::Command(command), BackgroundTransport::Yes).await
    }

    /// Every key of a kind, without what stands before its id; in a cluster those of every master.
    async fn list(&self, kind: Kind) -> Result<HashSet<String>> {
        let start = self.at(&format!("{}:", kind.name()));
        let pattern = format!("{}*", literally(&start));
        let scan = |cursor: u64| {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(PAGE);
            scan
        };
        let mut found = HashSet::new();
        // A cursor means something to its own server only.
        for master in self.masters().await? {
            let mut cursor = 0;
            loop {
                let (next, keys): (u64, Vec<Vec<u8>>) = match &master {
                    Some(master) => {
                        self.send(Message::To(master, &scan(cursor)), BackgroundTransport::Yes)
                            .await?
                    }
                    None => self.ask(&scan(cursor)).await?,
                };
                let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
                found.extend(keys.filter_map(|key| Some(key.strip_prefix(&start)?.to_owned())));
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(found)
    }

    /// Where to ask for lists: every master of a cluster; `None` is the one server.
    async fn masters(&self) -> Result<Vec<Option<RoutingInfo>>> {
        if let Target::One(_) = self.target {
            return Ok(vec![None]);
        }
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers: HashMap<String, Value> = self
            .send(Message::To(&all, &cmd("PING")), BackgroundTransport::Yes)
            .await?;
        let master = |address: &String| match host_and_port(address) {
            Some((host, port)) => Ok(Some(RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress {
                host,
                port,
            }))),
            None => Err(Error::engine(format!("{} has a node without an address", self.place))),
        };
        answers.keys().map(master).collect()
    }

    /// A command for each id, many on their way at once; the answers are in the same order.
    async fn each<T: FromRedisValue>(&self, ids: &[String], command: impl Fn(&str) -> Cmd) -> Result<Vec<T>> {
        let mut answers = Vec::with_capacity(ids.len());
        for some in ids.chunks(PAGE) {
            let commands: Vec<Cmd> = some.iter().map(|id| command(id)).collect();
            answers.extend(try_join_all(commands.iter().map(|command| self.ask(command))).await?);
        }
        Ok(answers)
    }

    fn failed(&self, error: RedisError) -> Error {
        let place = &self.place;
        // A cluster tells what kept it from connecting in words only.
        let text = error.to_string();
        let (message, hint) = if text.contains("NOAUTH") {
            (
                format!("{place} wants credentials"),
                Some("put them into the URL: redis://user:password@host, or redis://:password@host"),
            )
        } else if text.contains("AuthenticationFailed") || text.contains("WRONGPASS") {
            (
                format!("{place} refused the credentials"),
                Some("user and password come from the URL; / ? # @ and % in them are written %2F %3F %23 %40 and %25"),
            )
        } else if error.is_timeout() {
            (format!("{place} did not answer in time"), None)
        } else if error.is_connection_dropped() || error.kind() == redis::ErrorKind::ClusterConnectionNotFound {
            (
                format!("{place} cannot be reached"),
                Some("is the server running, and is this its address?"),
            )
        } else {
            (format!("{place} failed"), None)
        };
        let failed = Error::engine(message).with_source(error);
        match hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    }
}

#[async_trait]
impl CacheEngine for RedisEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        let command = cmd("HGET").arg(self.cassette_at(key)).arg("cassette").take();
        self.store.ask(&command).await
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.keep(key, &cassette, None).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.store.ask(cmd("UNLINK").arg(self.cassette_at(key))).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        let ids: Vec<String> = self.store.list(Kind::Cassette).await?.into_iter().collect();
        let names: Vec<Option<String>> = self
            .store
            .each(&ids, |id| {
                cmd("HGET")
                    .arg(self.store.at(&format!("cassette:{id}")))
                    .arg("name")
                    .take()
            })
            .await?;
        // One without a name has expired meanwhile, or is none of ours.
        let keys = ids.iter().zip(names).filter_map(|(id, name)| key_of(id, &name?));
        Ok(keys.collect())
    }

    async fn clear(&self) -> Result<()> {
        for kind in [Kind::Cassette, Kind::Body] {
            let ids: Vec<String> = self.store.list(kind).await?.into_iter().collect();
            for some in ids.chunks(PAGE) {
                let mut unlink = cmd("UNLINK");
                for id in some {
                    unlink.arg(self.store.at(&format!("{}:{id}", kind.name())));
                }
                self.store.ask::<()>(&unlink).await?;
            }
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
impl EngineExtensions for RedisEngine {
    async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
        self.keep(key, cassette, milliseconds(ttl)).await?;
        Ok(true)
    }

    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        self.store.ask(cmd("GET").arg(self.body_at(sha256))).await
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        self.store
            .ask::<()>(cmd("SET").arg(self.body_at(sha256)).arg(&body[..]))
            .await?;
        Ok(true)
    }

    async fn lock(&self, key: &RequestKey, life: Duration) -> Result<Lock> {
        let lease = RedisLease {
            store: Arc::clone(&self.store),
            at: self.store.at(&format!("lock:{}", key.id())),
            token: unique(),
        };
        let is_taken = lease.run(TAKE, Some(life)).await?;
        Ok(if is_taken {
            Lock::Acquired(Box::new(lease))
        } else {
            Lock::Held
        })
    }

    async fn size(&self) -> Result<Option<Size>> {
        let mut size = Size::default();
        for kind in [Kind::Cassette, Kind::Body] {
            let ids: Vec<String> = self.store.list(kind).await?.into_iter().collect();
            let length = |id: &str| {
                let at = self.store.at(&format!("{}:{id}", kind.name()));
                match kind {
                    Kind::Cassette => cmd("HSTRLEN").arg(at).arg("cassette").take(),
                    Kind::Body => cmd("STRLEN").arg(at).take(),
                }
            };
            size.bytes += self.store.each::<u64>(&ids, length).await?.iter().sum::<u64>();
            if let Kind::Cassette = kind {
                size.entries = ids.len() as u64;
            }
        }
        Ok(Some(size))
    }

    /// Sent once: rather one count too few than one too many.
    async fn add_counts(&self, counts: Counts) -> Result<()> {
        let at = self.store.at("counts");
        let mut all = pipe();
        all.atomic();
        for (name, more) in [
            ("hits", counts.hits),
            ("misses", counts.misses),
            ("tokens_saved", counts.tokens_saved),
            ("milliseconds_saved", counts.milliseconds_saved),
        ] {
            all.cmd("HINCRBY").arg(&at).arg(name).arg(more).ignore();
        }
        self.store
            .send(Message::Transaction(&all), BackgroundTransport::No)
            .await
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        let names = ["hits", "misses", "tokens_saved", "milliseconds_saved"];
        let kept: [Option<u64>; 4] = self
            .store
            .ask(cmd("HMGET").arg(self.store.at("counts")).arg(&names))
            .await?;
        let [hits, misses, tokens_saved, milliseconds_saved] = kept.map(Option::unwrap_or_default);
        Ok(Some(Counts {
            hits,
            misses,
            tokens_saved,
            milliseconds_saved,
        }))
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        self.store.ask(cmd("GET").arg(self.store.at("settings"))).await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        self.store
            .ask(cmd("SET").arg(self.store.at("settings")).arg(&settings[..]))
            .await
    }
}

impl fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEngine")
            .field("place", &self.store.place)
            .field("prefix", &self.store.prefix)
            .finish()
    }
}

struct RedisLease {
    store: Arc<Store>,
    at: String,
    token: String,
}

impl RedisLease {
    /// Runs one of the scripts: whether it did what it is for.
    async fn run(&self, script: &str, life: Option<Duration>) -> Result<bool> {
        let mut command = cmd("EVAL");
        command.arg(script).arg(1).arg(&self.at).arg(&self.token);
        if let Some(life) = life {
            command.arg(lock_milliseconds(life));
        }
        self.store.ask(&command).await
    }
}

#[async_trait]
impl Lease for RedisLease {
    async fn renew(&self, life: Duration) -> Result<()> {
        if self.run(RENEW, Some(life)).await? {
            Ok(())
        } else {
            Err(Error::engine(format!(
                "{}: the lock {} is lost: its life was over",
                self.store.place, self.at
            )))
        }
    }

    async fn release(self: Box<Self>) -> Result<()> {
        self.run(RELEASE, None).await.map(drop)
    }
}

fn is(error: &RedisError, kind: ServerErrorKind) -> bool {
    error.kind() == redis::ErrorKind::Server(kind)
}

/// `host:6379`, `host`, `[::1]:6379`.
fn host_and_port(address: &str) -> Option<(String, u16)> {
    let url = reqwest::Url::parse(&format!("redis://{address}")).ok()?;
    let is_plain = url.path().is_empty() && url.username().is_empty() && url.password().is_none();
    let host = url.host_str().filter(|host| !host.is_empty() && is_plain)?;
    Some((
        host.trim_matches(['[', ']']).to_owned(),
        url.port().unwrap_or(DEFAULT_PORT),
    ))
}

/// A text in a pattern of SCAN that stands for nothing but itself.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if r"*?[]\^-".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// The key of an entry by what its name in Redis says and what is kept beside the document.
fn key_of(id: &str, name: &str) -> Option<RequestKey> {
    let (scope, hash) = match id.rsplit_once('/') {
        Some((scope, hash)) => (Scope::new(scope).ok()?, hash),
        None => (Scope::root(), id),
    };
    let (endpoint, slug) = name.rsplit_once('/')?;
    is_lower_hex(hash, 64).then(|| RequestKey::from_parts(hash.to_owned(), scope, endpoint.to_owned(), slug.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_wrong_url_says_what_is_wrong_and_repeats_nothing() {
        for (url, told) in [
            ("redis:host", "no ://"),
            ("redis://", "no host"),
            ("redis://:secret@/0", "no host"),
            ("redis://:secret@host:port/0", "a port that is none"),
            ("redis://:secret@host/one", "the database is no number"),
            ("redis://:secret@host/-1", "the database is no number"),
            ("redis://:secret@host?prefix=", "the prefix is empty"),
            ("redis://:secret@host?prefx=a", "no option prefx"),
            ("redis://:secret@one,two", "several hosts are a cluster"),
            ("redis+cluster://:secret@one,two/1", "a cluster has no databases"),
            ("redis://:%ff@host", "no UTF-8"),
        ] {
            let error = RedisEngine::open(url).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            let report = error.report();
            assert!(report.contains(told) && !report.contains("secret"), "{url}: {report}");
        }
    }

    #[test]
    fn its_place_has_no_credentials() {
        let key = RequestKey::from_parts("0".repeat(64), Scope::root(), "chat".to_owned(), "hello".to_owned());
        for (url, place) in [
            (
                "redis://me:secret@127.0.0.1",
                "redis://127.0.0.1/0 (chat/hello-0000000000000000)",
            ),
            (
                "rediss://:secret@[::1]:7/3?prefix=a*b",
                "rediss://[::1]:7/3 (chat/hello-0000000000000000)",
            ),
            (
                "redis+cluster://:secret@one:1,two:2",
                "redis+cluster://one:1,two:2 (chat/hello-0000000000000000)",
            ),
        ] {
            let engine = RedisEngine::open(url).unwrap();
            assert_eq!(engine.location_of(&key), place);
            assert!(!format!("{engine:?}").contains("secret"));
        }
    }

    #[test]
    fn an_entry_says_its_key() {
        let hash = "0123456789abcdef".repeat(4);
        let key = key_of(&format!("a/b/{hash}"), "chat-completions/hello-you").unwrap();
        assert_eq!(key.name(), "a/b/chat-completions/hello-you-0123456789abcdef");
        assert_eq!(key_of(&hash, "chat/x").unwrap().id(), hash);
        assert!(key_of("short", "chat/x").is_none() && key_of(&hash, "x").is_none());
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(literally("a*[b]?"), r"a\*\[b\]\?");
    }
}
