//! The HTTP way to the upstream, over reqwest.

use std::env;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderValue, header};

use crate::error::{Error, ErrorKind, Result};
pub use crate::http::BackgroundTransport;
use crate::http::Transport;
use crate::http::tls;
use crate::http::{
    Body, Request, Response, Splitter, content_type, is_done, is_event_stream, strip_connection_headers,
    strip_control_headers,
};

/// The public API.
pub(crate) const DEFAULT_UPSTREAM: &str = "https://api.mistral.ai";

/// What the official SDKs wait, for a connection and between two pieces of an answer.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// The real API over HTTP: connections are kept and reused, answers are decoded (gzip, and br, zstd and deflate with the
/// feature `cli`), nothing is retried, and no redirect is followed, since the key would go with it.
///
/// A request without credentials gets the key that this was made with, if any; a request with its own keeps it.
#[derive(Clone)]
pub struct Upstream(Arc<Shared>);

struct Shared {
    /// Made with the first request: a session that only replays needs no root certificates.
    client: OnceLock<reqwest::Client>,
    timeout: Duration,
    /// Without a slash at its end.
    base_url: String,
    origin: String,
    api_key: Option<String>,
}

/// How an [`Upstream`] is made.
#[derive(Default)]
pub struct UpstreamBuilder {
    base_url: Option<String>,
    api_key: Option<String>,
    timeout: Option<Duration>,
    client: Option<reqwest::Client>,
}

impl UpstreamBuilder {
    /// Where the API is, without `/v1`: `https://api.mistral.ai` by default.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The key for requests that bring none.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// How long to wait for a connection, and between two pieces of an answer: 300 seconds by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A client of your own, with its own timeouts, TLS, proxies and redirect policy.
    #[must_use]
    pub fn client(mut self, client: reqwest::Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Makes it; nothing is connected before the first request.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when the base URL is none, or has a query, or the key cannot stand in a header.
    pub fn build(self) -> Result<Upstream> {
        let base_url = self.base_url.unwrap_or_else(|| DEFAULT_UPSTREAM.to_owned());
        let url = checked_base_url(&base_url)?;
        let api_key = self
            .api_key
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty());
        if api_key.as_ref().is_some_and(|key| HeaderValue::from_str(key).is_err()) {
            return Err(Error::new(
                ErrorKind::Settings,
                "the API key holds characters that cannot stand in a header",
            )
            .with_hint("look for a line break or a quote around it"));
        }
        let mut shown = url.clone();
        // A failure means that there were none to remove.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        Ok(Upstream(Arc::new(Shared {
            client: self.client.map_or_else(OnceLock::new, OnceLock::from),
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            base_url: url.as_str().trim_end_matches('/').into(),
            origin: shown.as_str().trim_end_matches('/').into(),
            api_key,
        })))
    }
}

fn checked_base_url(base_url: &str) -> Result<reqwest::Url> {
    let wrong = |what: &str| {
        // Credentials stand before an @, and do not belong into a message.
        let shown = base_url
            .rsplit_once('@')
            .map_or(base_url.to_owned(), |(_, host)| format!("…@{host}"));
        Error::new(
            ErrorKind::Settings,
            format!("{shown:?} cannot be the base URL of the API: {what}"),
        )
        .with_hint("give scheme and host, as in https://api.mistral.ai")
    };
    let url: reqwest::Url = base_url
        .parse()
        .map_err(|error| wrong("it is no URL").with_source(error))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("it must begin with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/');
    // Paths bring their version along.
    let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
    let mut url = url;
    url.set_path(&path);
    Ok(url)
}

fn new_client(timeout: Duration) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(&["h2", "http/1.1"])?)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(timeout)
        .read_timeout(timeout)
        .build()
        .map_err(|error| tls::setup_error(ErrorKind::Internal, "cannot build the HTTP client").with_source(error))
}

