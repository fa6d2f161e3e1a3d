//! Opens the store of a URL: options, credentials, HTTP client.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as S3};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider};

use super::bucket::Bucket;
use super::failure::{self, Credentials};
use super::profile;
use crate::engine::timeout::Timeout;
use crate::error::{Error, ErrorKind, Result};
use crate::http::tls;

/// How long a request may take, with its complete response.
const REQUEST: Duration = Duration::from_secs(30);

/// No retry starts later than this after the first attempt.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

const RETRIES: usize = 3;

const AMAZON: Credentials = Credentials {
    source: "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile AWS_PROFILE in ~/.aws/credentials, or the machine's role",
    permissions: "they need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket, without which a missing object is reported as denied access",
};

const GOOGLE: Credentials = Credentials {
    source: "credentials come from the file of GOOGLE_APPLICATION_CREDENTIALS or the machine's role",
    permissions: "they need the role Storage Object User",
};

const AZURE: Credentials = Credentials {
    source: "credentials come from AZURE_STORAGE_ACCOUNT_KEY, from AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID, or the machine's identity",
    permissions: "they need the role Storage Blob Data Contributor",
};

/// Opens the store of a URL.
///
/// # Errors
/// [`ErrorKind::Settings`]: the URL is invalid or contains credentials, or those of the environment cannot be read.
pub(super) fn open(url: &str) -> Result<Bucket> {
    let address = Address::parse(url)?;
    let timeout: Arc<Timeout> = Arc::default();
    let connector = Connector(timeout.clone());
    let (store, credentials) = match address.scheme.as_str() {
        "gs" => (address.google(connector)?, GOOGLE),
        "az" => (address.azure(connector)?, AZURE),
        _ => (address.amazon(connector)?, AMAZON),
    };
    Ok(Bucket {
        store,
        timeout,
        prefix: address.prefix,
        location: address.location.into(),
        credentials,
    })
}

/// The parts of a URL.
struct Address {
    scheme: String,
    bucket: String,
    prefix: Path,
    /// The URL without its options.
    location: String,
    endpoint: Option<String>,
    region: Option<String>,
    account: Option<String>,
}

