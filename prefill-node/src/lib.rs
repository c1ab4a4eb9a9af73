//! The prefill service: see, prune, prefill, ship.
//!
//! ```text
//! service.rs    Prefill.Run: validate ▸ decode pictures ▸ queue ▸ stream FirstToken, PrefillDone; Prefill.Embed
//! job.rs        a validated request
//! pictures.rs   decoding of pictures, and a cache keyed by digest
//! engine.rs     one thread owns the computation: take in, look, admit, schedule, compute, publish
//! schedule.rs   how many rows of each prompt a step computes (plain data)
//! compute.rs    the trait that the engine needs of a model: see, lay out, run
//! reading.rs    what is read off a prompt's rows besides the first token: scores, a vector
//! prune.rs      which visual tokens are kept, with a cache of earlier choices
//! progress.rs   how much of a prompt's KV is computed: written by the engine, followed by its ship task
//! ship.rs       one task per request pushes its KV to decode, while the next rows compute
//! lines.rs      measured speed of the link to each decode node, and whether packing pays on it
//! stall.rs      how long a shipment may hold blocks while decode takes nothing
//! peers.rs      connections to decode nodes, kept between requests
//! recommended.rs  the setting --visual: how pictures are pruned by default
//! rehearsal.rs  shipping without a model, for measurements
//! ```

mod compute;
mod engine;
mod job;
mod lines;
mod peers;
mod pictures;
mod progress;
mod prune;
mod reading;
mod recommended;
pub mod rehearsal;
mod schedule;
mod service;
pub mod settings;
mod ship;
mod stall;

use std::{ffi::OsString, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use clap::Command;
use secateur_common::shutdown::CancellationToken;
use secateur_model::{LoadOptions, Model, WeightFormat};
use secateur_node::{Host, Identity, ListenError, NodePlan, intake, memory, program};
use secateur_proto::{
    PREFILL_REQUEST_BYTES_MAX,
    v1::{self, prefill_server::PrefillServer},
};
use secateur_pruning::{VisualMethod, VisualPolicy, pdtrim::StageKind};
use secateur_transfer::{DType, TransferPolicy, codec::packing_rate};
use tokio::net::TcpListener;

use crate::{
    compute::ModelCompute,
    engine::{Engine, Limits},
    lines::Lines,
    peers::Peers,
    service::{PrefillService, Prefiller},
};
pub use settings::PrefillSettings;

/// The command line of this role.
pub fn command() -> Command {
    Command::new("secateur-prefill").version(secateur_common::version::long()).about("A Secateur prefill node")
}

/// Runs the program: arguments in, exit status out.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::run(command(), arguments, |settings: &PrefillSettings| &settings.node, check, serve)
}

/// Checks that the command-line parser cannot make: this node both accepts connections and opens them to decode nodes,
/// so both sides of its protection must be usable.
fn check(settings: &PrefillSettings) -> Result<(), ListenError> {
    settings.node.check_listen()?;
    settings.node.link.channels()?;
    Ok(())
}

/// Name of the number formats of weights and KV on this node; part of the prefix cache's keys.
fn computed_as(dtype: DType, weights: WeightFormat) -> &'static str {
    match (weights, dtype) {
        (WeightFormat::Int8, DType::F32) => "int8, f32",
        (WeightFormat::Int8, DType::Bf16) => "int8, bf16",
        (WeightFormat::Int8, DType::F16) => "int8, f16",
        (WeightFormat::Native, DType::F32) => "f32",
        (WeightFormat::Native, DType::Bf16) => "bf16",
        (WeightFormat::Native, DType::F16) => "f16",
    }
}

/// The transfer policy for requests that do not choose one: the setting `told`, refused if the plan does not allow it.
fn recommended_transfer(
    told: Option<TransferPolicy>,
    plan: Option<&NodePlan>,
) -> anyhow::Result<Option<TransferPolicy>> {
    let is_possible = told.is_none_or(|policy| policy.is_possible_with(plan.map(|plan| &*plan.plan)));
    ensure!(is_possible, "--transfer pdtrim needs a plan that selects layers; give one with --plan");
    Ok(told)
}

/// Logs the defaults that may lose quality (lossy transfer, visual pruning), with the evidence for them.
fn say_what_is_lost(identity: &Identity) {
    tracing::info!(tiered = %identity.tiered.policy, evidence = identity.tiered.evidence, "what lossy transfer is here");
    let keeps_all = |policy: VisualPolicy| policy.method() == VisualMethod::None;
    if identity.model.vision.is_some() && keeps_all(identity.recommended_visual) {
        let advice = "`secateur eval --recommend` finds how many of them it can do without; a request may say";
        tracing::info!("all visual tokens are kept, as the checkpoint has no card that says otherwise; {advice}");
    }
}

/// Loads the model and serves on `listener` until `shutdown` is cancelled and running requests have ended.
pub async fn serve(
    settings: PrefillSettings,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let node = settings.node;
    let guard = node.link.guard()?;
    let channels = node.link.channels()?;
    let plan = NodePlan::of(node.plan.as_deref(), &node.model)?;
    let stage = plan.as_ref().map(|plan| plan.stage(StageKind::Prefill)).unwrap_or_default();
    let options = LoadOptions { vision: true, ..node.load_options(stage) };
    let dir = node.model.clone();
    let model = tokio::task::spawn_blocking(move || Model::load(&dir, &options))
        .await?
        .with_context(|| format!("cannot load the checkpoint in {}", node.model.display()))?;
    let pool = memory::kv_pool(&node, &model)?;
    let (model, spread) = tokio::task::spawn_blocking(move || {
        let spread = model.kv_spread();
        (model, spread)
    })
    .await?;
    let mut identity = Identity::new(v1::Role::Prefill, node.node_id.clone(), &node.model, &model, plan.clone())?
        .with_spread(&spread?);
    identity.recommended_transfer = recommended_transfer(settings.transfer.0, plan.as_ref())?;
    settings.visual.apply(&mut identity);
    say_what_is_lost(&identity);
    tracing::info!(node = %identity.node_id, address = %listener.local_addr()?, kv_blocks = pool.blocks(), kv_bytes = pool.blocks() * pool.block_bytes(), "prefill node is ready");
    let identity = Arc::new(identity);
    let limits = Limits {
        queue: node.queue_limit,
        computed_as: computed_as(identity.kv_shape().dtype, node.weights),
        step_tokens: settings.step_tokens as usize,
        picture_cache: usize::try_from(settings.picture_cache.as_u64()).unwrap_or(usize::MAX),
        prefix_cache: settings.prefix_cache,
        last_row_apart: plan.as_ref().is_some_and(|plan| plan.plan.runs_last_row_apart()),
    };
    let engine = Engine::start(ModelCompute::new(model, pool.clone()), pool.clone(), limits)?;
    let ship_patience = Duration::from_secs(settings.ship_patience);
    let lines = Lines::new(settings.lossless, packing_rate(identity.kv_shape().dtype));
    let prefiller =
        Arc::new(Prefiller::new(identity, engine, pool, Peers::new(channels.clone()), ship_patience, lines));
    let intake = intake::of_requests(node.queue_limit);
    let mut host =
        Host::new(prefiller.clone(), channels.clone(), shutdown).with_intake(intake).with_life(prefiller.life());
    host.routes().add_service(
        PrefillServer::new(PrefillService(prefiller)).max_decoding_message_size(PREFILL_REQUEST_BYTES_MAX),
    );
    host.serve(listener, guard).await
}
