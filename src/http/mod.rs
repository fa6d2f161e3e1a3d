//! What travels: a request with its whole body, and a response whose body may still be arriving.

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
pub(crate) use headers::{
    content_type, control_headers, is_connection_header, strip_connection_headers, strip_control_headers,
};
pub(crate) use request::API_KEY_VARIABLE;
#[cfg(feature = "cli")]
pub(crate) use request::DUMMY_KEY;
pub use request::Request;
pub use response::Response;
pub(crate) use response::tokens_in;
pub use transport::{BackgroundTransport, Transport};

pub(crate) use json::{Layout, Plain, Spacing, from_exact, parse, serialize_number};
#[cfg(feature = "cli")]
pub(crate) use multipart::write_parts;
pub(crate) use multipart::{Part, boundary_of, parts, written};
pub(crate) use sse::{Event, Splitter, events, is_done, is_event_stream};
