//! Compares two values and two recordings. The comparison never panics, and finds differences if and only if they differ.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mistral_cassette::Request;
use mistral_cassette::fuzzing::{Cassette, differences};
use mistral_cassette_fuzz::{Json, Response};

#[derive(Arbitrary, Debug)]
struct Input {
    values: [Json; 2],
    responses: [Response; 2],
}

fuzz_target!(|input: Input| {
    let [old, new] = &input.values;
    let (lines, similarity) = differences(&old.0, &new.0);
    assert_eq!(lines.is_empty(), old.0 == new.0, "{lines:?}");
    assert!((0.0..=1.0).contains(&similarity), "{similarity}");
    assert!(differences(&old.0, &old.0).0.is_empty());
    assert_eq!(differences(&old.0, &old.0).1, 1.0);
    let request = Request::get("/v1/x").expect("a valid path");
    let [old, new] = input.responses.map(|response| {
        let response = (response.status, response.headers, response.body);
        Cassette::of(&request, vec![response])
    });
    let (kind, lines) = old.change(&new);
    let is_same = old.bodies() == new.bodies() && old.headers() == new.headers();
    assert!(kind != "same" || is_same, "{lines:?}");
    assert_eq!(old.change(&old), ("same", Vec::new()));
});
