//! Members of responses that may be `null` or absent.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value, `null`, or an absent member. The API sends all three, and a serialized response has the same one.
///
/// ```
/// use mistral_cassette::client::Nullable;
///
/// let reason = Nullable::from("stop".to_owned());
/// assert_eq!(reason.as_deref(), Some("stop"));
/// assert_eq!(Nullable::<String>::Null.as_ref(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nullable<T> {
    /// A value.
    Value(T),
    /// `null`.
    Null,
    /// An absent member.
    #[default]
    Absent,
}

impl<T> Nullable<T> {
    /// Returns the value, if there is one.
    pub fn as_ref(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Null | Self::Absent => None,
        }
    }

    /// Returns the value, if there is one.
    pub fn into_option(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Null | Self::Absent => None,
        }
    }

    /// Returns whether the member is absent, which is different from `null`.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl Nullable<String> {
    /// Returns the text, if there is one.
    pub fn as_deref(&self) -> Option<&str> {
        self.as_ref().map(String::as_str)
    }
}

impl<T> From<T> for Nullable<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}

impl<T: Serialize> Serialize for Nullable<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}
