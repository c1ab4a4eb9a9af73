//! The stand-alone router program; `secateur router` runs the same.

use std::{ffi::OsString, io::Write};

use secateur_channel::SecurityError;
use secateur_common::{
    announce,
    config::{self, ConfigError},
    shutdown, telemetry,
};

use crate::{
    config::{RouterSettings, command},
    http,
    keys::{self, KeysError},
    listen::listen,
    serve::{ServeError, load, serve_model},
};

/// Why the program ends without having been stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Bad usage or configuration, or a request for help.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate, a key or the cluster secret cannot be used.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The file of API keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Bind {
        /// The address as configured.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl ProgramError {
    /// The process's exit status: 2 for bad usage or configuration, 0 for help, 1 for failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            ProgramError::Config(ConfigError::Usage(error)) => u8::try_from(error.exit_code()).unwrap_or(2),
            // A model folder, address, certificate or file of keys that cannot be used counts as a bad setting.
            ProgramError::Config(_)
            | ProgramError::Security(_)
            | ProgramError::Keys(_)
            | ProgramError::Serve(
                ServeError::Load(_) | ServeError::Open(_) | ServeError::Security(_) | ServeError::Keys(_),
            ) => 2,
            ProgramError::Bind { .. } | ProgramError::Serve(_) | ProgramError::Output(_) => 1,
        }
    }
}

/// Parses `arguments` (program name first), listens, announces the address on standard output, and serves until
/// stopped.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), ProgramError> {
    let layered = config::parse::<RouterSettings>(command(), arguments)?;
    // Certificates and keys that cannot be used are reported before the address is announced.
    layered.settings.link.channels()?;
    keys::open(&layered.settings.api_key, layered.settings.api_keys_file.as_deref())?;
    http::certificate(&layered.settings)?;
    if layered.settings.layers.print_config {
        std::io::stdout().write_all(layered.to_toml().as_bytes())?;
        return Ok(());
    }
    let settings = layered.settings;
    telemetry::init(&settings.log, settings.log_format);
    let stop = shutdown::on_signal();
    if settings.stdin_lifeline {
        shutdown::on_parent_end(&stop);
    }
    let bind = |source| ProgramError::Bind { address: settings.listen.clone(), source };
    let listener = listen(&settings.listen).await.map_err(bind)?;
    // A model folder that cannot be served is reported before the address is announced.
    let model = load(&settings).await?;
    announce::listening(listener.local_addr().map_err(bind)?)?;
    serve_model(model, settings, listener, stop).await?;
    Ok(())
}
