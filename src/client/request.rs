//! What all requests have in common: members in one map, lists by page, ids in paths.

use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, ErrorKind, Result};

/// Makes a request type: one map of members, a setter for each that is named, and `set` for the rest.
macro_rules! request {
    (
        $(#[$doc:meta])*
        $request:ident { $( $(#[$member_doc:meta])* $member:ident: $kind:ty, )* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, serde::Serialize)]
        #[serde(transparent)]
        pub struct $request {
            members: serde_json::Map<String, serde_json::Value>,
        }

        impl $request {
            $(
                $(#[$member_doc])*
                #[must_use]
                pub fn $member(self, $member: $kind) -> Self {
                    self.set(stringify!($member), $member)
                }
            )*

            /// Sets any other member of the request, in place of what it was: no member is sent twice. A `null` is
            /// sent as it is, and is another request than none.
            #[must_use]
            pub fn set(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
                self.members.insert(name.into(), value.into());
                self
            }

            fn none() -> Self {
                Self { members: serde_json::Map::new() }
            }
        }
    };
}
pub(super) use request;

/// Which part of a list to get, and what else its endpoint takes.
///
/// ```
/// use mistral_cassette::client::ListQuery;
///
/// let query = ListQuery::new().page(1).page_size(20).set("purpose", "batch").set("search", "2026");
/// ```
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    pairs: Vec<(String, String)>,
}

impl ListQuery {
    /// What the official SDKs ask for: the first page, in the size that is usual for the list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the page, from 0.
    #[must_use]
    pub fn page(self, page: u32) -> Self {
        self.set("page", page)
    }

    /// The most entries of a page.
    #[must_use]
    pub fn page_size(self, entries: u32) -> Self {
        self.set("page_size", entries)
    }

    /// Sets any other parameter, in place of what it was.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Display) -> Self {
        let name = name.into();
        self.pairs.retain(|(known, _)| *known != name);
        self.add(name, value)
    }

    /// Adds a value to a parameter that takes many, such as the `sample_type` of files.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.pairs.push((name.into(), value.to_string()));
        self
    }

    /// The target of this query, with what the SDKs send when the caller says nothing of it.
    pub(super) fn target(self, path: &str, defaults: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in defaults {
            if !self.pairs.iter().any(|(known, _)| known == name) {
                query.append_pair(name, value);
            }
        }
        query.extend_pairs(&self.pairs);
        format!("{path}?{}", query.finish())
    }
}

/// What stands in a path as it is; fine-tuned models have colons in their names.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b':');

/// `prefix/id/suffix`, with the id as one segment.
pub(super) fn path(prefix: &str, id: &str, suffix: &str) -> Result<String> {
    if id.is_empty() {
        // It would ask for the list.
        return Err(Error::new(ErrorKind::Request, format!("an empty id after {prefix}/")));
    }
    Ok(format!("{prefix}/{}{suffix}", utf8_percent_encode(id, IN_A_PATH)))
}
