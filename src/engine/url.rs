//! The URL of a store, taken apart so that no error ever repeats what may be a password.

use percent_encoding::percent_decode_str;

use crate::error::{Error, ErrorKind, Result};

/// A URL's parts, as they are written; what can hold a secret is shown to nobody.
pub(super) struct StoreUrl<'a> {
    pub(super) scheme: &'a str,
    /// Before the last `@` of the authority.
    credentials: Option<&'a str>,
    /// Behind it: one or more hosts with ports.
    pub(super) hosts: &'a str,
    /// Without the slash in front.
    pub(super) path: &'a str,
    pub(super) options: Vec<(String, String)>,
    /// What is allowed, for hints.
    form: &'a str,
}

impl<'a> StoreUrl<'a> {
    /// Takes a URL apart; `form` shows how one of its kind looks.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: it is no such URL.
    pub(super) fn parse(url: &'a str, form: &'a str) -> Result<Self> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong(url.split(':').next().unwrap_or_default(), "it has no ://", form))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // What stands there may be half of a password, so it is not even looked at.
        if rest.contains(['@', '#']) {
            return Err(wrong(
                scheme,
                "there is a @ or # behind the host: in a password / ? # @ and % are written %2F %3F %23 %40 and %25",
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

    /// User and password, decoded.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: they are no UTF-8.
    pub(super) fn user_and_password(&self) -> Result<(Option<String>, Option<String>)> {
        let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
            Ok(text) => Ok(Some(text.into_owned()).filter(|text| !text.is_empty())),
            Err(_) => Err(self.wrong("the credentials are no UTF-8")),
        };
        match self.credentials.map(|both| both.split_once(':').unwrap_or((both, ""))) {
            Some((user, password)) => Ok((decoded(user)?, decoded(password)?)),
            None => Ok((None, None)),
        }
    }

    /// That something is wrong with it.
    pub(super) fn wrong(&self, what: &str) -> Error {
        wrong(self.scheme, what, self.form)
    }
}

/// That something is wrong with the URL of a store.
pub(super) fn wrong(scheme: &str, what: &str, form: &str) -> Error {
    Error::new(ErrorKind::Settings, format!("the {scheme}: URL is wrong: {what}")).with_hint(form)
}

/// A text with its percent-encoded bytes decoded.
#[cfg(feature = "sql")]
pub(super) fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

/// A text that nobody else makes: the token of a lock.
pub(super) fn unique() -> String {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher as _;
    use std::time::SystemTime;

    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // The system's randomness is in the first two: each of them is seeded from it.
    let seeds = [(); 2].map(|()| RandomState::new().hash_one(now));
    crate::hash::sha256_hex(format!("{seeds:?} {} {now:?}", std::process::id()).as_bytes())
}

/// The milliseconds of a life, at least one; `None` when it is so long that it might as well have no end.
pub(super) fn milliseconds(life: std::time::Duration) -> Option<i64> {
    // 10,000 years.
    const LONGEST: i64 = 10_000 * 366 * 86_400_000;
    let milliseconds = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    (milliseconds < LONGEST).then_some(milliseconds.max(1))
}

/// The milliseconds of a lock's life; none is held for longer than 49 days.
pub(super) fn lock_milliseconds(life: std::time::Duration) -> i64 {
    const LONGEST: i64 = 1 << 32;
    milliseconds(life).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_url_that_can_be_a_password_is_repeated() {
        for url in [
            "redis://user:se/cret@host:1/0",
            "redis://user:se?cret@host:1/0",
            "redis://user:se#cret@host:1/0",
            "redis:user:secret@host",
        ] {
            let error = StoreUrl::parse(url, "redis://host").err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            let told = format!("{error:?} {error}");
            assert!(!told.contains("cret"), "{told}");
        }
    }

    #[test]
    fn a_password_may_hold_an_at() {
        let url = StoreUrl::parse("redis://u:a@b@[::1]:1/2?x=%20", "").unwrap();
        assert_eq!((url.credentials, url.hosts, url.path), (Some("u:a@b"), "[::1]:1", "2"));
        assert_eq!(url.options, [("x".to_owned(), " ".to_owned())]);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(unique(), unique());
    }
}
