//! The reader of cassettes, on any bytes: no panic; what it takes is the same after it was written and read again.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use mistral_cassette::fuzzing::Cassette;

fuzz_target!(|document: &[u8]| -> Corpus {
    let cassette = match Cassette::read(document) {
        Ok(cassette) => cassette,
        Err(error) => {
            assert!(
                error.message().contains("fuzz.yaml"),
                "an error without its place: {error}"
            );
            return Corpus::Keep;
        }
    };
    let written = cassette.write().expect("what was read can be written");
    let again = Cassette::read(&written).unwrap_or_else(|error| panic!("{error}\n{}", written.escape_ascii()));
    assert_eq!(cassette.bodies(), again.bodies(), "{}", written.escape_ascii());
    assert_eq!(cassette, again, "{}", written.escape_ascii());
    assert_eq!(
        written,
        again.write().expect("and again"),
        "the same cassette, other bytes"
    );
    Corpus::Keep
});
