//! What the error codes of the databases mean.

/// Returns the error code of the database.
pub(super) fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Returns whether the connection broke, so that the statement may or may not have been executed.
pub(super) fn is_disconnected(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // The server is shutting down, or one of its processes has crashed.
        _ => code_of(error).is_some_and(|code| ["57P01", "57P02", "57P03"].contains(&&*code)),
    }
}

/// Returns whether PostgreSQL has rolled the statement back because of a conflict with another transaction.
pub(super) fn is_rolled_back(error: &sqlx::Error) -> bool {
    code_of(error).is_some_and(|code| ["40001", "40P01"].contains(&&*code))
}

/// Returns whether another connection is writing to the SQLite file: the low byte of the code is SQLITE_BUSY.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    let number = code_of(error).and_then(|code| code.parse::<u32>().ok());
    number.is_some_and(|number| number & 0xff == 5)
}
