//! HTTP messages: requests, responses, their bodies, and the transport that sends a request.

mod api_error;
#[cfg(any(feature = "middleware", feature = "tower"))]
mod base_path;
mod bedrock;
mod body;
#[cfg(feature = "realtime")]
mod closing_stream;
mod disposition;
mod frames;
mod headers;
mod json;
mod location;
mod multipart;
mod outcome;
mod request;
mod response;
mod sse;
mod stream;
mod surrogates;
pub(crate) mod tls;
mod transport;
#[cfg(feature = "realtime")]
mod websocket;

pub use body::Body;
pub use request::Request;
pub use response::Response;
pub use transport::{BackgroundTransport, Transport};

pub(crate) use api_error::api_error;
#[cfg(any(feature = "middleware", feature = "tower"))]
pub(crate) use base_path::base_path_len;
pub(crate) use bedrock::METRICS;
pub(crate) use disposition::Disposition;
#[cfg(test)]
pub(crate) use frames::tests as frame_tests;
pub(crate) use frames::{CONTENT_TYPE, EVENT_TYPE, Frame, FrameValue, MESSAGE_TYPE, frames_as_text, parse_frames};
pub(crate) use headers::{
    content_type, control_headers, header_text, header_value, is_connection_header, is_json, is_websocket, media_type,
    strip_connection_headers, strip_control_headers, strip_response_headers,
};
#[cfg(feature = "cli")]
pub(crate) use json::PlainJson;
pub(crate) use json::{JsonLayout, JsonSpacing, parse_exact_json, parse_json, read_json, serialize_number};
#[cfg(feature = "proxy")]
pub(crate) use location::LOCATION_HEADERS;
pub(crate) use location::make_locations_relative;
#[cfg(feature = "cli")]
pub(crate) use multipart::write_multipart;
pub(crate) use multipart::{DISPOSITION, Part, multipart_boundary, parse_multipart, write_form};
pub(crate) use outcome::Outcome;
pub(crate) use request::API_KEY_VARIABLE;
#[cfg(feature = "cli")]
pub(crate) use request::DUMMY_KEY;
pub(crate) use response::total_tokens;
#[cfg(feature = "cli")]
pub(crate) use sse::parse_events_with;
pub(crate) use sse::{Event, EventSplitter, is_done, is_event_stream, parse_events};
pub(crate) use stream::{StreamFormat, StreamSplitter};
#[cfg(feature = "cli")]
pub(crate) use surrogates::{Form as SurrogateForm, replace_unpaired};
#[cfg(feature = "realtime")]
pub(crate) use websocket::{
    Closing, End, Handshake, Incoming, Outgoing, SendError, WebSocket, WebSocketMessage, WebSocketTransport, audio_of,
    wait_for_reply,
};
