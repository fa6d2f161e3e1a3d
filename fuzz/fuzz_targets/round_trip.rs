//! Writes and reads arbitrary requests and responses. The bytes are equal, and libyaml, which most other languages use,
//! reads the same values.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mistral_cassette::Request;
use mistral_cassette::fuzzing::Cassette;
use mistral_cassette_fuzz::{Response, request};
use serde_yaml_ng::Value;

#[derive(Debug)]
struct Input {
    request: Request,
    responses: Vec<Response>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let request = request(u)?.ok_or(arbitrary::Error::IncorrectFormat)?;
        let mut responses = vec![u.arbitrary()?];
        for _ in 0..u.int_in_range(0..=2)? {
            responses.push(u.arbitrary()?);
        }
        Ok(Self { request, responses })
    }
}

fuzz_target!(|input: Input| {
    let responses = input
        .responses
        .iter()
        .map(|response| (response.status, response.headers.clone(), response.body.clone()));
    let cassette = Cassette::of(&input.request, responses.collect());
    let written = cassette.write().expect("a cassette can be written");
    let text = std::str::from_utf8(&written).expect("YAML is text");
    let read = Cassette::read(&written).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(cassette, read, "{text}");
    let bodies = read.bodies();
    let first = bodies.len() - input.responses.len();
    for (body, response) in bodies[first..].iter().zip(&input.responses) {
        assert_eq!(*body, response.body, "{text}");
    }
    if !read.is_multipart() {
        assert_eq!(bodies[0], input.request.body_bytes(), "{text}");
    }
    assert_plain_text(text);
    assert_read_by_libyaml(text, &bodies[first..]);
});

/// Checks for characters that git and editors do not preserve or show.
fn assert_plain_text(text: &str) {
    assert!(
        text.ends_with('\n') && !text.contains('\r') && !text.contains('\u{feff}'),
        "{text}"
    );
    let is_shown = |character: char| !character.is_control() || matches!(character, '\n' | '\t');
    assert!(text.chars().all(is_shown), "a control character in {text:?}");
}

/// Checks that libyaml reads the bodies as they were written, for the forms that need no decoding by this crate.
fn assert_read_by_libyaml(text: &str, bodies: &[bytes::Bytes]) {
    let document: Value = serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let responses = document["responses"].as_sequence().expect("a list of responses");
    assert_eq!(responses.len(), bodies.len());
    for (response, expected) in responses.iter().zip(bodies) {
        let body = &response["body"];
        if body.is_null() {
            assert!(expected.is_empty(), "{text}");
        } else if let Some(recorded) = body.get("text") {
            assert_eq!(recorded.as_str().map(str::as_bytes), Some(&expected[..]), "{text}");
        } else if let Some(events) = body.get("events").and_then(Value::as_sequence) {
            let events: Vec<&str> = events
                .iter()
                .map(|event| event.as_str().expect("an event is text"))
                .collect();
            let end = if body.get("final_blank_line").is_some() {
                ""
            } else {
                "\n\n"
            };
            assert_eq!((events.join("\n\n") + end).as_bytes(), &expected[..], "{text}");
        } else if let Some(value) = body.get("json") {
            let expected: serde_json::Value = serde_json::from_slice(expected).expect("the body is JSON");
            assert_same(value, &expected, text);
        } else {
            assert!(body.get("base64").is_some(), "an unknown form in {text}");
        }
    }
}

fn assert_same(yaml: &Value, json: &serde_json::Value, text: &str) {
    use serde_json::Value as Json;
    let is_same = match (yaml, json) {
        (Value::Null, Json::Null) => true,
        (Value::Bool(yaml), Json::Bool(json)) => yaml == json,
        (Value::Number(yaml), Json::Number(json)) => match (yaml.as_u64(), yaml.as_i64()) {
            (Some(yaml), _) if json.is_u64() => json.as_u64() == Some(yaml),
            (_, Some(yaml)) if json.is_i64() => json.as_i64() == Some(yaml),
            _ => yaml.as_f64() == json.as_f64(),
        },
        (Value::String(yaml), Json::String(json)) => yaml == json,
        (Value::Sequence(yaml), Json::Array(json)) => {
            yaml.iter()
                .zip(json)
                .for_each(|(yaml, json)| assert_same(yaml, json, text));
            yaml.len() == json.len()
        }
        (Value::Mapping(yaml), Json::Object(json)) => {
            for ((name, yaml), (member, json)) in yaml.iter().zip(json) {
                assert_eq!(name.as_str(), Some(member.as_str()), "{text}");
                assert_same(yaml, json, text);
            }
            yaml.len() == json.len()
        }
        _ => false,
    };
    assert!(is_same, "{yaml:?} is not {json:?} in {text}");
}
