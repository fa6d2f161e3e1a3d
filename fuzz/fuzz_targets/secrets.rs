//! Searches arbitrary bytes for secrets. The search never panics, every range is valid, and no message contains a secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mistral_cassette::Request;
use mistral_cassette::fuzzing::{Cassette, secrets};

fuzz_target!(|body: &[u8]| {
    let found = secrets(body);
    assert_eq!(found, secrets(body));
    let values: Vec<&[u8]> = found.iter().filter_map(|(_, at)| Some(&body[at.clone()?])).collect();
    assert!(values.iter().all(|value| !value.is_empty()));
    let request = Request::post("/v1/x").expect("a valid path").body(body.to_vec());
    let response = (http::StatusCode::OK, http::HeaderMap::new(), body.to_vec().into());
    let messages = Cassette::of(&request, vec![response]).secrets();
    for (message, value) in messages
        .iter()
        .flat_map(|message| values.iter().map(move |value| (message, value)))
    {
        // A shorter secret can be a word of the message.
        let is_echoed = value.len() >= 12 && message.as_bytes().windows(value.len()).any(|words| words == *value);
        assert!(!is_echoed, "{message:?} contains the secret");
    }
});
