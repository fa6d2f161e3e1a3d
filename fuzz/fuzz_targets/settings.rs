//! Reads settings from arbitrary bytes. Reading never panics, an error names the file, and valid settings work on a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mistral_cassette::fuzzing::key;
use mistral_cassette::{ErrorKind, Request, Settings};

const BODY: &str =
    r#"{"model":"m","messages":[{"role":"user","content":"today is 2026-11-21"}],"metadata":{"run_id":1}}"#;

fuzz_target!(|text: &[u8]| {
    let settings = match Settings::from_yaml(text, "fuzz.yaml") {
        Ok(settings) => settings,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(
                error.message().starts_with("cannot read fuzz.yaml"),
                "the error does not name the file: {error}"
            );
            return;
        }
    };
    let chat = Request::post("/v1/chat/completions?page=1&a=b")
        .expect("a valid path")
        .body(BODY);
    assert_eq!(key(&chat, &settings), key(&chat, &settings));
    let text = Request::post("/v1/x").expect("a valid path").body("2026-11-21 ACME-7");
    assert_eq!(key(&text, &settings), key(&text, &settings));
    for endpoint in ["models", "chat-completions"] {
        mistral_cassette::fuzzing::ttl(&settings, endpoint);
    }
});
