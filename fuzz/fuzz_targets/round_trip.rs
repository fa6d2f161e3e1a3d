//! Arbitrary requests and answers, written and read: equal byte for byte, and the same to another YAML reader.
//!
//! The other reader is libyaml, which most other languages stand on.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mistral_cassette::Request;
use mistral_cassette::fuzzing::Cassette;
use mistral_cassette_fuzz::{Answer, request};
use serde_yaml_ng::Value;

#[derive(Debug)]
struct Input {
    request: Request,
    answers: Vec<Answer>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let request = request(u)?.ok_or(arbitrary::Error::IncorrectFormat)?;
        let mut answers = vec![u.arbitrary()?];
        for _ in 0..u.int_in_range(0..=2)? {
            answers.push(u.arbitrary()?);
        }
        Ok(Self { request, answers })
    }
}

fuzz_target!(|input: Input| {
    let responses = input
        .answers
        .iter()
        .map(|answer| (answer.status, answer.headers.clone(), answer.body.clone()));
    let cassette = Cassette::of(&input.request, responses.collect());
    let written = cassette.write().expect("a cassette can be written");
    let text = std::str::from_utf8(&written).expect("YAML is text");
    let read = Cassette::read(&written).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(cassette, read, "{text}");
    let bodies = read.bodies();
    let first = bodies.len() - input.answers.len();
    for (body, answer) in bodies[first..].iter().zip(&input.answers) {
        assert_eq!(*body, answer.body, "{text}");
    }
    if !read.is_multipart() {
        assert_eq!(bodies[0], input.request.body_bytes(), "{text}");
    }
    plain(text);
    other_reader(text, &bodies[first..]);
});

/// What git and editors would stumble over.
fn plain(text: &str) {
    assert!(
        text.ends_with('\n') && !text.contains('\r') && !text.contains('\u{feff}'),
        "{text}"
    );
    let is_shown = |character: char| !character.is_control() || matches!(character, '\n' | '\t');
    assert!(text.chars().all(is_shown), "a control character in {text:?}");
}

/// What libyaml reads is what was written; of the forms that need no more of this crate than their name.
fn other_reader(text: &str, answers: &[bytes::Bytes]) {
    let document: Value = serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let responses = document["responses"].as_sequence().expect("a list of responses");
    assert_eq!(responses.len(), answers.len());
    for (response, answer) in responses.iter().zip(answers) {
        let body = &response["body"];
        if body.is_null() {
            assert!(answer.is_empty(), "{text}");
        } else if let Some(kept) = body.get("text") {
            assert_eq!(kept.as_str().map(str::as_bytes), Some(&answer[..]), "{text}");
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
            assert_eq!((events.join("\n\n") + end).as_bytes(), &answer[..], "{text}");
        } else if let Some(value) = body.get("json") {
            let kept: serde_json::Value = serde_json::from_slice(answer).expect("it was taken for JSON");
            same(value, &kept, text);
        } else {
            assert!(body.get("base64").is_some(), "an unknown form in {text}");
        }
    }
}

fn same(yaml: &Value, json: &serde_json::Value, text: &str) {
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
            yaml.iter().zip(json).for_each(|(yaml, json)| same(yaml, json, text));
            yaml.len() == json.len()
        }
        (Value::Mapping(yaml), Json::Object(json)) => {
            for ((name, yaml), (member, json)) in yaml.iter().zip(json) {
                assert_eq!(name.as_str(), Some(member.as_str()), "{text}");
                same(yaml, json, text);
            }
            yaml.len() == json.len()
        }
        _ => false,
    };
    assert!(is_same, "{yaml:?} is not {json:?} in {text}");
}