impl Upstream {
    /// The API at its public address, without a key.
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder::default()
    }

    /// The API at its public address, with the key of `MISTRAL_API_KEY` if it is set.
    ///
    /// # Errors
    /// As [`UpstreamBuilder::build`].
    pub fn from_env() -> Result<Self> {
        let mut builder = Self::builder();
        builder.api_key = env::var(crate::http::API_KEY_VARIABLE).ok();
        builder.build()
    }

    /// Where it is, without credentials: what a cassette keeps as `recorded.from`.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    fn client(&self) -> Result<reqwest::Client> {
        if let Some(client) = self.0.client.get() {
            return Ok(client.clone());
        }
        let new = new_client(self.0.timeout)?;
        Ok(self.0.client.get_or_init(|| new).clone())
    }

    fn headers(&self, request: &Request) -> HeaderMap {
        let mut headers = request.header_map().clone();
        strip_connection_headers(&mut headers);
        // A client without a recorder sends them as well.
        strip_control_headers(&mut headers);
        headers.remove(header::HOST);
        // The body is whole already, and the client decodes what it asks for itself.
        headers.remove(header::EXPECT);
        headers.remove(header::ACCEPT_ENCODING);
        if request.credentials().next().is_none() {
            // What it brings is a dummy, and no key to ask anybody with.
            headers.remove(header::AUTHORIZATION);
            let key = self
                .0
                .api_key
                .as_ref()
                .map(|key| HeaderValue::from_str(&format!("Bearer {key}")));
            if let Some(Ok(mut value)) = key {
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            }
        }
        headers
    }

    fn failed(&self, what: &str, error: reqwest::Error) -> Error {
        let timed_out = error.is_timeout();
        let why = if timed_out { "took too long to answer" } else { what };
        // The URL is in the message already, without credentials.
        Error::new(ErrorKind::Upstream, format!("{} {why}", self.origin()))
            .with_timed_out(timed_out)
            .with_source(error.without_url())
    }
}

impl Transport for Upstream {
    fn has_key(&self, request: &Request) -> bool {
        self.0.api_key.is_some() || request.credentials().next().is_some()
    }

    fn secret(&self) -> Option<&str> {
        self.0.api_key.as_deref()
    }

    fn again(&self) -> Option<BackgroundTransport> {
        let upstream = self.clone();
        Some(Box::new(|request| Box::pin(upstream.send(request))))
    }

    async fn send(self, request: Request) -> Result<Response> {
        let mut sent = self
            .client()?
            .request(
                request.method().clone(),
                format!("{}{}", self.0.base_url, request.target()),
            )
            .headers(self.headers(&request));
        if !request.body_bytes().is_empty() {
            sent = sent.body(request.body_bytes().clone());
        }
        let response = sent.send().await.map_err(|error| {
            let what = if error.is_connect() {
                "cannot be reached"
            } else {
                "gave no answer that is HTTP"
            };
            self.failed(what, error)
        })?;
        let (status, headers, version) = (response.status(), response.headers().clone(), response.version());
        let has_an_end = version > http::Version::HTTP_11
            || headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING);
        // What was decoded says so no more.
        let is_coded = headers.contains_key(header::CONTENT_ENCODING);
        let whole = Whole::of(content_type(&headers)).filter(|_| !has_an_end && !is_coded);
        let origin = self.origin().to_owned();
        let pieces = response.bytes_stream().map_err({
            let upstream = self.clone();
            move |error| upstream.failed("broke off in the middle of its answer", error)
        });
        let body = match whole {
            Some(whole) => Body::from_stream(until_whole(pieces, whole, self)),
            None => Body::from_stream(pieces),
        };
        Ok(Response::new(status, body).headers(headers).origin(origin))
    }
}

/// What a body must be to be whole, when nothing but the end of its connection says where it ends.
enum Whole {
    Events(Splitter),
    Json(Nesting),
    /// Too much is open to be held.
    Unknown,
}

impl Whole {
    fn of(content_type: Option<&str>) -> Option<Self> {
        if is_event_stream(content_type) {
            return Some(Self::Events(Splitter::default()));
        }
        content_type
            .is_some_and(|kind| kind.starts_with("application/json"))
            .then(|| Self::Json(Nesting::default()))
    }

    fn hear(&mut self, piece: &[u8]) {
        match self {
            Self::Events(splitter) => {
                splitter.push(piece);
                if splitter.is_overlong() {
                    *self = Self::Unknown;
                }
            }
            Self::Json(nesting) => nesting.hear(piece),
            Self::Unknown => {}
        }
    }

    /// In the middle of what it ended, if it did.
    fn cut_in(self) -> Option<&'static str> {
        match self {
            Self::Events(mut splitter) => {
                let rest = splitter.rest().unwrap_or_default();
                (!rest.trim_ascii().is_empty() && !is_done(&rest)).then_some("an event")
            }
            Self::Json(nesting) => nesting.is_open().then_some("its JSON"),
            Self::Unknown => None,
        }
    }
}

