//! The search for secrets, on any bytes: no panic, places that are there, and no word of what was found.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mistral_cassette::Request;
use mistral_cassette::fuzzing::{Cassette, secrets};

fuzz_target!(|body: &[u8]| {
    let found = secrets(body);
    assert_eq!(found, secrets(body));
    let values: Vec<&[u8]> = found.iter().filter_map(|(_, at)| Some(&body[at.clone()?])).collect();
    assert!(values.iter().all(|value| !value.is_empty()));
    let request = Request::post("/v1/x").expect("a path").body(body.to_vec());
    let answer = (http::StatusCode::OK, http::HeaderMap::new(), body.to_vec().into());
    let told = Cassette::of(&request, vec![answer]).secrets();
    for (told, value) in told
        .iter()
        .flat_map(|told| values.iter().map(move |value| (told, value)))
    {
        // Shorter ones may be words of the sentence.
        let is_echoed = value.len() >= 12 && told.as_bytes().windows(value.len()).any(|words| words == *value);
        assert!(!is_echoed, "{told:?} tells what was found");
    }
});
