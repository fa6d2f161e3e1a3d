//! Parses the URL of a store without ever repeating a password in an error.

use percent_encoding::percent_decode_str;

use crate::error::{Error, ErrorKind, Result};

/// The parts of a URL, not decoded. Parts that may contain a secret are private.
pub(super) struct StoreUrl<'a> {
    pub(super) scheme: &'a str,
    /// The part of the authority before the last `@`.
    credentials: Option<&'a str>,
    /// One or more hosts with ports.
    pub(super) hosts: &'a str,
    /// The path without the leading slash.
    pub(super) path: &'a str,
    pub(super) options: Vec<(String, String)>,
    /// The expected form, for hints.
    form: &'a str,
}

impl<'a> StoreUrl<'a> {
    /// Parses a URL. `form` shows the expected form.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: the URL is invalid.
    pub(super) fn parse(url: &'a str, form: &'a str) -> Result<Self> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid_url(url.split(':').next().unwrap_or_default(), "it has no ://", form))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // A password that is not encoded may continue here, so the error repeats nothing.
        if rest.contains(['@', '#']) {
            return Err(invalid_url(
                scheme,
                "there is a @ or # after the host: in a password / ? # @ and % are written %2F %3F %23 %40 and %25",
                form,
            ));
        }
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let options = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self {
            scheme,
            credentials,
            hosts,
            path: path.strip_prefix('/').unwrap_or(path),
            options,
            form,
        })
    }

    /// Returns the decoded user and password.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: they are not UTF-8.
    pub(super) fn user_and_password(&self) -> Result<(Option<String>, Option<String>)> {
        let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
            Ok(text) => Ok(Some(text.into_owned()).filter(|text| !text.is_empty())),
            Err(_) => Err(self.invalid("the credentials are not UTF-8")),
        };
        match self.credentials.map(|both| both.split_once(':').unwrap_or((both, ""))) {
            Some((user, password)) => Ok((decode(user)?, decode(password)?)),
            None => Ok((None, None)),
        }
    }

    /// Returns an error about this URL.
    pub(super) fn invalid(&self, reason: &str) -> Error {
        invalid_url(self.scheme, reason, self.form)
    }
}

/// Returns an error about the URL of a store.
pub(super) fn invalid_url(scheme: &str, reason: &str, form: &str) -> Error {
    Error::new(ErrorKind::Settings, format!("the {scheme}: URL is invalid: {reason}")).with_hint(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_repeat_no_part_of_a_url_that_may_be_a_password() {
        for url in [
            "redis://user:se/cret@host:1/0",
            "redis://user:se?cret@host:1/0",
            "redis://user:se#cret@host:1/0",
            "redis:user:secret@host",
        ] {
            let error = StoreUrl::parse(url, "redis://host").err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            let text = format!("{error:?} {error}");
            assert!(!text.contains("cret"), "{text}");
        }
    }

    #[test]
    fn a_password_may_contain_an_at_sign() {
        let url = StoreUrl::parse("redis://u:a@b@[::1]:1/2?x=%20", "").unwrap();
        assert_eq!((url.credentials, url.hosts, url.path), (Some("u:a@b"), "[::1]:1", "2"));
        assert_eq!(url.options, [("x".to_owned(), " ".to_owned())]);
    }
}
