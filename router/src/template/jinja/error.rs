//! The errors of filters and methods.

use std::borrow::Cow;

use minijinja::{Error, ErrorKind};

/// The error for an operation that Python would refuse too.
pub fn refused(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// The error of a filter whose arguments break `rule`.
pub fn wrong(filter: &str, rule: &str) -> Error {
    refused(format!("{filter}: {rule}"))
}
