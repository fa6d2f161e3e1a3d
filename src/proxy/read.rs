//! Reads a request and its scope from the proxy's connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use super::intercept::Route;
use super::response::Refusal;
use crate::diff::cut;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Request;
use crate::key::{Scope, is_version};

/// The prefix of a path with a scope: `/c/<scope>/v1/…`.
const SCOPE_PREFIX: &str = "/c/";

/// The characters that are encoded in the name of a scope in a URL: `/`, and those that no name contains.
const SCOPE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The header that names the scope of a request. It overrides the scope in the path and that of the proxy user.
const SCOPE_HEADER: HeaderName = HeaderName::from_static("x-mistral-cassette-scope");

/// A request and its scope.
pub(super) struct ScopedRequest {
    pub(super) request: Request,
    /// The scope that the request names.
    pub(super) scope: Option<Scope>,
    /// The scope in the path of the request.
    pub(super) path_scope: Option<Scope>,
}

/// Reads a request with a body of at most `max_body_bytes`, and its scope.
///
/// # Errors
/// A refusal with status 413 if the body is too large, otherwise 400.
pub(super) async fn request(
    head: Parts,
    body: Incoming,
    max_body_bytes: u64,
    route: &Route,
) -> Result<ScopedRequest, Refusal> {
    let bad_request = |error| Refusal::new(StatusCode::BAD_REQUEST, error);
    let scoped = parse_head(head, route).map_err(bad_request)?;
    let too_large = || {
        let message = format!("the body of the request is larger than {max_body_bytes} bytes");
        let error = Error::new(ErrorKind::Request, message)
            .with_hint("raise the limit with --max-body, ProxyBuilder::max_body_bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    if body.size_hint().lower() > max_body_bytes {
        return Err(too_large());
    }
    let limit = usize::try_from(max_body_bytes).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(ScopedRequest {
            request: scoped.request.body(body.to_bytes()),
            ..scoped
        }),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(bad_request(Error::new(
            ErrorKind::Request,
            format!("the body of the request is incomplete: {error}"),
        ))),
    }
}

/// Returns the request without its body, and its scope.
pub(super) fn parse_head(mut head: Parts, route: &Route) -> Result<ScopedRequest> {
    if head.method == Method::CONNECT {
        if matches!(route, Route::Intercepted(..)) {
            let message = "CONNECT is not supported inside a connection to an intercepted host";
            return Err(Error::new(ErrorKind::Request, message));
        }
        return Err(
            Error::new(ErrorKind::Request, "CONNECT is not supported: this proxy does not intercept HTTPS").with_hint(
                "start the proxy with --intercept, or set its URL as the base URL of the Mistral client instead of HTTPS_PROXY",
            ),
        );
    }
    let named = scope_of_header(&mut head.headers)?;
    let target = head.uri.into_parts().path_and_query;
    let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let (scope, path_scope, request) = match (route, target.as_str().strip_prefix(SCOPE_PREFIX)) {
        (Route::Intercepted(destination, scope), _) => {
            let request = Request::from_target(head.method, target)?.with_host(destination.key_host.as_deref());
            (scope.clone(), None, request)
        }
        (Route::Direct, None) => (None, None, Request::from_target(head.method, target)?),
        (Route::Direct, Some(rest)) => {
            let (scope, target) = split_scope(rest)?;
            (Some(scope.clone()), Some(scope), Request::new(head.method, target)?)
        }
    };
    Ok(ScopedRequest {
        request: request.headers(head.headers),
        scope: named.or(scope),
        path_scope,
    })
}

/// Removes the header that names the scope of the request.
fn scope_of_header(headers: &mut HeaderMap) -> Result<Option<Scope>> {
    if headers.get_all(SCOPE_HEADER).iter().count() > 1 {
        let message = format!("a request must have one header {SCOPE_HEADER} at most");
        return Err(Error::new(ErrorKind::Request, message));
    }
    let Some(value) = headers.remove(SCOPE_HEADER) else {
        return Ok(None);
    };
    let name = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let scope = Scope::new(&name).map_err(|error| {
        Error::new(
            ErrorKind::Request,
            format!("in the header {SCOPE_HEADER}: {}", error.message()),
        )
        .with_hint(error.hint().unwrap_or_default())
    })?;
    Ok(Some(scope))
}

/// Returns the scope that a client names as the user of the proxy: `http://SCOPE:x@127.0.0.1:PORT`.
///
/// # Errors
/// [`ErrorKind::Request`] if the user is not a valid scope.
pub(super) fn scope_of_user(headers: &HeaderMap) -> Result<Option<Scope>> {
    let invalid = |what: &str| {
        Error::new(
            ErrorKind::Request,
            format!("the user name of the proxy is not a scope: {what}"),
        )
    };
    let basic = headers.get(header::PROXY_AUTHORIZATION).and_then(|value| {
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then(|| encoded.trim().to_owned())
    });
    let Some(encoded) = basic else { return Ok(None) };
    let decoded = BASE64.decode(encoded).map_err(|_| invalid("it is not Base64"))?;
    let text = String::from_utf8(decoded).map_err(|_| invalid("it is not UTF-8"))?;
    // Some clients send no user without a password, so any word is accepted as one. Other characters mean that the colon is
    // part of an invalid name, such as `tests/t.py::test_a`.
    let is_word = |password: &str| {
        password
            .chars()
            .all(|letter| letter.is_alphanumeric() || "-_".contains(letter))
    };
    let user = match text.split_once(':') {
        Some((user, password)) if is_word(password) => user.to_owned(),
        _ => text,
    };
    let user = Some(user).filter(|user| !user.is_empty());
    let scope = |user: String| {
        Scope::new(&user).map_err(|error| {
            Error::new(
                ErrorKind::Request,
                format!("the user name of the proxy is not a scope: {}", error.message()),
            )
            .with_hint(error.hint().unwrap_or_default())
        })
    };
    user.map(scope).transpose()
}

