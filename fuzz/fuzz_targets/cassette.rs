//! Reads cassettes from arbitrary bytes. Reading never panics, and a cassette that is written and read again is the same.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use mistral_cassette::fuzzing::Cassette;

fuzz_target!(|document: &[u8]| -> Corpus {
    let cassette = match Cassette::read(document) {
        Ok(cassette) => cassette,
        Err(error) => {
            assert!(
                error.message().contains("fuzz.yaml"),
                "the error does not name the file: {error}"
            );
            return Corpus::Keep;
        }
    };
    let written = cassette.write().expect("a cassette that was read can be written");
    let again = Cassette::read(&written).unwrap_or_else(|error| panic!("{error}\n{}", written.escape_ascii()));
    assert_eq!(cassette.bodies(), again.bodies(), "{}", written.escape_ascii());
    assert_eq!(cassette, again, "{}", written.escape_ascii());
    assert_eq!(
        written,
        again.write().expect("the cassette can be written"),
        "equal cassettes have different documents"
    );
    Corpus::Keep
});
