//! Finds secrets in texts and bodies: as they are, with their escapes decoded, and in data URLs.

use std::ops::Range;

use super::data_url::contents_of_data_urls;
use super::environment::Environment;
use super::image::texts_in_image;
use super::search::{Secret, find_in_bytes, overlap};
use crate::http::frames_as_text;
use crate::redaction::unescape::Unescaped;

/// Finds the secrets in a body, in order. Escapes are decoded, whatever the format is: in a JSON body, in each event of a stream,
/// in JSON lines, in source code, and in JSON in any of them. Texts in images and in data URLs are searched, too. The values of
/// environment variables that look like credentials are secrets.
pub(crate) fn find_in_body(body: &[u8]) -> Vec<Secret> {
    find_with(body, Environment::of_process())
}

/// Finds the secrets in a body, with those of an environment.
pub(super) fn find_with(body: &[u8], environment: &Environment) -> Vec<Secret> {
    if let Some(text) = frames_as_text(body) {
        // The content of a frame may be base64, so it has no position of its own.
        let found = find_with(text.as_bytes(), environment).into_iter();
        return found
            .map(|secret| Secret {
                at: 0..body.len(),
                ..secret
            })
            .collect();
    }
    let unescaped = Unescaped::of(body);
    let mut found = Vec::new();
    for (number, text) in unescaped.texts() {
        let secrets = find_in_text(text, environment).into_iter().map(|secret| Secret {
            at: unescaped.origin(number, secret.at),
            ..secret
        });
        merge(&mut found, secrets.collect());
    }
    found.extend(texts_in_image(body).flat_map(|text| encoded_at(&(0..body.len()), &text, environment)));
    found.sort_by_key(|secret| secret.at.start);
    found
}

/// Adds the secrets in a decoded text to those in the text that it was decoded from. At the same position, the more certain one
/// counts.
fn merge(found: &mut Vec<Secret>, decoded: Vec<Secret>) {
    let is_new = |secret: &Secret| {
        let mut known = found.iter().filter(|known| overlap(&known.at, &secret.at));
        known.all(|known| known.confidence < secret.confidence)
    };
    let new: Vec<Secret> = decoded.into_iter().filter(is_new).collect();
    found.retain(|known| !new.iter().any(|secret| overlap(&known.at, &secret.at)));
    found.extend(new);
}

/// Finds the secrets in a text and in its data URLs. The position of a secret in a data URL is that of the base64.
fn find_in_text(text: &[u8], environment: &Environment) -> Vec<Secret> {
    let mut found = find_as_is(text, environment);
    for (position, data) in contents_of_data_urls(text) {
        found.extend(encoded_at(&position, &data, environment));
        found.extend(texts_in_image(&data).flat_map(|text| encoded_at(&position, &text, environment)));
    }
    found
}

/// Finds the secrets in a text without decoding anything. The value of a variable may have the format of a token, which says
/// more.
fn find_as_is(text: &[u8], environment: &Environment) -> Vec<Secret> {
    let mut found = find_in_bytes(text);
    merge(&mut found, environment.find(text));
    found
}

