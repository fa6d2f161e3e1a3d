//! Amazon Bedrock: its binary event streams, through the unmodified AWS SDK and by hand.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::support::project::{Done, Project, done};
use crate::support::server::{Call, Reply, Server};
use crate::support::skip::is_installed;

const HOST: &str = "bedrock-runtime.us-east-1.amazonaws.com";
const STREAM: &str = "application/vnd.amazon.eventstream";

/// A frame of an Amazon event stream.
fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_be_bytes()
    };
    let mut frame = Vec::new();
    for length in [16 + head.len() + payload.len(), head.len()] {
        frame.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    }
    frame.extend_from_slice(&crc(&frame));
    frame.extend_from_slice(&head);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc(&frame));
    frame
}

fn event(kind: &str, payload: &str) -> Vec<u8> {
    let headers = [
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    frame(&headers, payload)
}

fn chunk(chunk: &str) -> Vec<u8> {
    event(
        "chunk",
        &json!({ "bytes": BASE64.encode(chunk), "p": "abcdef" }).to_string(),
    )
}

fn texts() -> Vec<u8> {
    [
        chunk(r#"{"outputs":[{"text":"Down the ","stop_reason":null}]}"#),
        chunk(r#"{"outputs":[{"text":"Rhône.","stop_reason":null}]}"#),
        chunk(
            r#"{"outputs":[{"text":"","stop_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":14,"outputTokenCount":6}}"#,
        ),
    ]
    .concat()
}

fn conversation() -> Vec<u8> {
    [
        event("messageStart", r#"{"p":"abcd","role":"assistant"}"#),
        event(
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"text":"Down the Rhône."},"p":"ab"}"#,
        ),
        event("contentBlockStop", r#"{"contentBlockIndex":0,"p":"abc"}"#),
        event("messageStop", r#"{"p":"a","stopReason":"end_turn"}"#),
        event(
            "metadata",
            r#"{"metrics":{"latencyMs":412},"p":"abcde","usage":{"inputTokens":14,"outputTokens":6,"totalTokens":20}}"#,
        ),
    ]
    .concat()
}

/// Bedrock, as far as the tests need it.
async fn bedrock() -> Server {
    Server::start(|_, call: &Call| {
        let (model, operation) = call.target.rsplit_once('/').unwrap();
        // The AWS SDK signs the path with this escape.
        assert_eq!(model, "/model/mistral.mistral-large-2402-v1%3A0");
        match operation {
            "invoke" => Reply::json(r#"{"outputs":[{"text":"Down the Rhône.","stop_reason":"stop"}]}"#),
            "invoke-with-response-stream" => Reply::new(200, STREAM, texts()),
            "converse" => Reply::json(
                r#"{"metrics":{"latencyMs":9},"output":{"message":{"content":[{"text":"Down the Rhône."}],"role":"assistant"}},"stopReason":"end_turn","usage":{"inputTokens":14,"outputTokens":6,"totalTokens":20}}"#,
            ),
            _ => Reply::new(200, STREAM, conversation()),
        }
    })
    .await
}

/// The unmodified AWS SDK under `run`, with these variables.
fn sdk(project: &Project, mode: &str, upstream: &str, variables: &[(&str, &str)]) -> Done {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let intercept = format!("--intercept={HOST}={upstream}");
    let mut command: Command = project.command(&["run", "--mode", mode, "--allow-ci", &intercept, "--"]);
    command
        .arg(root.join(".venv/bin/python"))
        .arg(root.join("tests/sdks/bedrock.py"));
    for variable in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_PROFILE",
    ] {
        command.env_remove(variable);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(variables.iter().copied());
    let done = done(&mut command);
    assert_eq!(done.code(), 0, "{}\n{}", done.stderr, done.stdout);
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_sdk_replays_with_an_api_key_what_it_recorded_with_signatures() {
    let python = ".venv/bin/python";
    if !is_installed(Path::new(env!("CARGO_MANIFEST_DIR")).join(python).exists(), python) {
        return;
    }
    let (project, server) = (Project::new(), bedrock().await);
    let upstream = server.url.clone();
    let secret = ["wJalrXUtnFEMI", "K7MDENGbPxRfiCYzEXAMPLE9"].concat();
    let signed = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", &secret)];
    let recorded = sdk(&project, "record", &upstream, &signed);
    for call in server.calls() {
        let authorization = call.header("authorization").unwrap();
        assert!(
            authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
            "{authorization}"
        );
    }
    assert_eq!(server.call_count(), 4);
    drop(server);
    let replayed = sdk(
        &project,
        "strict",
        &upstream,
        &[("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-x")],
    );
    assert_eq!(recorded.stdout, replayed.stdout);
    assert!(
        replayed.stderr.contains("4 replayed, 0 recorded"),
        "{}",
        replayed.stderr
    );

    let shown = project.run(&["show", "model/"]).stdout;
    assert!(
        shown.contains("3 events\n\n[assistant]\nDown the Rhône.\n\nusage: 14 + 6 = 20 tokens"),
        "{shown}"
    );
    assert!(
        shown.contains("5 events\n\n[assistant]\nDown the Rhône.\n\nusage"),
        "{shown}"
    );
    let stats = project.run(&["stats"]).stdout;
    assert!(stats.contains(" 60 tokens\n"), "{stats}");
    assert_eq!(project.run(&["verify"]).code(), 0);
}
