//! Prices: what recordings use (tokens, pages, seconds of audio), and what that costs.

mod table;
mod usage;

pub(crate) use self::table::{CostEstimate, Prices, format_dollars, usages};
pub(crate) use self::usage::{Usage, model_in, model_of};
