//! The HTTP transport to the API, over reqwest.

mod base_url;
mod completeness;
mod decoding;
#[cfg(feature = "realtime")]
mod websocket;

use std::env;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderValue, Method, header};

use self::base_url::{is_local, is_public_api, origin_of, parse_base_url};
use self::completeness::Completeness;
use self::decoding::take_encodings;
use crate::error::{Error, ErrorKind, Result};
pub use crate::http::BackgroundTransport;
use crate::http::tls;
use crate::http::{
    Body, Request, Response, Transport, content_type, make_locations_relative, strip_connection_headers,
    strip_control_headers,
};

/// The base URL of the public API.
pub(crate) const DEFAULT_UPSTREAM: &str = "https://api.mistral.ai";

/// The environment variable for the base URL, without `/v1`. `mistral-cassette run` sets it.
pub(crate) const BASE_URL_VARIABLE: &str = "MISTRAL_SERVER_URL";

/// The variable in which `run` tells sessions of its command which proxy leads to the API, if there is one: `HTTPS_PROXY` is
/// the proxy of `run`, which would record their requests a second time.
pub(crate) const OUTER_PROXY_VARIABLE: &str = "MISTRAL_CASSETTE_OUTER_PROXY";

/// The timeout of the official SDKs, for a connection and between two pieces of a response.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// The real API over HTTP.
///
/// - Connections are reused.
/// - Responses are decoded: gzip, and with the feature `cli` also br, zstd and deflate.
/// - Requests are not retried.
/// - Redirects are not followed, because the API key would be sent along.
/// - A request without credentials gets the API key of the builder, if there is one. Credentials of a request are not
///   replaced.
#[derive(Clone)]
pub struct Upstream(Arc<Shared>);

struct Shared {
    /// Created by the first request: a session that only replays needs no root certificates.
    client: Arc<OnceLock<reqwest::Client>>,
    #[cfg(feature = "realtime")]
    websocket_client: Arc<OnceLock<reqwest::Client>>,
    /// Whether the builder was given a client, which has its own configuration.
    #[cfg(feature = "realtime")]
    is_client_given: bool,
    timeout: Duration,
    /// Has no slash at its end.
    base_url: String,
    origin: String,
    /// Whether the host is this machine.
    is_local: bool,
    api_key: Option<String>,
    /// Whether this is another host than those of the API, for which there is no key.
    is_foreign: bool,
}

/// Builds an [`Upstream`].
#[derive(Default)]
pub struct UpstreamBuilder {
    base_url: Option<String>,
    api_key: Option<String>,
    timeout: Option<Duration>,
    client: Option<reqwest::Client>,
}

impl UpstreamBuilder {
    /// Returns a builder with the key and the base URL of the environment.
    pub(crate) fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            base_url: variable(BASE_URL_VARIABLE).filter(|url| !url.is_empty()),
            api_key: variable(crate::http::API_KEY_VARIABLE),
            ..Self::default()
        }
    }

    /// Sets the base URL of the API, without `/v1`. The default is `https://api.mistral.ai`.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Sets the API key for requests without credentials.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Sets the timeout for a connection and between two pieces of a response. The default is 300 seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the HTTP client, which brings its own timeouts, TLS, proxies and redirect policy.
    #[must_use]
    pub fn client(mut self, client: reqwest::Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Builds the upstream. The first request opens the first connection.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if the base URL is invalid or has a query, or if the key is not valid in a header.
    pub fn build(self) -> Result<Upstream> {
        let url = parse_base_url(self.base_url.as_deref().unwrap_or(DEFAULT_UPSTREAM))?;
        let api_key = self
            .api_key
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty());
        if api_key.as_ref().is_some_and(|key| HeaderValue::from_str(key).is_err()) {
            return Err(Error::new(
                ErrorKind::Settings,
                "the API key contains characters that are not valid in a header",
            )
            .with_hint("remove line breaks from the key"));
        }
        Ok(Upstream(Arc::new(Shared {
            #[cfg(feature = "realtime")]
            websocket_client: Arc::default(),
            #[cfg(feature = "realtime")]
            is_client_given: self.client.is_some(),
            client: Arc::new(self.client.map_or_else(OnceLock::new, OnceLock::from)),
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            base_url: url.as_str().trim_end_matches('/').into(),
            origin: origin_of(&url),
            is_local: is_local(&url),
            api_key,
            is_foreign: false,
        })))
    }
}

