//! Finds secrets in texts and bodies, also in data URLs and in escaped JSON strings.

use super::data_url::texts_in_data_urls;
use super::search::{Secret, find_in_bytes};
use crate::http::parse_json;

/// Finds the secrets in a text and in its data URLs, in order. The position of a secret in a data URL is that of the base64.
pub(super) fn find_in_text(text: &[u8]) -> Vec<Secret> {
    let mut found = find_in_bytes(text);
    for (position, data) in texts_in_data_urls(text) {
        let secrets = find_in_bytes(&data).into_iter();
        found.extend(secrets.map(|secret| Secret {
            at: Some(position.clone()),
            ..secret
        }));
    }
    found.sort_by_key(|secret| secret.at.as_ref().map(|at| at.start));
    found
}

/// Finds the secrets in a body, also in JSON strings with escapes. Those have no position.
pub(crate) fn find_in_body(body: &[u8]) -> Vec<Secret> {
    let mut found = find_in_text(body);
    let contains = |escape: &str| memchr::memmem::find(body, escape.as_bytes()).is_some();
    if (contains("\\u00") || contains("\\/"))
        && let Some(value) = parse_json(body)
    {
        let more = find_in_text(value.to_string().as_bytes());
        let is_new = |secret: &Secret| !found.iter().any(|known| known.kind == secret.kind);
        let more: Vec<Secret> = more
            .into_iter()
            .filter(is_new)
            .map(|secret| Secret { at: None, ..secret })
            .collect();
        found.extend(more);
    }
    found
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
            // Truncated.
            format!("data:text/markdown;base64,{}", &base64[..base64.len() - 7]),
        ] {
            assert_eq!(kinds(&found), ["a GitHub token"], "{found}");
        }
        let position = find_in_body(format!("data:text/plain;base64,{base64}\n").as_bytes())[0]
            .at
            .clone();
        let padding = base64.len() - base64.trim_end_matches('=').len();
        assert_eq!(position, Some(23..23 + base64.len() - padding));
        let binary = STANDARD.encode([b"\x89PNG\r\n\x1a\n", token.as_bytes()].concat());
        let far = STANDARD.encode(format!("{}{token}", "a line of text\n".repeat(MAX_BASE64 / 15)));
        for other in [
            format!("data:image/png;base64,{binary}"),
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
