//! Live view: a page on a loopback address that shows the requests of a proxy as they are answered.
//!
//! The page is that of `report`. Its listener is not that of the proxy, which other machines may reach. It answers only requests
//! whose path has a token that nobody can guess, only to its own page, and changes nothing.

mod arguments;
mod entry;
mod guard;
mod log;
mod recordings;
mod response;
mod routes;
mod server;

pub(crate) use self::arguments::UiArguments;
