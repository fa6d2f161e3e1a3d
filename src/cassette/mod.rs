//! Cassettes: one request and the responses recorded for it, in order.
//!
//! # Changing the file format
//! 1. Write the new form under a new format version in `yaml/version.rs`, and still read the old one.
//! 2. Add a file in the old form to the tests, and a line to the CHANGELOG.
//! 3. Check that an older release refuses the new file with the hint that it gives today.

mod blob;
mod body;
mod equivalent;
mod frame_form;
mod history;
mod messages;
mod values;
pub(crate) mod yaml;

#[cfg(feature = "cli")]
pub(crate) use body::Form;
pub(crate) use body::{Blob, RecordedBody, RecordedPart};
pub(crate) use equivalent::is_equivalent;
pub use history::History;
#[cfg(feature = "realtime")]
pub(crate) use messages::is_alike;
pub(crate) use messages::{Audio, Close, Content, Message, Peer, SentMessage, sent_messages};
pub(crate) use values::{Cassette, Recorded, RecordedRequest, RecordedResponse, now};