/// Splits the target after its prefix into the scope and the target in that scope.
fn split_scope(rest: &str) -> Result<(Scope, &str)> {
    let (name, target) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    let scope = Scope::new(&name)?;
    if target.is_empty() {
        return Err(Error::new(
            ErrorKind::Request,
            format!("the path has a scope but no endpoint: {SCOPE_PREFIX}{rest}"),
        )
        .with_hint(format!("send the request to {SCOPE_PREFIX}{scope}/v1/…")));
    }
    if let Some(at) = folders_before_version(target) {
        return Err(Error::new(
            ErrorKind::Request,
            format!("the path is ambiguous: {SCOPE_PREFIX}{}", cut(rest, 500)),
        )
        .with_hint(format!(
            "write the slashes of a scope as %2F: {SCOPE_PREFIX}{scope}{}{}",
            target[..at].replace('/', "%2F"),
            cut(&target[at..], 200)
        )));
    }
    Ok((scope, target))
}

/// The path of a target in a scope, the reverse of [`split_scope`].
pub(super) fn with_scope(scope: &Scope, target: &str) -> String {
    format!("{SCOPE_PREFIX}{}{target}", scope_name(scope))
}

/// A scope in a URL.
pub(super) fn scope_name(scope: &Scope) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(scope.as_str(), SCOPE_NAME)
}

/// Where the version begins (`/v1`), if folders precede it. They were probably meant as a part of the scope.
fn folders_before_version(target: &str) -> Option<usize> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut starts = path.match_indices('/').map(|(at, _)| at);
    let version = starts.find(|at| path[at + 1..].split('/').next().is_some_and(is_version))?;
    (version > 0).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(request: http::request::Builder) -> Result<(String, String)> {
        let (head, ()) = request.body(()).unwrap().into_parts();
        parse_head(head, &Route::Direct).map(|scoped| {
            let scope = scoped.scope.unwrap_or_else(Scope::root);
            (scope.to_string(), scoped.request.target())
        })
    }

    #[test]
    fn the_scope_is_read_from_the_path() {
        for (target, scope, inner) in [
            ("/v1/models?a=1", "", "/v1/models?a=1"),
            ("/c/tests/v1/models?a=1", "tests", "/v1/models?a=1"),
            ("/c/a%2Fb/v1/models", "a/b", "/v1/models"),
            ("/c/a/v1/files/v1?b=/v1", "a", "/v1/files/v1?b=/v1"),
            ("/c/a/models?b=/v1", "a", "/models?b=/v1"),
            ("http://localhost/v1/models", "", "/v1/models"),
        ] {
            let (found, target) = parse(http::Request::get(target)).unwrap();
            assert_eq!((found.as_str(), target.as_str()), (scope, inner));
            if !scope.is_empty() {
                let with_scope = with_scope(&Scope::new(scope).unwrap(), inner);
                let (found, target) = parse(http::Request::get(with_scope)).unwrap();
                assert_eq!((found.as_str(), target.as_str()), (scope, inner));
            }
        }
    }

    #[test]
    fn the_user_of_the_proxy_is_a_scope_or_an_error() {
        let scope = |text: &[u8]| {
            let value = format!("Basic {}", BASE64.encode(text)).parse().unwrap();
            scope_of_user(&HeaderMap::from_iter([(header::PROXY_AUTHORIZATION, value)]))
        };
        for (text, found) in [("a/b:", "a/b"), ("a:x", "a"), ("a", "a")] {
            assert_eq!(scope(text.as_bytes()).unwrap().unwrap().as_str(), found, "{text}");
        }
        assert_eq!(scope(b":").unwrap(), None);
        for wrong in [
            &b"tests/t.py::test_a:"[..],
            b"t.py::test_a",
            b"a b:x",
            "t\u{e9}st:".as_bytes(),
            b"\xff:",
        ] {
            let error = scope(wrong).unwrap_err();
            assert!(
                error.message().contains("the user name of the proxy is not a scope"),
                "{error}"
            );
        }
    }

    #[test]
    fn requests_that_cannot_be_recorded_are_refused() {
        for (request, message) in [
            (http::Request::connect("api.mistral.ai:443"), "CONNECT"),
            (http::Request::get("/c/tests"), "no endpoint: /c/tests"),
            (http::Request::get("/c/../v1/models"), ".."),
            (http::Request::get("/c/a/b/v1/models"), "ambiguous: /c/a/b/v1/models"),
            (http::Request::get("/c/a//v1"), "ambiguous"),
        ] {
            let error = parse(request).unwrap_err();
            assert!(error.message().contains(message), "{error}");
        }
        let hint = parse(http::Request::get("/c/a/b/v1/models")).unwrap_err().to_string();
        assert!(hint.contains("/c/a%2Fb/v1/models"), "{hint}");
        assert!(parse(http::Request::get("/v1").header("upgrade", "h2c")).is_ok());
    }
}
