//! The `secateur-router` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    secateur_router::run_to_exit(std::env::args_os())
}
