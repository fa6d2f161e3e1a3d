//! HTTP messages: requests, responses, their bodies, and the transport that sends a request.

mod body;
mod headers;
mod json;
mod multipart;
mod request;
mod response;
mod sse;
pub(crate) mod tls;
mod transport;

pub use body::Body;
pub use request::Request;
pub use response::Response;
pub use transport::{BackgroundTransport, Transport};

pub(crate) use headers::{
    content_type, control_headers, is_connection_header, strip_connection_headers, strip_control_headers,
};
#[cfg(feature = "cli")]
pub(crate) use json::PlainJson;
pub(crate) use json::{JsonLayout, JsonSpacing, parse_exact_json, parse_json, serialize_number};
#[cfg(feature = "cli")]
pub(crate) use multipart::write_multipart;
pub(crate) use multipart::{Part, multipart_boundary, parse_multipart, write_form};
pub(crate) use request::API_KEY_VARIABLE;
#[cfg(feature = "cli")]
pub(crate) use request::DUMMY_KEY;
pub(crate) use response::total_tokens;
pub(crate) use sse::{Event, EventSplitter, is_done, is_event_stream, parse_events};
