//! Report: an HTML page that shows recordings.
//!
//! A recording can contain any text of a model or a server, so no recorded text becomes markup. `page/page.html` is the
//! frame, `reading.js` and `responses.js` turn bodies into messages, tool calls and media, and the other scripts make elements
//! of these. The Content-Security-Policy of the page allows only these scripts, and no requests.

mod data;
mod page;
mod recording;
mod summary;

pub(crate) use self::data::details;
pub(crate) use self::page::{GENERATOR_TAG, LivePage, Page, PageWriter, live_policy};
pub(crate) use self::recording::{Change, Recording};
pub(crate) use self::summary::summary;