/// Creates a client that offers these protocols by ALPN.
fn new_client(timeout: Duration, protocols: &[&str]) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder();
    if let Ok(outer) = env::var(OUTER_PROXY_VARIABLE) {
        builder = builder.no_proxy();
        if !outer.is_empty() {
            let invalid = |error| {
                let message = format!("invalid proxy in {OUTER_PROXY_VARIABLE}");
                Error::new(ErrorKind::Settings, message).with_source(error)
            };
            builder = builder.proxy(reqwest::Proxy::https(outer).map_err(invalid)?);
        }
    }
    builder
        .tls_backend_preconfigured(tls::config(protocols)?)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(timeout)
        .read_timeout(timeout)
        // The upstream decodes. Other crates may enable the decoders of reqwest, which stop at the first member.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .build()
        .map_err(|error| tls::setup_error(ErrorKind::Internal, "cannot build the HTTP client").with_source(error))
}

impl Upstream {
    /// Returns a builder for the public API, without a key.
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder::default()
    }

    /// Connects to the base URL in `MISTRAL_SERVER_URL`, or else to the public API, with the key in `MISTRAL_API_KEY` if
    /// the variable is set: like [`Client::from_env`](https://docs.rs/mistral-cassette/latest/mistral_cassette/client/struct.Client.html#method.from_env).
    ///
    /// # Errors
    /// The errors of [`UpstreamBuilder::build`].
    pub fn from_env() -> Result<Self> {
        UpstreamBuilder::from_env().build()
    }

    /// Refuses a request to the public API without a key. Another host may need none, or add its own.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if it is refused.
    pub(crate) fn check_key(&self, request: &Request) -> Result<()> {
        if self.has_key(request) || !is_public_api(&self.0.origin) {
            return Ok(());
        }
        let message = format!(
            "there is no API key for {} {} to {}",
            request.method(),
            request.path(),
            self.origin()
        );
        Err(Error::new(ErrorKind::Settings, message).with_hint(
            "set the variable MISTRAL_API_KEY, or pass a key to the builder; without a key, mode strict replays recordings",
        ))
    }

    /// Returns the base URL without credentials. Cassettes store it as `recorded.from`.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// An upstream at another URL with the same client. Only the API gets the API key.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if the URL is invalid.
    #[cfg(feature = "proxy")]
    pub(crate) fn at(&self, base_url: &str, is_api: bool) -> Result<Self> {
        let url = parse_base_url(base_url)?;
        Ok(Self(Arc::new(Shared {
            #[cfg(feature = "realtime")]
            websocket_client: self.0.websocket_client.clone(),
            #[cfg(feature = "realtime")]
            is_client_given: self.0.is_client_given,
            client: self.0.client.clone(),
            timeout: self.0.timeout,
            base_url: url.as_str().trim_end_matches('/').into(),
            origin: origin_of(&url),
            is_local: is_local(&url),
            api_key: self.0.api_key.clone().filter(|_| is_api),
            is_foreign: !is_api,
        })))
    }

    /// Whether this is the public API.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_default(&self) -> bool {
        self.0.base_url == DEFAULT_UPSTREAM
    }

    fn client(&self) -> Result<reqwest::Client> {
        if let Some(client) = self.0.client.get() {
            return Ok(client.clone());
        }
        let new = new_client(self.0.timeout, &["h2", "http/1.1"])?;
        Ok(self.0.client.get_or_init(|| new).clone())
    }

    fn headers(&self, request: &Request) -> HeaderMap {
        let mut headers = request.header_map().clone();
        strip_connection_headers(&mut headers);
        // A client without a recorder does not strip them.
        strip_control_headers(&mut headers);
        headers.remove(header::HOST);
        // The body is already complete.
        headers.remove(header::EXPECT);
        headers.remove(header::ACCEPT_ENCODING);
        // The length in a response to `HEAD` and a range are those of the body without content encoding, so none is
        // accepted.
        if request.method() != Method::HEAD && !headers.contains_key(header::RANGE) {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(decoding::ACCEPTED));
        }
        if request.credentials().next().is_none() {
            // An `authorization` header that does not count as credentials is a dummy.
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
        let what = if timed_out { "did not respond in time" } else { what };
        // The message already has the URL, without credentials.
        Error::new(ErrorKind::Upstream, format!("{} {what}", self.origin()))
            .with_timed_out(timed_out)
            .with_source(error.without_url())
    }
}

