//! Tests of the YAML format: what is written is read as the same cassette.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::StatusCode;
use proptest::prelude::*;
use serde_json::Value;

use super::{append, read, responses_at, write};
use crate::cassette::{
    Audio, Blob, Cassette, Close, Content, Message, Peer, Recorded, RecordedBody, RecordedPart, RecordedRequest,
    RecordedResponse, sent_messages,
};

fn cassette(request: RecordedBody, kind: &str, body: &[u8]) -> Cassette {
    Cassette {
        key: "3f9a1c2b7d4e8a10".repeat(4),
        recorded: Recorded {
            at: "2026-11-21T10:00:00Z".to_owned(),
            earlier_us: Vec::new(),
            by: "mistral-cassette 0.1.0".to_owned(),
            from: Some("https://api.mistral.ai".to_owned()),
            test: Some("weather::asks_for_the_capital".to_owned()),
        },
        history: None,
        request: RecordedRequest {
            host: None,
            method: "POST".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            query: Some("a=1&b=#".to_owned()),
            content_type: None,
            body: request,
        },
        responses: vec![RecordedResponse {
            status: StatusCode::OK,
            headers: vec![
                ("content-type".to_owned(), kind.to_owned()),
                ("x-twice".to_owned(), "1".to_owned()),
                ("x-twice".to_owned(), "true".to_owned()),
            ],
            body: Blob::Inline(Bytes::copy_from_slice(body)),
            timing_ms: vec![412],
            messages: Vec::new(),
        }],
    }
}

fn blob(bytes: &[u8]) -> RecordedBody {
    RecordedBody::Blob(Blob::Inline(Bytes::copy_from_slice(bytes)))
}

fn written(cassette: &Cassette) -> String {
    String::from_utf8(write(cassette).unwrap().to_vec()).unwrap()
}

