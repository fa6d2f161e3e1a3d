//! Records and replays a program on `hyper` with the `tower` layer, offline:
//! `cargo run --features tower --example hyper`.
//!
//! The program is the function `ask`, which has no code for cassettes: it sends a request to a service. It uses the
//! cassette of `middleware.rs`. For `https:` use a connector with TLS, for example that of `hyper-rustls`.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mistral_cassette::layer::{BoxError, CassetteBody, CassetteLayer};
use mistral_cassette::{DirectoryEngine, Recorder};
use serde_json::{Value, json};
use tower::{Service, ServiceBuilder, ServiceExt};

async fn ask<S>(client: &mut S, question: &str) -> Result<String, BoxError>
where
    S: Service<http::Request<Full<Bytes>>, Response = http::Response<CassetteBody>, Error = BoxError>,
{
    let server = std::env::var("MISTRAL_SERVER_URL").unwrap_or("http://api.mistral.ai".to_owned());
    let key = std::env::var("MISTRAL_API_KEY").unwrap_or_default();
    let messages = json!([{ "role": "user", "content": question }]);
    let body = json!({ "model": "mistral-small-latest", "messages": messages, "stream": false });
    let request = http::Request::post(format!("{server}/v1/chat/completions"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))?;
    let response = client.ready().await?.call(request).await?;
    let response: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    Ok(response["choices"][0]["message"]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let recorder = Recorder::builder(DirectoryEngine::new("cassettes")).build()?;
    let mut client = ServiceBuilder::new()
        .layer(CassetteLayer::new(recorder.clone()))
        .service(Client::builder(TokioExecutor::new()).build_http());

    println!("{}", ask(&mut client, "What is the capital of France?").await?);

    println!("({})", recorder.finish().await?);
    Ok(())
}
