//! Start-up of a node program, from arguments to a serving process; the same for both roles.

use std::{error::Error, ffi::OsString, io::Write as _, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Command, FromArgMatches};
use secateur_common::{
    announce,
    config::{self, ConfigError},
    shutdown::{self, CancellationToken},
    telemetry,
};
use secateur_model::{ModelError, WeightMemory};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    plan::NodePlan,
    settings::{ListenError, NodeSettings},
};

/// Exit status for bad usage or configuration.
const USAGE: u8 = 2;

/// Parses, configures, binds, announces and serves; returns the process's exit status. `check` refuses settings that
/// the command-line parser cannot know to be wrong.
pub fn run<S, F>(
    command: Command,
    arguments: impl IntoIterator<Item = OsString>,
    node: fn(&S) -> &NodeSettings,
    check: fn(&S) -> Result<(), ListenError>,
    serve: impl FnOnce(S, TcpListener, CancellationToken) -> F,
) -> ExitCode
where
    S: Args + FromArgMatches,
    F: Future<Output = anyhow::Result<()>>,
{
    let layered = match config::parse::<S>(command, arguments) {
        Ok(layered) => layered,
        Err(ConfigError::Usage(error)) => {
            // Help and version also arrive here, on standard output and with status 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
        Err(error) => return refuse(&error),
    };
    if let Err(error) = check(&layered.settings) {
        return refuse(&error);
    }
    let shared = node(&layered.settings).clone();
    if shared.layers.print_config {
        // This flag's purpose is to write to standard output.
        #[allow(clippy::print_stdout)]
        {
            print!("{}", layered.to_toml());
        }
        return ExitCode::SUCCESS;
    }
    telemetry::init(&shared.log, shared.log_format);
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the async runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(start(shared, layered.settings, serve));
    // A read of standard input may still block in the background; it must not hold up the process's exit.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", told(&error));
            ExitCode::FAILURE
        }
    }
}

async fn start<S, F>(
    shared: NodeSettings,
    settings: S,
    serve: impl FnOnce(S, TcpListener, CancellationToken) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let stop = shutdown::on_signal();
    if shared.stdin_lifeline {
        shutdown::on_parent_end(&stop);
    }
    let listener = TcpListener::bind(shared.listen).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {}: {error}; choose another address with --listen", shared.listen)
    })?;
    // A checkpoint that cannot be served is reported before the address is announced.
    preflight(&shared)?;
    // Announced before the model is loaded: the router waits for readiness, not for the port.
    announce::listening(listener.local_addr()?)?;
    serve(settings, listener, stop).await
}

/// Checks what can be checked without reading weights: the device, the plan, the configuration, and that every weight
/// file is there and whole.
fn preflight(settings: &NodeSettings) -> anyhow::Result<()> {
    settings.device.check()?;
    if let Some(folder) = settings.plan.as_deref().and_then(|given| NodePlan::folder(given, &settings.model)) {
        NodePlan::open(&folder)?;
    }
    WeightMemory::read(&settings.model, settings.dtype, settings.weights)
        .with_context(|| format!("cannot load the checkpoint in {}", settings.model.display()))?;
    Ok(())
}

/// The error with its chain of causes. The chain stops at a model's error, whose text already includes its cause.
fn told(error: &anyhow::Error) -> String {
    let mut words = Vec::new();
    for cause in error.chain() {
        words.push(cause.to_string());
        if cause.is::<ModelError>() {
            break;
        }
    }
    words.join(": ")
}

fn refuse(error: &dyn Error) -> ExitCode {
    // Standard error may be closed; the status says it as well.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secateur_channel::{Channels, Guard};
    use secateur_proto::v1;

    use super::*;
    use crate::{Host, Life, host::Describe};

    struct Nobody;

    impl Describe for Nobody {
        fn describe(&self, _: bool) -> v1::NodeDescription {
            v1::NodeDescription::default()
        }
    }

    /// Runs a node program whose engine runs `work` while it serves; returns the exit status.
    fn status(work: impl FnOnce(&CancellationToken) + Send + 'static) -> String {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo");
        let arguments = ["node", "--model", demo, "--listen", "127.0.0.1:0"].map(OsString::from);
        let serve = |_: NodeSettings, listener, shutdown: CancellationToken| async move {
            let stop = shutdown.clone();
            let life = Life::begin("test-engine", move || work(&stop))?;
            let host = Host::new(Arc::new(Nobody), Channels::default(), shutdown).with_life(&life);
            host.serve(listener, Guard::default()).await
        };
        // `ExitCode` has no comparison, so its debug text is compared.
        format!("{:?}", run(Command::new("node"), arguments, |settings| settings, |_| Ok(()), serve))
    }

    #[test]
    fn a_node_whose_engine_ends_exits_with_status_1() {
        assert_eq!(status(|_| panic!("a defect")), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(status(|_| ()), format!("{:?}", ExitCode::FAILURE));
    }

    #[test]
    fn a_node_that_is_stopped_exits_with_status_0() {
        let work = |stop: &CancellationToken| {
            stop.cancel();
            // Outlives the host's stop, so that the engine does not end first.
            std::thread::sleep(std::time::Duration::from_secs(2));
        };
        assert_eq!(status(work), format!("{:?}", ExitCode::SUCCESS));
    }

    #[test]
    fn a_missing_file_is_told_once() {
        let source = std::io::ErrorKind::NotFound.into();
        let error = anyhow::Error::from(ModelError::Io { path: "/m/a.safetensors".into(), source });
        assert_eq!(told(&error.context("cannot load")), "cannot load: /m/a.safetensors is not there");
        assert_eq!(told(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }
}
