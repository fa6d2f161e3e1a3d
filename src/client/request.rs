//! Shared parts of all requests: members in one map, list queries, and ids in paths.

use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, ErrorKind, Result};

/// Defines a request type: a map of members, a setter for each named member, and `set` for all other members.
///
/// The setter of `name: Type` takes the type, that of `name => Type` what converts to it, and that of `name * Type` an
/// iterator of what converts to it.
macro_rules! request {
    (
        $(#[$doc:meta])*
        $request:ident { $( $(#[$member_doc:meta])* $member:ident $takes:tt $kind:ty, )* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, serde::Serialize)]
        #[serde(transparent)]
        pub struct $request {
            members: serde_json::Map<String, serde_json::Value>,
        }

        impl $request {
            $(
                $crate::client::request::setter! { $(#[$member_doc])* $member $takes $kind }
            )*

            /// Sets any other member of the request, and replaces an earlier value. A `null` is sent as `null`. A
            /// request with `null` and a request without the member have different keys.
            #[must_use]
            pub fn set(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
                self.members.insert(name.into(), value.into());
                self
            }

            fn none() -> Self {
                Self { members: serde_json::Map::new() }
            }
        }

        impl From<$request> for serde_json::Value {
            fn from(request: $request) -> Self {
                Self::Object(request.members)
            }
        }
    };
}
pub(super) use request;

/// Defines the setter of one member, see [`request!`].
macro_rules! setter {
    ($(#[$doc:meta])* $member:ident : $kind:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $member(self, $member: $kind) -> Self {
            self.set(stringify!($member), $member)
        }
    };
    ($(#[$doc:meta])* $member:ident => $kind:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $member(self, $member: impl Into<$kind>) -> Self {
            self.set(stringify!($member), $member.into())
        }
    };
    ($(#[$doc:meta])* $member:ident * $kind:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $member<Item: Into<$kind>>(self, $member: impl IntoIterator<Item = Item>) -> Self {
            let values = $member.into_iter().map(|item| serde_json::Value::from(item.into()));
            self.set(stringify!($member), values.collect::<serde_json::Value>())
        }
    };
}
pub(super) use setter;

/// The query of a list request: the page, and other parameters of the endpoint.
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
    /// Creates a query with the defaults of the official SDKs: the first page, in the default size of the list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of the page, from 0.
    #[must_use]
    pub fn page(self, page: u32) -> Self {
        self.set("page", page)
    }

    /// Sets the maximum number of entries of a page.
    #[must_use]
    pub fn page_size(self, entries: u32) -> Self {
        self.set("page_size", entries)
    }

    /// Sets any other parameter, and replaces an earlier value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Display) -> Self {
        let name = name.into();
        self.pairs.retain(|(known, _)| *known != name);
        self.add(name, value)
    }

    /// Adds a value to a parameter that has several values, for example the `sample_type` of files.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.pairs.push((name.into(), value.to_string()));
        self
    }

    /// Returns the request target, with the defaults of the official SDKs for parameters that are not set.
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

/// The characters that are not encoded in a path. The ids of fine-tuned models contain colons.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b':');

/// Returns `prefix/id/suffix`, with the id as one segment.
pub(super) fn path(prefix: &str, id: &str, suffix: &str) -> Result<String> {
    if id.is_empty() {
        // The request would return the list.
        return Err(Error::new(
            ErrorKind::Request,
            format!("the id is empty in the path {prefix}/"),
        ));
    }
    Ok(format!("{prefix}/{}{suffix}", utf8_percent_encode(id, IN_A_PATH)))
}
