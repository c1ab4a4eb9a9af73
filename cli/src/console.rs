//! What every command says on standard error: progress and failure.

use std::io::{Write, stderr};

/// Prints a line of progress.
pub fn progress(text: &str) {
    let _ = writeln!(stderr(), "secateur: {text}");
}

/// Prints the error of a failed run.
pub fn failure(error: &anyhow::Error) {
    let _ = writeln!(stderr(), "error: {error:#}");
}
