//! The stand-alone prefill program.

use std::process::ExitCode;

fn main() -> ExitCode {
    secateur_prefill_node::run(std::env::args_os())
}
