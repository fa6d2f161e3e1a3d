//! Enums for values that the API may extend: a variant for each known value, and one that keeps any other text.

/// Defines an open enum over strings. Any text converts to it and back without a change.
macro_rules! open_enum {
    (
        $(#[$doc:meta])*
        $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $text:literal, )* }
    ) => {
        $(#[$doc])*
        ///
        /// A text that is not one of the known values is [`Unknown`](Self::Unknown) and is sent and serialized unchanged.
        /// Values convert from text and compare with text.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_doc])* $variant, )*
            /// Any other value, which the API may have added later.
            Unknown(String),
        }

        impl $name {
            /// Returns the text of the API.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $text, )*
                    Self::Unknown(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $( $text => Self::$variant, )*
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl From<&String> for $name {
            fn from(text: &String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl From<$name> for serde_json::Value {
            fn from(value: $name) -> Self {
                Self::from(value.as_str())
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.as_str() == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.as_str() == *text
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    };
}
pub(super) use open_enum;

#[cfg(test)]
mod tests {
    use crate::client::{BatchJobStatus, FinishReason, Nullable, Role};

    #[test]
    fn known_and_unknown_values_serialize_back_to_the_same_text() {
        for (text, reason) in [
            ("stop", FinishReason::Stop),
            ("model_length", FinishReason::ModelLength),
            ("of_tomorrow", FinishReason::Unknown("of_tomorrow".to_owned())),
            ("Stop", FinishReason::Unknown("Stop".to_owned())),
            ("", FinishReason::Unknown(String::new())),
        ] {
            let json = serde_json::to_string(text).unwrap();
            let read: FinishReason = serde_json::from_str(&json).unwrap();
            assert_eq!((&read, read.as_str()), (&reason, text));
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
            assert_eq!(FinishReason::from(text), reason);
            assert!(read == *text);
        }
        assert_eq!(serde_json::from_str::<Nullable<Role>>("null").unwrap(), Nullable::Null);
        assert!(serde_json::from_str::<Role>("7").is_err());
        assert_eq!(format!("{:>9}", BatchJobStatus::Queued), "   QUEUED");
    }
}
