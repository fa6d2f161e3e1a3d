//! What a client needs so that its requests can be intercepted: options, certificates, variables.

mod arguments;
mod environment;
mod java;
mod trust;
mod variables;

pub(crate) use self::arguments::{INTERCEPTION, InterceptArguments};
pub(crate) use self::environment::Environment;
pub(crate) use self::trust::{Trust, write_certificate};
pub(crate) use self::variables::{Variable, explain};
