//! The `secateur` program, built for the tests of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    secateur_cli::run(std::env::args_os())
}