/// How deep in a JSON text one is, without holding it: an answer may have no end.
#[derive(Default)]
struct Nesting {
    depth: u64,
    is_in_string: bool,
    is_escaped: bool,
    /// Whether it began as an object, an array or a string does, and closed no more than it had opened.
    is_json: bool,
    has_begun: bool,
}

impl Nesting {
    fn hear(&mut self, piece: &[u8]) {
        for byte in piece {
            if self.is_in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.is_in_string = false,
                    _ => {}
                }
                continue;
            }
            if !self.has_begun && !byte.is_ascii_whitespace() {
                self.has_begun = true;
                self.is_json = matches!(byte, b'{' | b'[' | b'"');
            }
            match byte {
                b'"' => self.is_in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => self.is_json = false,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
    }

    fn is_open(&self) -> bool {
        self.is_json && (self.depth > 0 || self.is_in_string)
    }
}

/// These pieces, and an error behind them when they are not all.
fn until_whole(
    pieces: impl Stream<Item = Result<Bytes>> + Send + 'static,
    whole: Whole,
    upstream: Upstream,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let state = Some((Box::pin(pieces), whole, upstream));
    stream::unfold(state, |state| async move {
        let (mut pieces, mut whole, upstream) = state?;
        match pieces.next().await {
            Some(Ok(piece)) => {
                whole.hear(&piece);
                Some((Ok(piece), Some((pieces, whole, upstream))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                let message = format!("{} broke off in the middle of {}", upstream.origin(), whole.cut_in()?);
                Some((Err(Error::new(ErrorKind::Upstream, message)), None))
            }
        }
    })
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("origin", &self.0.origin)
            .field("has_key", &self.0.api_key.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UpstreamBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBuilder")
            .field("has_key", &self.api_key.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Vec<u8> {
        percent_decode_str(text).collect()
    }

    #[test]
    fn json_is_whole_when_nothing_in_it_is_open() {
        let is_open = |text: &str| {
            let mut nesting = Nesting::default();
            text.as_bytes().chunks(1).for_each(|byte| nesting.hear(byte));
            nesting.is_open()
        };
        let whole = r#" {"a": ["}", "\\", "\"]", {}, 1], "é": null} "#;
        assert!(!is_open(whole));
        let end = whole.trim_end().len();
        for (at, _) in whole.char_indices().filter(|(at, _)| (2..end).contains(at)) {
            assert!(is_open(&whole[..at]), "{}", &whole[..at]);
        }
        for text in ["", "  ", "12", "no JSON { at all", "{}}{", "]["] {
            assert!(!is_open(text), "{text}");
        }
    }

    proptest! {
        /// What the URL parser makes of a target is what was keyed, or the target is refused.
        #[test]
        fn the_upstream_is_asked_for_what_was_keyed(target in "/[ -~]{0,20}", climbing in "(/|[\\\\.]|%2[eEfF]|%5c|[a-z@:?;]){0,20}") {
            for target in [target, format!("/{climbing}"), format!("/v1{climbing}"), format!("?{climbing}")] {
                let given = Request::new(Method::GET, &target).ok();
                // As the proxy has it from callers that name its host as well.
                let named: Option<http::Uri> = format!("http://localhost{target}").parse().ok();
                let named = named.and_then(|uri| Request::from_target(Method::GET, uri.into_parts().path_and_query?).ok());
                let bases = ["https://api.mistral.ai", "https://gateway.test/mistral"];
                for (request, base) in [&given, &named].into_iter().flatten().flat_map(|request| bases.map(|base| (request, base))) {
                    let url: reqwest::Url = format!("{base}{}", request.target()).parse().unwrap();
                    let base: reqwest::Url = base.parse().unwrap();
                    prop_assert_eq!(url.origin(), base.origin());
                    let path = url.path().strip_prefix(base.path().trim_end_matches('/')).unwrap();
                    prop_assert_eq!(decoded(path), decoded(request.path()), "{}", target);
                    prop_assert_eq!(decoded(url.query().unwrap_or_default()), decoded(request.query().unwrap_or_default()));
                }
            }
        }
    }
}
