//! From arguments to an exit status: the body of `main`, shared with `secateur router`.

use std::{ffi::OsString, io::Write, process::ExitCode};

use secateur_common::config::ConfigError;
use tokio::runtime::Runtime;

use crate::program::{ProgramError, run};

/// Runs the router until it is stopped; prints what went wrong, and what to do, on standard error.
pub fn run_to_exit(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(arguments));
    // A read of standard input may still block in the background; it must not keep the process from exiting.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn report(error: &ProgramError) {
    match error {
        // clap knows which stream help and errors belong to.
        ProgramError::Config(ConfigError::Usage(usage)) => {
            let _ = usage.print();
        }
        error => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
        }
    }
}
