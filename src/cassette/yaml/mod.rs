//! Format version 1: cassettes as YAML. No other module depends on the YAML crate.

mod body_in;
mod body_out;
mod read;
mod session;
#[cfg(test)]
mod tests;
mod version;
mod write;

#[cfg(feature = "cli")]
pub(crate) use self::body_out::display;
#[cfg(feature = "cli")]
pub(crate) use self::read::{Tagged, read_foreign};
pub(crate) use self::read::{read, read_yaml};
pub(crate) use self::write::{append, responses_at, write};
