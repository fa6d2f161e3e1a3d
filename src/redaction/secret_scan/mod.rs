//! Finds API keys, tokens, cookies and passwords by their format and never repeats their values.

mod body;
mod checks;
mod data_url;
mod exchange;
mod mask;
mod rules;
mod search;

#[cfg(feature = "cli")]
pub(crate) use body::find_in_body;
#[cfg(feature = "cli")]
pub(crate) use checks::Confidence;
#[cfg(feature = "cli")]
pub(crate) use exchange::SECRET_HINT;
#[cfg(all(fuzzing, feature = "cli"))]
pub(crate) use exchange::certain_secrets;
pub(crate) use exchange::scan_exchange;
#[cfg(feature = "cli")]
pub(crate) use mask::{mask, name_reveals};
