//! The stand-alone decode program.

use std::process::ExitCode;

fn main() -> ExitCode {
    secateur_decode_node::run(std::env::args_os())
}
