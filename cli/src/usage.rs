//! Exit statuses of commands: 2 for errors that the caller can correct on the command line, 1 for every other failure.

use std::{error::Error, fmt, process::ExitCode};

use crate::console;

/// Error of a command that cannot do what its arguments say; the message says what to change.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Error for Usage {}

/// An error that ends the command with status 2.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// Prints the error, if there is one, and returns the exit status.
pub fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::failure(&error);
            // Added context does not change the kind of the error.
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn bad_usage_is_told_from_failure() {
        let refused: anyhow::Result<()> = Err(usage("no")).context("while reading the command line");
        assert_eq!(finish(refused), ExitCode::from(2));
        assert_eq!(finish(Err(anyhow::anyhow!("broken"))), ExitCode::FAILURE);
        assert_eq!(finish(Ok(())), ExitCode::SUCCESS);
    }
}
