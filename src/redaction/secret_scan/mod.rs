//! Finds API keys, tokens, cookies and passwords by their format and never repeats their values.

mod body;
mod checks;
mod data_url;
mod environment;
mod exchange;
mod image;
mod mask;
mod rules;
mod search;
#[cfg(test)]
mod tests;

#[cfg(feature = "cli")]
pub(crate) use body::find_in_body;
#[cfg(feature = "cli")]
pub(crate) use checks::Confidence;
#[cfg(feature = "cli")]
pub(crate) use exchange::SECRET_HINT;
#[cfg(all(fuzzing, feature = "cli"))]
pub(crate) use exchange::certain_secrets;
pub(crate) use exchange::{WrittenNames, scan_exchange};
pub(crate) use mask::mask;
#[cfg(feature = "cli")]
pub(crate) use mask::name_reveals;
