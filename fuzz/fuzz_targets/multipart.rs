//! Forms: reading arbitrary bytes never panics, and a form that is written is read as the same form.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mistral_cassette::fuzzing::{boundary_of, exported_form, is_form_preserved, parts, sent_form};
use mistral_cassette_fuzz::{Part, encoded_name};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes { content_type: &'a str, body: &'a [u8] },
    Parts(Vec<Part>),
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Bytes { content_type, body } => {
            let kind = format!("multipart/form-data; boundary={content_type}");
            let boundary = boundary_of(&kind).unwrap_or_else(|| "XX".to_owned());
            assert!(is_form_preserved(&Bytes::copy_from_slice(body), &boundary), "the form");
            let Some(found) = parts(&Bytes::copy_from_slice(body), &boundary) else {
                return;
            };
            // A form that can be written is read as the same form. A name with a quote or a line break cannot be written.
            let (kind, sent) = sent_form(&found);
            let again = parts(&sent, &boundary_of(&kind).expect("the content type has a boundary"))
                .expect("the form is well-formed");
            assert_eq!(found.len(), again.len(), "the parts");
            for (part, again) in found.iter().zip(&again) {
                assert_eq!(part.3, again.3, "the bytes of a part");
            }
            if let Some(exported) = exported_form(&found, "mistral-cassette-0123456789abcdef") {
                assert_eq!(parts(&exported, "mistral-cassette-0123456789abcdef"), Some(found));
            }
        }
        Input::Parts(wanted) => {
            let wanted: Vec<_> = wanted.into_iter().map(Part::into_crate_part).collect();
            let (kind, sent) = sent_form(&wanted);
            let found = parts(&sent, &boundary_of(&kind).expect("the content type has a boundary"))
                .expect("the form is well-formed");
            assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.iter().zip(&wanted) {
                assert_eq!(found.0, encoded_name(&wanted.0), "the name");
                assert_eq!(found.1, wanted.1.as_deref().map(encoded_name), "the file name");
                assert_eq!(found.3, wanted.3, "the bytes");
            }
        }
    }
});
