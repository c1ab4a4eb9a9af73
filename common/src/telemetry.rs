//! Structured logs on standard error, so that standard output carries only a command's own output.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// Installs the process's log subscriber. `filter` is a `tracing` directive list such as `info,secateur_router=debug`;
/// the environment variable `SECATEUR_LOG` wins over it. A second call does nothing.
pub fn init(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_env("SECATEUR_LOG")
        .or_else(|_| EnvFilter::try_new(filter))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal();
    // Fails only if a subscriber is installed already, as in tests that start several programs in one process.
    let _ = match format {
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(colours)).try_init(),
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
}
