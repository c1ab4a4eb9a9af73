//! The decode service: receive, place, generate.
//!
//! ```text
//! generate.rs    Decode.Generate: validate ▸ open the epoch ▸ wait for the shipment ▸ stream tokens
//! receive.rs     KvTransfer.Ship: claim the epoch ▸ check the manifest ▸ lease blocks ▸ place layers ▸ check digests
//! messages.rs    the messages of a shipment, decoded without copying payloads
//! kept.rs        KV of finished prompts, for a conversation's next turn
//! epochs.rs      which epochs are open, and what each may still receive (plain data)
//! space.rs       KV blocks and the prompts that wait for them
//! sync.rs        what their queue is built from, for `tests/loom`
//! rehearsal.rs   receiving without a model, for measurements
//! engine.rs      one thread owns the computation: take in, schedule, compute, publish
//! schedule.rs    which answers step, get a block, stall or are preempted (plain data)
//! sequence.rs    one running answer: what follows after each token (plain data)
//! compute.rs     the trait that the engine needs of a model
//! ```

mod compute;
mod engine;
mod epochs;
mod generate;
mod kept;
mod messages;
mod receive;
pub mod rehearsal;
mod schedule;
mod sequence;
pub mod settings;
mod space;
mod sync;

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Command;
use secateur_common::shutdown::CancellationToken;
use secateur_model::Model;
use secateur_node::{Host, Identity, NodePlan, intake, memory, program};
use secateur_proto::v1::{self, decode_server::DecodeServer, kv_transfer_server::KvTransferServer};
use secateur_pruning::pdtrim::StageKind;
use tokio::net::TcpListener;

use crate::{
    compute::ModelCompute,
    engine::Engine,
    epochs::Epochs,
    generate::{GenerateService, Generator},
    messages::Unreading,
    receive::ReceiveService,
    space::BlockSpace,
};
pub use settings::DecodeSettings;

/// The command line of this role.
pub fn command() -> Command {
    Command::new("secateur-decode").version(secateur_common::version::long()).about("A Secateur decode node")
}

/// Runs the program: arguments in, exit status out.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::run(
        command(),
        arguments,
        |settings: &DecodeSettings| &settings.node,
        |settings| settings.node.check_listen(),
        serve,
    )
}

/// Loads the model and serves on `listener` until `shutdown` is cancelled and running requests have ended.
pub async fn serve(settings: DecodeSettings, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let node = settings.node;
    let guard = node.link.guard()?;
    let channels = node.link.channels()?;
    let plan = NodePlan::of(node.plan.as_deref(), &node.model)?;
    let options = node.load_options(plan.as_ref().map(|plan| plan.stage(StageKind::Decode)).unwrap_or_default());
    let dir = node.model.clone();
    let model = tokio::task::spawn_blocking(move || Model::load(&dir, &options))
        .await?
        .with_context(|| format!("cannot load the checkpoint in {}", node.model.display()))?;
    let model = Arc::new(model);
    let identity = Arc::new(Identity::new(v1::Role::Decode, node.node_id.clone(), &node.model, &model, plan)?);
    let space = BlockSpace::new(memory::kv_pool(&node, &model)?, settings.keep_finished);
    let pool = space.pool().clone();
    tracing::info!(node = %identity.node_id, address = %listener.local_addr()?, kv_blocks = pool.blocks(), kv_bytes = pool.blocks() * pool.block_bytes(), "decode node is ready");
    let epochs = Arc::new(Epochs::default());
    let engine = Engine::start(ModelCompute::new(model, pool), space.clone(), settings.max_running)?;
    let generate = Arc::new(Generator::new(identity.clone(), engine, space.clone(), epochs.clone(), node.queue_limit));
    let receive = ReceiveService::new(identity, space, epochs);
    let intake = intake::of_shipments(node.queue_limit);
    let mut host = Host::new(generate.clone(), channels, shutdown).with_intake(intake).with_life(generate.life());
    host.routes().add_service(DecodeServer::new(GenerateService(generate))).add_service(transfer_server(receive));
    host.serve(listener, guard).await
}

/// The service that receives shipments; it reads the messages from the request body itself, not through tonic's
/// decoder.
fn transfer_server(receive: ReceiveService) -> Unreading<KvTransferServer<ReceiveService>> {
    Unreading(KvTransferServer::new(receive))
}
