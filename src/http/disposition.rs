//! The syntax of `Content-Disposition` and `Content-Type`: a value with parameters.

/// A value, such as `form-data`, and its parameters in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disposition {
    /// In lower case.
    pub(crate) kind: String,
    /// Names in lower case and values without quotes.
    pub(crate) parameters: Vec<(String, String)>,
}

impl Disposition {
    /// Parses a header value; `None` when it is not well-formed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, mut rest) = text
            .split_once(';')
            .map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let mut parameters = Vec::new();
        while let Some(text) = rest {
            let text = text.trim_start();
            if text.is_empty() {
                // A semicolon at the end.
                break;
            }
            let (name, value) = text.split_once('=')?;
            let name = name.trim_end();
            if name.is_empty() || name.contains([';', '"', ' ', '\t']) {
                return None;
            }
            let (value, after) = parse_value(value.trim_start())?;
            parameters.push((name.to_ascii_lowercase(), value));
            let after = after.trim_start();
            rest = after.strip_prefix(';');
            if rest.is_none() && !after.is_empty() {
                return None;
            }
        }
        Some(Self {
            kind: kind.trim().to_ascii_lowercase(),
            parameters,
        })
    }

    /// The first parameter of this name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(candidate, _)| candidate == name)?;
        Some(value)
    }
}

/// Parses a value with or without quotes, and returns what follows it. Of the escapes only `\"` is decoded: a backslash in
/// other places is often part of a Windows path.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let is_end = |at: &usize| *at == 0 || quoted.as_bytes()[at - 1] != b'\\';
    let end = memchr::memchr_iter(b'"', quoted.as_bytes()).find(is_end)?;
    Some((quoted[..end].replace("\\\"", "\""), &quoted[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_with_and_without_quotes() {
        for (text, kind, parameters) in [
            ("form-data", "form-data", &[][..]),
            ("Form-Data; ", "form-data", &[]),
            ("a;b=c;d=\"e;f\" ; G = h", "a", &[("b", "c"), ("d", "e;f"), ("g", "h")]),
            (r#"a; b="c\"d"; b="#, "a", &[("b", "c\"d"), ("b", "")]),
            (r#"a; b="C:\c""#, "a", &[("b", r"C:\c")]),
        ] {
            let parsed = Disposition::parse(text).unwrap();
            let found: Vec<_> = parsed
                .parameters
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            assert_eq!((&*parsed.kind, &*found), (kind, parameters), "{text}");
        }
        for text in ["a; b", "a; =b", "a; b=\"c", "a; b=\"c\"d", "a; b c", "a; b=c d=e"] {
            assert_eq!(Disposition::parse(text), None, "{text}");
        }
    }
}