/// The secrets in data that is encoded at this position.
fn encoded_at(position: &Range<usize>, data: &[u8], environment: &Environment) -> Vec<Secret> {
    let secrets = find_as_is(data, environment).into_iter();
    let encoded = secrets.map(|secret| Secret {
        at: position.clone(),
        ..secret
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;
    use crate::redaction::secret_scan::data_url::MAX_BASE64;

    #[test]
    fn similar_values_are_not_reported() {
        let image = base64::engine::general_purpose::STANDARD.encode(
            (0..30_000_u32)
                .flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes())
                .collect::<Vec<u8>>(),
        );
        let hash = "f3eaf5bd5e053e0e42f3a4339cbcee0701ae60cb0d534af8d7d0dfe651107fa4";
        for text in [
            format!(r#"{{"image_url":"data:image/png;base64,{image}"}}"#),
            format!(r#"{{"sha256":"{hash}","key":"{hash}","etag":"{hash}"}}"#),
            "mistral-correlation-id: 019f0000-0000-7000-8000-000000000012".to_owned(),
            r#"{"session_token":"0b6c1f2e-7a39-4d58-9c41-3f5e8d7a6b21"}"#.to_owned(),
            r#"{"tool_calls":[{"id":"D681PevKs","function":{"name":"token","arguments":"{}"}}]}"#.to_owned(),
            r#"{"usage":{"prompt_tokens":16,"total_tokens":18},"max_tokens":1000,"token":null}"#.to_owned(),
            r#"{"next_page_token":"CAESBzE3MjM0NTYaB3Q4Kd93LsmX72b"}"#.to_owned(),
            r#"{"embedding":[0.0123,-0.5e-05],"object":"embedding"}"#.to_owned(),
            "https://files.example.com/a.png?size=large&v=3&signature=none".to_owned(),
            "postgres://user:password@localhost/db and redis://:${PASSWORD}@host".to_owned(),
            "token = tokenizer.decode_2(ids[0:16], x1y2z3)".to_owned(),
            "password: your-password-here-123, api_key=os.environ['KEY_1A2B3C4D5E']".to_owned(),
            "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            "begin with -----BEGIN PRIVATE KEY----- and end with -----END PRIVATE KEY-----".to_owned(),
            "a basic authorization: Basic knowledge of HTTP; risk-assessment-2024-q1-b2-c3-d4-e5".to_owned(),
            "Bearer [REDACTED], key=REDACTED, __cf_bm=REDACTED".to_owned(),
            "1712345678:AAH is a timestamp; 1e-05; https://a.b/c@d:e".to_owned(),
        ] {
            let found = find_in_body(text.as_bytes());
            assert!(found.is_empty(), "{found:?} in {}", &text[..text.len().min(100)]);
        }
    }

    #[test]
    fn texts_in_data_urls_are_searched() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
        let text = format!("é??>>: the token is {token}, and so on");
        let base64 = STANDARD.encode(&text);
        let kinds = |body: &str| -> Vec<&str> {
            let found = find_in_body(body.as_bytes());
            found.iter().map(|secret| secret.kind).collect()
        };
        for found in [
            format!(r#"{{"document_url":"data:text/plain;base64,{base64}"}}"#),
            format!(
                r#"{{"document_url":"data:text\/plain;base64,{}"}}"#,
                base64.replace('/', "\\/")
            ),
            format!("see data:;charset=utf-8;base64,{}.", URL_SAFE_NO_PAD.encode(&text)),
            format!("DATA:TEXT/PLAIN;BASE64,{base64}"),
            // Broken into lines, in a text and in JSON.
            format!("data:text/plain;base64,\n  {}\r\n  {}", &base64[..30], &base64[30..]),
            format!(
                r#"{{"a":"data:text/plain;base64,{}\n{}"}}"#,
                &base64[..30],
                &base64[30..]
            ),
            format!(
                "data:text%2Fplain;base64,{}",
                base64.replace('/', "%2F").replace('+', "%2B")
            ),
            // The metadata of an image.
            format!(
                "data:image/png;base64,{}",
                STANDARD.encode([b"\x89PNG\r\n\x1a\n", token.as_bytes()].concat())
            ),
            // Truncated.
            format!("data:text/markdown;base64,{}", &base64[..base64.len() - 7]),
        ] {
            assert_eq!(kinds(&found), ["a GitHub token"], "{found}");
        }
        let position = &find_in_body(format!("data:text/plain;base64,{base64}\n").as_bytes())[0].at;
        let padding = base64.len() - base64.trim_end_matches('=').len();
        assert_eq!(*position, 23..23 + base64.len() - padding);
        let far = STANDARD.encode(format!("{}{token}", "a line of text\n".repeat(MAX_BASE64 / 15)));
        for other in [
            format!("data:text/plain;base64,{far}"),
            format!("text/plain;base64,{base64}"),
            format!("data: \"x;base64,{base64}\""),
            "data:text/plain;base64,".to_owned(),
            "data:text/plain;base64,=".to_owned(),
        ] {
            assert!(kinds(&other).is_empty(), "{}", &other[..other.len().min(100)]);
        }
    }
}