impl Upstream {
    fn not_decoded(&self, error: io::Error) -> Error {
        match error.downcast::<reqwest::Error>() {
            Ok(error) => self.failed("sent an incomplete response", error),
            Err(error) => Error::new(
                ErrorKind::Upstream,
                format!("{} sent an incomplete response: it cannot be decoded", self.origin()),
            )
            .with_source(error),
        }
    }
}

impl Transport for Upstream {
    fn has_key(&self, request: &Request) -> bool {
        self.0.api_key.is_some()
            || request.credentials().next().is_some()
            || (self.0.is_foreign && !request.has_dummy_key())
    }

    fn needs_key(&self) -> bool {
        !self.0.is_local
    }

    fn secret(&self) -> Option<&str> {
        self.0.api_key.as_deref()
    }

    fn for_background(&self) -> Option<BackgroundTransport> {
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
                "did not send a valid HTTP response"
            };
            self.failed(what, error)
        })?;
        let (status, mut headers, version) = (response.status(), response.headers().clone(), response.version());
        make_locations_relative(&mut headers, &self.0.base_url, &request.target());
        let has_length_or_chunks = version > http::Version::HTTP_11
            || headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING);
        let encodings = if request.method() == Method::HEAD {
            Vec::new()
        } else {
            take_encodings(&mut headers)
        };
        let origin = self.origin().to_owned();
        let pieces = response.bytes_stream();
        if !encodings.is_empty() {
            let pieces = decoding::decoded(pieces, &encodings).map_err(move |error| self.not_decoded(error));
            return Ok(Response::new(status, Body::from_stream(pieces))
                .headers(headers)
                .origin(origin));
        }
        let is_encoded = headers.contains_key(header::CONTENT_ENCODING);
        let completeness = Completeness::of(content_type(&headers)).filter(|_| !has_length_or_chunks && !is_encoded);
        let pieces = pieces.map_err(move |error| self.failed("sent an incomplete response", error));
        let body = match completeness {
            Some(completeness) => Body::from_stream(completeness::checked(pieces, completeness, origin.clone())),
            None => Body::from_stream(pieces),
        };
        Ok(Response::new(status, body).headers(headers).origin(origin))
    }
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
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Vec<u8> {
        percent_decode_str(text).collect()
    }

    #[test]
    fn the_environment_has_the_key_and_the_base_url() {
        let upstream = |url: &'static str| {
            UpstreamBuilder::from_variables(move |name| match name {
                "MISTRAL_SERVER_URL" => Some(url.to_owned()),
                "MISTRAL_API_KEY" => Some("a key".to_owned()),
                _ => None,
            })
            .build()
            .unwrap()
        };
        let gateway = upstream("http://127.0.0.1:9/mistral/v1");
        assert_eq!(
            (gateway.origin(), gateway.secret()),
            ("http://127.0.0.1:9/mistral", Some("a key"))
        );
        assert_eq!(upstream("").origin(), DEFAULT_UPSTREAM);
    }

    proptest! {
        /// The URL parser does not change the path and the query that the request key was computed from.
        #[test]
        fn the_upstream_receives_the_path_and_query_of_the_request_key(target in "/[ -~]{0,20}", climbing in "(/|[\\\\.]|%2[eEfF]|%5c|[a-z@:?;]){0,20}") {
            for target in [target, format!("/{climbing}"), format!("/v1{climbing}"), format!("?{climbing}")] {
                let given = Request::new(Method::GET, &target).ok();
                // A target in absolute form, as clients of a forward proxy send it.
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