impl Address {
    // Errors repeat no part of the URL before it is known to contain no credentials.
    fn parse(url: &str) -> Result<Self> {
        let invalid = |message: &str| Error::new(ErrorKind::Settings, message);
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid("the URL of an object store lacks its //").with_hint("write s3://bucket/prefix"))?;
        let (names, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = names.split_once('/').unwrap_or((names, ""));
        if names.contains(['@', '#']) || bucket.contains(':') {
            return Err(contains_credentials(scheme));
        }
        let known = match scheme {
            "s3" => ["endpoint", "region"].as_slice(),
            "gs" => &["endpoint"],
            "az" => &["account", "endpoint"],
            _ => return Err(invalid("the URL of an object store begins with s3://, gs:// or az://")),
        };
        if bucket.is_empty() {
            return Err(invalid("the URL of an object store contains no bucket")
                .with_hint(format!("write {scheme}://bucket/prefix")));
        }
        let location = format!("{scheme}://{bucket}/{}", prefix.trim_matches('/'));
        let location = location.trim_end_matches('/');
        let prefix = Path::from_url_path(prefix.trim_matches('/'))
            .map_err(|error| invalid(&format!("{location}: the prefix is invalid")).with_source(error))?;
        let mut address = Self {
            scheme: scheme.to_owned(),
            bucket: bucket.to_owned(),
            prefix,
            location: location.to_owned(),
            endpoint: None,
            region: None,
            account: None,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&&*name) {
                return Err(unknown_option(scheme, location, &name, known));
            }
            let value = value.into_owned();
            match &*name {
                "endpoint" => address.endpoint = Some(checked_endpoint(scheme, location, value)?),
                "region" => address.region = Some(value),
                _ => address.account = Some(value),
            }
        }
        Ok(address)
    }

    fn amazon(&self, connector: Connector) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&self.bucket);
        if let Some(endpoint) = &self.endpoint {
            // The first is for all services. The second is for S3 and takes precedence.
            builder = builder
                .with_config(S3::Endpoint, endpoint)
                .with_config(S3::S3Endpoint, endpoint);
        }
        let is_set = |builder: &AmazonS3Builder, names: &[S3]| {
            names
                .iter()
                .any(|name| builder.get_config_value(name).is_some_and(|value| !value.is_empty()))
        };
        let has_credentials = is_set(
            &builder,
            &[
                S3::AccessKeyId,
                S3::SecretAccessKey,
                S3::WebIdentityTokenFile,
                S3::ContainerCredentialsRelativeUri,
                S3::ContainerCredentialsFullUri,
            ],
        );
        let has_region = self.region.is_some() || is_set(&builder, &[S3::Region]);
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if !has_credentials || !has_region {
            let profile = if has_credentials {
                // The environment provides the keys, so the profile need not exist.
                profile::read().unwrap_or_default()
            } else {
                profile::read()?
            };
            if let Some(region) = profile.region.filter(|_| !has_region) {
                builder = builder.with_region(region);
            }
            if let Some(credential) = profile.credential.filter(|_| !has_credentials) {
                builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
            }
        }
        let endpoint = builder
            .get_config_value(&S3::S3Endpoint)
            .or_else(|| builder.get_config_value(&S3::Endpoint));
        if is_plain(endpoint.as_deref()) {
            builder = builder.with_config(S3::Client(ClientConfigKey::AllowHttp), "true");
        }
        let built = builder.with_retry(retries()).with_http_connector(connector).build();
        Ok(Arc::new(built.map_err(|error| self.failed(&error))?))
    }

    fn google(&self, connector: Connector) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(&self.bucket);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        if is_plain(self.endpoint.as_deref()) {
            builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), "true");
        }
        let built = builder.with_retry(retries()).with_http_connector(connector).build();
        Ok(Arc::new(built.map_err(|error| self.failed(&error))?))
    }

    fn azure(&self, connector: Connector) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(&self.bucket);
        if let Some(account) = &self.account {
            builder = builder.with_account(account);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        if is_plain(builder.get_config_value(&AzureConfigKey::Endpoint).as_deref()) {
            builder = builder.with_allow_http(true);
        }
        let built = builder.with_retry(retries()).with_http_connector(connector).build();
        Ok(Arc::new(built.map_err(|error| self.failed(&error))?))
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        Error::new(
            ErrorKind::Settings,
            format!("{} cannot be opened: {}", self.location, failure::root(error)),
        )
    }
}

fn contains_credentials(scheme: &str) -> Error {
    let hint = match scheme {
        "gs" => GOOGLE.source,
        "az" => AZURE.source,
        _ => AMAZON.source,
    };
    Error::new(
        ErrorKind::Settings,
        "the URL of an object store must not contain credentials, a port or a fragment",
    )
    .with_hint(format!("{hint}; @ in a prefix is written %40, # is %23"))
}

fn unknown_option(scheme: &str, location: &str, name: &str, known: &[&str]) -> Error {
    let lower = name.to_ascii_lowercase();
    if ["key", "secret", "token", "password", "credential", "signature", "sas"]
        .iter()
        .any(|word| lower.contains(word))
    {
        return contains_credentials(scheme);
    }
    let is_name = name.len() <= 40
        && lower
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-'));
    let name = if is_name { name } else { "of this name" };
    Error::new(ErrorKind::Settings, format!("{location}: there is no option {name}"))
        .with_hint(format!("the options of {scheme}:// are {}", known.join(" and ")))
}

fn checked_endpoint(scheme: &str, location: &str, endpoint: String) -> Result<String> {
    let invalid = |reason: &str| {
        Error::new(ErrorKind::Settings, format!("{location}: the endpoint {reason}"))
            .with_hint("write scheme and host, for example endpoint=http://localhost:9000")
    };
    if endpoint.contains('@') {
        return Err(contains_credentials(scheme));
    }
    let url: reqwest::Url = endpoint.parse().map_err(|_| invalid("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("must begin with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("has a query or a fragment"));
    }
    Ok(endpoint)
}

fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

/// Creates HTTP clients with the TLS configuration of this crate.
#[derive(Debug)]
struct Connector(Arc<Timeout>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let option = |key| options.get_config_value(&key);
        // The metadata service of a machine is requested with a shorter timeout.
        let connect = option(ClientConfigKey::ConnectTimeout)
            .and_then(|text| Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?)));
        Ok(HttpClient::new(LazyClient {
            client: OnceLock::new(),
            connect,
            timeout: self.0.clone(),
            is_plain: option(ClientConfigKey::AllowHttp).as_deref() == Some("true"),
        }))
    }
}

/// A client that is created with the first request, so that opening an engine needs no root certificates.
#[derive(Debug)]
struct LazyClient {
    client: OnceLock<reqwest::Client>,
    /// How long connecting may take, if it differs from the time limit of the engine.
    connect: Option<Duration>,
    timeout: Arc<Timeout>,
    /// Whether `http://` is allowed.
    is_plain: bool,
}

impl LazyClient {
    fn client(&self) -> Result<&reqwest::Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let new = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(&["http/1.1"])?)
            .https_only(!self.is_plain)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.connect.unwrap_or_else(|| self.timeout.connect()))
            .timeout(REQUEST)
            // Objects are read as they are stored.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build()
            .map_err(|error| {
                tls::setup_error(ErrorKind::Internal, "cannot build the HTTP client").with_source(error)
            })?;
        Ok(self.client.get_or_init(|| new))
    }
}

#[async_trait]
impl HttpService for LazyClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let client = self
            .client()
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        HttpService::call(client, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_bucket_a_prefix_and_options() {
        let address = Address::parse("s3://my-bucket/a%20b/c/?endpoint=http://localhost:9000&region=eu").unwrap();
        assert_eq!(address.bucket, "my-bucket");
        assert_eq!(address.prefix.as_ref(), "a b/c");
        assert_eq!(address.location, "s3://my-bucket/a%20b/c");
        assert_eq!(address.endpoint.as_deref(), Some("http://localhost:9000"));
        assert_eq!(address.region.as_deref(), Some("eu"));
        for url in ["s3://b", "s3://b/", "gs://b?endpoint=https://x", "az://b?account=a"] {
            assert_eq!(Address::parse(url).unwrap().prefix.as_ref(), "", "{url}");
        }
    }

    #[test]
    fn an_invalid_url_is_reported_with_the_reason() {
        for (url, reason) in [
            ("s3:bucket", "lacks its //"),
            ("s3://", "contains no bucket"),
            ("s3:///prefix", "contains no bucket"),
            ("s3://b/a//b", "the prefix"),
            ("s3://b/../x", "the prefix"),
            ("s3://b?colour=red", "s3://b: there is no option colour"),
            ("s3://b?account=a", "s3://b: there is no option account"),
            ("s3://b?endpoint=localhost:9000", "must begin with http"),
            ("s3://b?endpoint=nowhere", "is not a URL"),
        ] {
            let error = open(url).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.message().contains(reason), "{error}");
        }
        let hint = open("s3://b?colour=red").err().unwrap();
        assert_eq!(hint.hint(), Some("the options of s3:// are endpoint and region"));
    }

    #[test]
    fn credentials_in_a_url_are_rejected_and_not_repeated() {
        for url in [
            "s3://AKIAX:hush@bucket/prefix",
            "s3://hush@bucket",
            "s3://AKIAX:hu/sh+hush@bucket",
            "s3://AKIAX:123/hush@bucket",
            "s3://AKIAX:hu?sh=hush@bucket/prefix",
            "s3://b/p#hush",
            "s3://b?secret_access_key=hush",
            "s3://b?AWS_ACCESS_KEY_ID=hush",
            "s3://b?endpoint=http://a:hush@localhost",
            "s3://b?hush%2Fhush=1",
            "gs://b?service_account_key=hush",
            "az://b?sas=hush",
        ] {
            let error = open(url).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(!format!("{error:?}").contains("hush"), "{url}: {error:?}");
        }
    }
}