#[track_caller]
fn assert_round_trip(cassette: &Cassette) -> String {
    let text = written(cassette);
    let read = read(text.as_bytes(), "x.yaml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(&read, cassette, "{text}");
    assert_survives_formatters(cassette, &text);
    // Responses that are added to a document give the same text as if all were written at once.
    let mut twice = cassette.clone();
    twice.responses.extend(cassette.responses.clone());
    let responses = &text.as_bytes()[responses_at(text.as_bytes()).unwrap()..];
    assert_eq!(append(responses, cassette).unwrap(), write(&twice).unwrap(), "{text}");
    text
}

/// Git hooks and editors trim lines, and may convert line ends.
#[track_caller]
fn assert_survives_formatters(cassette: &Cassette, text: &str) {
    let is_trimmed = |line: &str| !line.ends_with(char::is_whitespace);
    let lines = text.strip_suffix('\n').unwrap();
    assert!(!lines.is_empty() && lines.split('\n').all(is_trimmed), "{text}");
    let with_crlf = text.replace('\n', "\r\n");
    assert_eq!(
        &super::read(with_crlf.as_bytes(), "x.yaml").unwrap(),
        cassette,
        "{text}"
    );
}

#[test]
fn cassettes_are_readable() {
    let request = blob(r#"{"model":"mistral-small-latest","messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0.2,"stop":null}"#.as_bytes());
    let response = br#"{"id":"1e5","choices":[{"message":{"content":"Paris.\n\n- the capital\n- of *France*: yes"},"tool_calls":[]}],"data":[[0.5,-1e-7,3]],"when":"2026-11-21","on":"yes"}"#;
    insta::assert_snapshot!(assert_round_trip(&cassette(request, "application/json", response)));
}

#[test]
fn event_streams_are_written_event_by_event() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"It's \"}}],\"p\":\"abc\"}\n\nevent: x\ndata: {\"a\": 1}\n\ndata: [DONE]\n\n";
    insta::assert_snapshot!(assert_round_trip(&cassette(
        blob(br#"{"stream":true}"#),
        "text/event-stream; charset=utf-8",
        stream.as_bytes()
    )));
}

#[test]
fn parts_are_written_as_text_base64_or_file() {
    let parts = vec![
        RecordedPart {
            name: "model".to_owned(),
            filename: None,
            content_type: None,
            headers: Vec::new(),
            content: Blob::Inline("voxtral".into()),
        },
        RecordedPart {
            name: "file".to_owned(),
            filename: Some("a.wav".to_owned()),
            content_type: Some("audio/wav".to_owned()),
            headers: vec![
                (
                    "Content-Disposition".to_owned(),
                    "form-data; name=\"file\"; filename=\"a.wav\"; filename*=UTF-8''a%20.wav".to_owned(),
                ),
                ("X-Kind".to_owned(), "r\u{f7e9}sum\u{f7e9} ".to_owned()),
                ("X-Kind".to_owned(), "2".to_owned()),
            ],
            content: Blob::Inline(Bytes::from_static(b"RIFF\xff\x00")),
        },
        RecordedPart {
            name: "big".to_owned(),
            filename: None,
            content_type: None,
            headers: Vec::new(),
            content: Blob::External { sha256: "0".repeat(64) },
        },
    ];
    insta::assert_snapshot!(assert_round_trip(&cassette(
        RecordedBody::Multipart(parts),
        "application/octet-stream",
        b"\x00\xffbinary"
    )));
}

#[test]
fn strings_are_quoted_only_when_necessary() {
    for (text, written_as) in [
        ("It's 5:30, and \"all\" is well#1", r#"It's 5:30, and "all" is well#1"#),
        (r#"{"city": "Paris"}"#, r#"'{"city": "Paris"}'"#),
        ("- say \"hi\"", r#"'- say "hi"'"#),
        ("-5 \"or\" so", r#"-5 "or" so"#),
        ("'so' it is", r#""'so' it is""#),
        (r#"{"who": "it's me"}"#, r#""{\"who\": \"it's me\"}""#),
        (r"C:\dir: a", r"'C:\dir: a'"),
        ("Note: 21 °C", "'Note: 21 °C'"),
        ("ends in a colon:", "'ends in a colon:'"),
        ("issue #1", "'issue #1'"),
        ("ends in a space ", "'ends in a space '"),
        ("It's: so", r#""It's: so""#),
        ("a tab:\t", r#""a tab:\t""#),
        ("a line: \u{2028}", r#""a line: \L""#),
        ("", r#""""#),
        ("12", r#""12""#),
        ("no", r#""no""#),
    ] {
        let body = serde_json::to_vec(&serde_json::json!({ "a": text })).unwrap();
        let text = assert_round_trip(&cassette(blob(b""), "application/json", &body));
        assert!(text.contains(&format!("      a: {written_as}\n")), "{text}");
    }
}

#[test]
fn every_layout_round_trips() {
    for body in [
        "{\"a\": 1e-05}",
        "{\n  \"a\": [\n    1\n  ]\n}\n",
        "{\"a\":\"\\u00e9\"}",
        "[]",
        "\"text\"",
        "null",
        "12",
        "{\"a\":1.50}",
        "{\"a\":1,\"a\":2}",
        "plain",
        " leading",
        "trailing ",
        "two\nlines",
        "two\r\nlines",
        "\n\nblank first",
        "  indented\nfirst",
        "blank\n   \nline",
        "\n",
        "tab\tin",
        "ends\n\n\n",
        "a line that ends in a blank \nline",
        "a tab\t\nline",
        "a no-break space\u{a0}\nline\n",
        "\u{3000}wide\nblank",
        "\u{feff}bom",
        "a\u{85}b\u{2028}c",
        "\u{0}",
        "---\n...",
        "# no comment",
        "- a\n- b",
        "key: value",
        "%YAML",
        "data: x\n\n",
    ] {
        assert_round_trip(&cassette(blob(body.as_bytes()), "text/plain", body.as_bytes()));
    }
    for stream in [
        "data: a",
        "data: a\n",
        "data: a\n\n\ndata: b\n\n",
        ": ping\n\n\n\n",
        "\n\n",
        "data: a\r\n\r\n",
        "\u{feff}data: a\n\n",
        " \n\n \n\n",
    ] {
        assert_round_trip(&cassette(blob(b""), "text/event-stream", stream.as_bytes()));
    }
}

/// Several responses have times. A recording of one response, or of earlier builds, is as before.
#[test]
fn the_times_of_several_responses_are_read_back() {
    let mut cassette = cassette(blob(b""), "application/json", b"{}");
    let before = written(&cassette);
    assert!(!before.contains("earlier_us"), "{before}");
    cassette.responses.push(cassette.responses[0].clone());
    cassette.recorded.at = "2026-11-21T10:00:00.000300Z".to_owned();
    cassette.recorded.earlier_us = vec![300];
    assert_round_trip(&cassette);
    let document = written(&cassette);
    assert!(document.contains("\n  earlier_us: [300]\n"), "{document}");
}

#[test]
fn errors_name_the_file_and_the_line() {
    let good = written(&cassette(blob(br#"{"a":1}"#), "application/json", br#"{"b":2}"#));
    let change = |from: &str, to: &str| good.replace(from, to).into_bytes();
    let json = "    json:\n      b: 2";
    let without_responses = good.split("responses:").next().unwrap();
    let documents: [(&str, Vec<u8>); 19] = [
        ("empty", b" \n".to_vec()),
        ("truncated", good.as_bytes()[..good.len() / 2].to_vec()),
        ("not UTF-8", b"version: 1\nkey: \xff\n".to_vec()),
        ("not YAML", b"version: 1\nkey: [1\n".to_vec()),
        ("not a mapping", b"- 1\n- 2\n".to_vec()),
        ("an unknown member", change("request:", "comment: x\nrequest:")),
        ("a missing member", change("  method: POST\n", "")),
        ("a newer version", b"version: 2\nrequests: {}\n".to_vec()),
        ("version 0", change("version: 1", "version: 0")),
        ("two forms of a body", change(json, &format!("    text: x\n{json}"))),
        ("no form of a body", change(json, "    ascii: true")),
        ("invalid base64", change(json, "    base64: '***'")),
        ("an invalid body file", change(json, "    file: ../../etc/passwd")),
        ("an invalid status", change("status: 200", "status: 20")),
        (
            "no response",
            format!("{without_responses}responses: []\n").into_bytes(),
        ),
        ("an invalid header", change("x-twice:", "'x twice':")),
        (
            "aliases",
            change(
                "      b: 2",
                "      a: &a [x,x,x]\n      b: &b [*a,*a,*a]\n      c: [*b,*b,*b]",
            ),
        ),
        ("deep nesting", format!("{}\n", "[".repeat(100_000)).into_bytes()),
        (
            "a duplicate member",
            change("  method: POST\n", "  method: POST\n  method: GET\n"),
        ),
    ];
    let mut messages = String::new();
    for (name, document) in documents {
        let error = read(&document, "cassettes/x.yaml").unwrap_err().to_string();
        messages.push_str(&format!("{name}\n  {}\n", error.replace('\n', "\n  ")));
    }
    insta::assert_snapshot!(messages);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("no number", |number| serde_json::Number::from_f64(number)
            .map(Value::Number)),
        any::<String>().prop_map(Value::from),
        special_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((special_text(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Text with characters that have a meaning in YAML.
fn special_text() -> impl Strategy<Value = String> {
    "[ab01y~:#'\"\\\\,\\[\\]{}&*!|>%@`?=. \t\n\r\u{85}\u{a0}\u{3000}\u{2028}\u{feff}é🎉\u{0}\u{7f}_-]{0,12}"
}

proptest! {
    #[test]
    fn any_json_round_trips(value in json(), compact in any::<bool>()) {
        let body = if compact { serde_json::to_vec(&value) } else { serde_json::to_vec_pretty(&value) }.unwrap();
        assert_round_trip(&cassette(blob(&body), "application/json", &body));
    }

    #[test]
    fn any_bytes_round_trip(body in prop::collection::vec(any::<u8>(), 0..200)) {
        assert_round_trip(&cassette(blob(&body), "application/octet-stream", &body));
    }

    #[test]
    fn any_text_round_trips(body in special_text(), test in special_text()) {
        let mut cassette = cassette(blob(body.as_bytes()), "text/plain", body.as_bytes());
        cassette.recorded.test = Some(test);
        assert_round_trip(&cassette);
    }

    #[test]
    fn any_event_stream_round_trips(stream in "(data: [a-z{}\": '#]{0,8}|event: x|: ping|\n|\r\n| |\n\n){0,20}") {
        assert_round_trip(&cassette(blob(b""), "text/event-stream", stream.as_bytes()));
    }

    #[test]
    fn a_changed_byte_never_causes_a_panic(at in 0usize..900, byte in any::<u8>()) {
        let mut document = written(&cassette(blob(br#"{"a":1}"#), "application/json", br#"{"b":[1,2],"c":"x\ny"}"#)).into_bytes();
        let at = at % document.len();
        document[at] = byte;
        let _ = read(&document, "x.yaml");
    }
}

/// A session with every kind of message.
fn session() -> Cassette {
    let text = |text: &'static str| Content::Text(Bytes::from_static(text.as_bytes()).into());
    let audio = |run: Option<&'static [u8]>, frames: &[usize]| {
        Message::Audio(Audio {
            run: run.map(|bytes| Bytes::from_static(bytes).into()),
            frames: frames.to_vec(),
        })
    };
    let messages = vec![
        Message::Received(text(r#"{"type": "session.created", "session": {"request_id": "a"}}"#)),
        Message::Sent(text(r#"{"type":"session.update","session":{"language":"fr"}}"#)),
        audio(Some(b"\0\x01\x02\x03"), &[1, 1]),
        Message::Received(text("not JSON\n")),
        audio(None, &[2]),
        Message::Received(Content::Binary(Bytes::from_static(b"text").into())),
        Message::Sent(Content::Binary(Bytes::from_static(b"\xff").into())),
        Message::Received(text("")),
        Message::Closed(Close {
            by: Peer::Server,
            code: Some(1000),
            reason: "bye: #1".to_owned(),
        }),
    ];
    let mut cassette = cassette(RecordedBody::Messages(sent_messages(&messages)), "", b"");
    cassette.request.method = "GET".to_owned();
    cassette.responses[0] = RecordedResponse {
        status: StatusCode::SWITCHING_PROTOCOLS,
        headers: vec![("sec-websocket-protocol".to_owned(), "realtime".to_owned())],
        body: Blob::Inline(Bytes::new()),
        timing_ms: (0..10).collect(),
        messages,
    };
    cassette
}

#[test]
fn a_session_is_the_list_of_its_messages() {
    insta::assert_snapshot!(assert_round_trip(&session()), @r#"
    version: 1
    key: 3f9a1c2b7d4e8a103f9a1c2b7d4e8a103f9a1c2b7d4e8a103f9a1c2b7d4e8a10
    recorded:
      at: "2026-11-21T10:00:00Z"
      by: mistral-cassette 0.1.0
      from: https://api.mistral.ai
      test: weather::asks_for_the_capital
    request:
      method: GET
      path: /v1/chat/completions
      query: a=1&b=#
    responses:
    - status: 101
      headers:
        sec-websocket-protocol: realtime
      session:
      - receive:
          spacing: spaced
          json:
            type: session.created
            session:
              request_id: a
      - send:
          json:
            type: session.update
            session:
              language: fr
      - send:
          audio:
            base64: AAECAw==
            frames: [1, 1]
      - receive:
          text: |
            not JSON
      - send:
          audio:
            frames: [2]
      - receive:
          binary:
            base64: dGV4dA==
      - send:
          binary:
            base64: /w==
      - receive:
          text: ""
      - close:
          by: server
          code: 1000
          reason: 'bye: #1'
      timing_ms: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    "#);
}

#[test]
fn a_session_that_was_damaged_is_an_error() {
    let text = written(&session());
    for (old, new, message) in [
        (
            "  - close:\n      by: server\n      code: 1000\n      reason: 'bye: #1'\n",
            "",
            "no close at its end",
        ),
        ("frames: [2]", "frames: [3]", "longer than its bytes"),
        ("frames: [2]", "frames: [1]", "shorter than its bytes"),
        ("timing_ms: [0, ", "timing_ms: [", "one number for each frame"),
        (
            "  - receive:\n      text: \"\"\n",
            "  - {}\n",
            "one of send, receive and close",
        ),
        ("by: server", "by: nobody", "nobody"),
        ("  query:", "  body: {text: a}\n  query:", "has a body"),
    ] {
        assert!(text.contains(old), "{old}\n{text}");
        let error = read(text.replacen(old, new, 1).as_bytes(), "x.yaml").unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
}

#[test]
fn frames_of_bedrock_are_written_with_their_content() {
    use crate::http::frame_tests as frames;

    let kind = "application/vnd.amazon.eventstream";
    let stream = [
        frames::event("messageStart", r#"{"p":"ab","role":"assistant"}"#),
        frames::chunk(r#"{"outputs":[{"text":"It's 5 o'clock\n","stop_reason":null}]}"#),
        frames::event("chunk", r#"{"bytes": "eyJhIjogMWUtMDV9"}"#),
        frames::event("chunk", r#"{"bytes": "no base64"}"#),
        frames::event("PayloadPart", "a text"),
        frames::event("PayloadPart", &b"\xff\x00"[..]),
        frames::event("contentBlockStop", ""),
        frames::exception("throttlingException"),
    ];
    insta::assert_snapshot!(assert_round_trip(&cassette(blob(b""), kind, &stream.concat())));
    // What cannot be written again with the same bytes stays base64.
    let number = b"\0\0\0\x2d\0\0\0\x10\x41\xc4\x24\xb8\x0aevent-type\x04\0\0\xa0\x0c{'foo':'bar'}\x36\xf4\x80\xa0";
    let truncated = &stream[0][..stream[0].len() - 1];
    let deep = format!("{{\"bytes\":\"{}\"}}", BASE64.encode([[b'['; 48], [b']'; 48]].concat()));
    assert_round_trip(&cassette(blob(b""), kind, &frames::event("chunk", deep)));
    for other in [&number[..], truncated] {
        assert!(!assert_round_trip(&cassette(blob(b""), kind, other)).contains("frames:"));
    }
}

#[test]
fn invalid_frames_are_errors_with_their_line() {
    let head = "version: 1\nkey: k\nrecorded: {at: t, by: b}\nrequest: {method: GET, path: /}\nresponses:\n- status: 200\n  body:\n    frames:\n";
    for (frame, message) in [
        (
            "{event: a, text: b, base64: YQ==}",
            "the frame has more than one of chunk, json, text and base64",
        ),
        ("{event: a, headers: {b: c}}", "the frame has both event and headers"),
        ("{event: a, base64: '?'}", "the body is not valid base64"),
    ] {
        let document = format!("{head}    - {frame}\n  timing_ms: [1]\n");
        let error = read(document.as_bytes(), "x.yaml").unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}
