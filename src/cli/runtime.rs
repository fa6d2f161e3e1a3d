//! The async runtime of a command.

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, ErrorKind, Result};

pub(crate) fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot start the async runtime").with_source(error))
}
