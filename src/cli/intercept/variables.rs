//! The environment variables that clients read.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use super::trust::Trust;
use crate::proxy::Interception;
use crate::upstream::OUTER_PROXY_VARIABLE;

/// A variable with its value.
pub(crate) type Variable = (&'static str, OsString);

/// The variables from which API clients read the base URL. Those of clients that append only `/chat/completions` include
/// `/v1`. A variable that names an intercepted host stays as it is, unless the host is one of the API's own.
pub(super) fn base_urls(base: &str, interception: Option<&Interception>) -> Vec<Variable> {
    let with_version = format!("{base}/v1");
    let is_intercepted = |name: &str| {
        let value = env::var(name).unwrap_or_default();
        interception.is_some_and(|interception| interception.has_own(&value))
    };
    let all = [
        ("MISTRAL_SERVER_URL", base),
        ("MISTRAL_ENDPOINT", base),
        ("MISTRAL_BASE_URL", &with_version),
        ("MISTRAL_AZURE_API_BASE", &with_version),
        ("OPENAI_BASE_URL", &with_version),
    ];
    let is_for_other_api = |name: &str| {
        name == "OPENAI_BASE_URL"
            && env::var_os(name).is_none()
            && interception.is_some_and(|interception| interception.has_own("https://api.openai.com"))
    };
    all.into_iter()
        .filter(|(name, _)| !is_intercepted(name) && !is_for_other_api(name))
        .map(|(name, value)| (name, value.into()))
        .collect()
}

/// `NO_PROXY` in both spellings, with the addresses of this machine.
pub(super) fn with_loopback() -> Vec<Variable> {
    no_proxy(&["127.0.0.1", "localhost"], |_| true)
}

fn no_proxy(more: &[&str], is_used: impl Fn(&str) -> bool) -> Vec<Variable> {
    ["NO_PROXY", "no_proxy"]
        .into_iter()
        .map(|name| {
            let others = env::var(name).unwrap_or_default();
            let own = entries(&others).filter(|entry| is_used(entry));
            let entries: Vec<&str> = own.chain(more.iter().copied()).collect();
            (name, entries.join(",").into())
        })
        .collect()
}

/// The entries of `NO_PROXY`, which some clients also separate by blanks.
fn entries(no_proxy: &str) -> impl Iterator<Item = &str> {
    let is_separator = |letter: char| letter == ',' || letter.is_whitespace();
    no_proxy.split(is_separator).filter(|entry| !entry.is_empty())
}

/// The variables with which a command uses a proxy that intercepts.
pub(super) fn interception_variables(
    address: SocketAddr,
    interception: &Interception,
    trust: &Trust,
    takes_plain_http: bool,
) -> Vec<Variable> {
    let proxy = &format!("http://{address}");
    let bundle = trust.bundle();
    let mut variables: Vec<Variable> = vec![
        ("HTTPS_PROXY", proxy.into()),
        ("https_proxy", proxy.into()),
        ("SSL_CERT_FILE", bundle.clone().into()),
        ("REQUESTS_CA_BUNDLE", bundle.clone().into()),
        ("CURL_CA_BUNDLE", bundle.clone().into()),
        ("AWS_CA_BUNDLE", bundle.clone().into()),
        ("GIT_SSL_CAINFO", bundle.into()),
        ("NODE_EXTRA_CA_CERTS", trust.for_node().into()),
        ("NODE_USE_ENV_PROXY", "1".into()),
        ("NODE_OPTIONS", node_options(&trust.node_preload())),
        ("DENO_CERT", trust.for_deno().into()),
        (
            "JAVA_TOOL_OPTIONS",
            java_options(address, &trust.for_java(), takes_plain_http),
        ),
        ("PYTHONPATH", python_path(trust.python_folder().into())),
        (OUTER_PROXY_VARIABLE, outer_proxy(interception).into()),
    ];
    if takes_plain_http {
        variables.push(("HTTP_PROXY", proxy.into()));
        variables.push(("http_proxy", proxy.into()));
    }
    // Clients would bypass the proxy for these hosts. The proxy itself still does what the user's variable says.
    let is_used = |entry: &str| !interception.is_bypassed_by(entry);
    variables.extend(no_proxy(&["127.0.0.1", "localhost", "::1"], is_used));
    variables
}

/// What the user of `proxy --intercept` has to set for a client.
pub(crate) fn explain(proxy: &str, interception: &Interception, trust: &Trust) -> String {
    format!(
        "mistral-cassette: intercepts {}; for a client set HTTPS_PROXY={proxy} and SSL_CERT_FILE={}",
        interception.shown_hosts(),
        trust.bundle().display()
    )
}

/// The user's own proxy for the API, for sessions of the library in the command; empty without one.
fn outer_proxy(interception: &Interception) -> String {
    let value = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let bypass = value(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
    let is_bypassed = entries(&bypass).any(|entry| interception.is_bypassed_by(entry));
    let proxy = value(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
    proxy.filter(|_| !is_bypassed).unwrap_or_default()
}

fn node_options(preload: &Path) -> OsString {
    let quoted = preload.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    with_own("NODE_OPTIONS", &format!("--require \"{quoted}\""))
}

/// System properties that the client of the JDK and most others read.
fn java_options(address: SocketAddr, trust_store: &Path, takes_plain_http: bool) -> OsString {
    let proxy = |scheme: &str| {
        format!(
            "-D{scheme}.proxyHost={} -D{scheme}.proxyPort={} ",
            address.ip(),
            address.port()
        )
    };
    let plain = if takes_plain_http { proxy("http") } else { String::new() };
    let options = format!(
        "{}{plain}-Djavax.net.ssl.trustStore=\"{}\" -Djavax.net.ssl.trustStoreType=jks",
        proxy("https"),
        trust_store.display()
    );
    with_own("JAVA_TOOL_OPTIONS", &options)
}

/// The user's options in a variable, and more.
fn with_own(variable: &str, more: &str) -> OsString {
    let mut options = env::var_os(variable).unwrap_or_default();
    if !options.is_empty() {
        options.push(" ");
    }
    options.push(more);
    options
}

fn python_path(first: OsString) -> OsString {
    let others = env::var_os("PYTHONPATH").filter(|others| !others.is_empty());
    let others: Vec<_> = others.iter().flat_map(env::split_paths).collect();
    let paths = std::iter::once(first.into()).chain(others);
    env::join_paths(paths).unwrap_or_else(|error| {
        tracing::warn!("clients of certifi do not trust the proxy, because PYTHONPATH cannot name its folder: {error}; set TMPDIR to a folder without a colon");
        env::var_os("PYTHONPATH").unwrap_or_default()
    })
}
