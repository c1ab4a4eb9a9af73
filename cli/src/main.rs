//! The `secateur` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    secateur_cli::run(std::env::args_os())
}
