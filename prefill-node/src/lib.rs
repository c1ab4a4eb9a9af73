//! The prefill service: see, prune, prefill, ship.
//!
//! ```text
//! service.rs   Prefill.Run: validate ▸ queue ▸ stream FirstToken, PrefillDone
//! job.rs       a request, validated
//! prompt.rs    decode pictures ▸ vision tower ▸ prune ▸ the sequence to prefill
//! engine.rs    one thread owns the computation: one job after another
//! ship.rs      one task per request pushes its KV to decode, layer by layer, while later layers compute
//! peers.rs     connections to decode nodes, kept between requests
//! ```

mod engine;
mod job;
mod peers;
mod prompt;
mod service;
pub mod settings;
mod ship;

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Command;
use secateur_common::shutdown::CancellationToken;
use secateur_model::{LoadOptions, Model};
use secateur_node::{Host, Identity, KvBudget, program};
use secateur_proto::v1::{self, prefill_server::PrefillServer};
use tokio::net::TcpListener;

use service::{PrefillService, Prefiller};
pub use settings::PrefillSettings;

/// Largest request: pictures travel in it.
const REQUEST_BYTES_MAX: usize = 256 << 20;

/// The command line of this role.
pub fn command() -> Command {
    Command::new("secateur-prefill").version(env!("CARGO_PKG_VERSION")).about("A Secateur prefill node")
}

/// Runs the program: arguments in, exit status out.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::run(command(), arguments, |settings: &PrefillSettings| &settings.node, serve)
}

/// Loads the model and serves on `listener` until `shutdown` is cancelled and running requests have ended.
pub async fn serve(
    settings: PrefillSettings,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let node = settings.node;
    let options = LoadOptions { device: node.device, dtype: node.dtype, vision: true, ..LoadOptions::default() };
    let dir = node.model.clone();
    let model = tokio::task::spawn_blocking(move || Model::load(&dir, &options))
        .await?
        .with_context(|| format!("cannot load the checkpoint in {}", node.model.display()))?;
    let budget = KvBudget::of(&node);
    let identity = Identity::new(v1::Role::Prefill, node.node_id.clone(), &node.model, &model)?;
    tracing::info!(node = %identity.node_id, address = %listener.local_addr()?, "prefill node is ready");
    let identity = Arc::new(identity);
    let engine = engine::Engine::start(model, identity.clone(), node.queue_limit)?;
    let prefiller = Arc::new(Prefiller::new(identity, engine, budget));
    let mut host = Host::new(prefiller.clone(), shutdown);
    host.routes()
        .add_service(PrefillServer::new(PrefillService(prefiller)).max_decoding_message_size(REQUEST_BYTES_MAX));
    host.serve(listener).await
}
