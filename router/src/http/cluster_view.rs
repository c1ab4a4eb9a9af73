//! `GET /v1/cluster`: the nodes as the router sees them, totals since it started and the last requests, for operators
//! and the live page. Of requests it shows only figures, never text of a prompt or an answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use secateur_common::version;
use secateur_proto::v1::{DType, NodeDescription, ShipCost, VisualPolicy};
use secateur_transfer::TransferPolicy;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error;
use crate::{
    app::{App, unix_seconds},
    cluster::{
        Name, Node, NodeState, Snapshot,
        faults::Faults,
        links::{Link, Links, Small},
        pace::Paces,
        role_name,
    },
    request::receipt::method_name,
};

/// The query parameters.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// Only requests after this number are shown; without it, or if it is not a number, all remembered requests are.
    recent_after: Option<String>,
}

/// Shows nodes, load, model and plan, measurements of nodes and links, totals and the last requests.
pub async fn show(State(app): State<Arc<App>>, wanted: Result<Query<Wanted>, QueryRejection>) -> Response {
    let after = wanted.ok().and_then(|Query(wanted)| wanted.recent_after?.parse().ok()).unwrap_or(0);
    let ready = app.ready();
    let (links, paces) = app.cluster.measured();
    let snapshot = app.cluster.nodes();
    let nodes: Vec<Value> = snapshot.nodes().map(|node| view(&app, node, &paces)).collect();
    let body = json!({
        "model": app.model.name,
        "root": app.model.root,
        "version": version::VERSION,
        "commit": version::COMMIT,
        "uptime_s": unix_seconds().saturating_sub(app.started),
        "takes_pictures": takes_pictures(&app),
        "images_max": app.limits.images_max,
        "tokenizer_digest": app.model.tokenizer_digest,
        "ready": ready.is_ok(),
        "reason": ready.err().map(|error| error.message),
        "placement": app.cluster.mode().as_str(),
        "requests": {"running": app.admission.running(), "waiting": app.admission.waiting()},
        "names": snapshot.names.iter().map(name_view).collect::<Vec<_>>(),
        "nodes": nodes,
        "links": links_view(&app, &snapshot, &links, &app.cluster.faults()),
        "started": app.started,
        "totals": app.metrics.totals(),
        "window": app.metrics.lately(),
        "recent": app.metrics.recent(after),
    });
    error::json(StatusCode::OK, &body)
}

/// Whether a request with pictures would be taken: by the nodes if there is a pair, else as the checkpoint says.
fn takes_pictures(app: &App) -> bool {
    let nodes_take = || app.cluster.facts().map_or(true, |facts| facts.visual_tokens_per_image > 0);
    app.model.image_token.is_some() && app.limits.images_max > 0 && nodes_take()
}

fn name_view(name: &Name) -> Value {
    json!({
        "role": role_name(name.role),
        "name": name.name,
        "addresses": name.addresses,
        "failure": name.failure,
    })
}

/// Links between current nodes: those that were measured, those that carried only small shipments, and those that
/// failed lately.
fn links_view(app: &App, nodes: &Snapshot, measured: &Links, faults: &Faults) -> Vec<Value> {
    let now = Instant::now();
    let ends = |prefill: &str, decode: &str| (prefill.to_owned(), decode.to_owned());
    let mut links: BTreeMap<(String, String), LinkFigures<'_>> = BTreeMap::new();
    for (link, bytes) in app.metrics.link_bytes() {
        links.entry((link.prefill, link.decode)).or_default().sent = bytes;
    }
    for (prefill, decode, link) in measured.all() {
        links.entry(ends(prefill, decode)).or_default().measured = Some(link);
    }
    for (prefill, decode, small) in measured.small() {
        links.entry(ends(prefill, decode)).or_default().small = Some(small);
    }
    for (prefill, decode, rest) in faults.resting(now) {
        links.entry(ends(prefill, decode)).or_default().rests = Some(rest);
    }
    links.retain(|(prefill, decode), _| nodes.has(prefill) && nodes.has(decode));
    links.iter().map(|(ends, figures)| link_view(ends, figures, now)).collect()
}

/// The figures of one link.
#[derive(Default)]
struct LinkFigures<'a> {
    measured: Option<&'a Link>,
    small: Option<&'a Small>,
    /// Bytes of all shipments.
    sent: u64,
    /// Remaining time for which the link is the last choice because it failed.
    rests: Option<Duration>,
}

/// One link as JSON. `shipments` and `bytes` are those that `mbit_s` was measured from; `bytes_sent` counts all
/// shipments. `small_shipments` were too short to measure more than a lower bound, `at_least_mbit_s`.
fn link_view(ends: &(String, String), figures: &LinkFigures<'_>, now: Instant) -> Value {
    let link = figures.measured;
    json!({
        "prefill": ends.0,
        "decode": ends.1,
        "mbit_s": link.map(|link| mbit_s(link.bytes_per_s)),
        "at_least_mbit_s": figures.small.map(|small| mbit_s(small.fastest_bytes_per_s)),
        "small_shipments": figures.small.map_or(0, |small| small.shipments),
        "overlap": link.map(|link| link.overlap),
        "shipments": link.map_or(0, |link| link.shipments),
        "bytes": link.map_or(0, |link| link.bytes),
        "bytes_sent": figures.sent,
        "age_s": link.map(|link| link.age(now).as_secs_f64()),
        "rests_s": figures.rests.map(|rest| rest.as_secs_f64()),
    })
}

fn mbit_s(bytes_per_s: f64) -> f64 {
    bytes_per_s * 8.0 / 1e6
}

fn view(app: &App, node: &Arc<Node>, paces: &Paces) -> Value {
    let snapshot = node.view();
    let pace = paces.of(&node.address);
    let (state, description) = match &snapshot.state {
        NodeState::Down(_) => ("down", Value::Null),
        NodeState::Up(description) => ("up", describe(description)),
    };
    json!({
        "role": node.role_name(),
        "address": &*node.address,
        "name": node.name,
        "state": state,
        "late": snapshot.is_late,
        "unusable": snapshot.usable(&app.model.tokenizer_digest).err(),
        "in_flight": node.in_flight(),
        "measured": {"prefill_s_per_position": pace.prefill_s_per_position, "request_s": pace.request_s},
        "node": description,
    })
}

fn dtype_name(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::Unspecified => None,
        DType::F32 => Some("f32"),
        DType::Bf16 => Some("bf16"),
        DType::F16 => Some("f16"),
    }
}

fn visual(policy: &VisualPolicy) -> Value {
    json!({"method": method_name(policy.method), "keep": policy.keep})
}

fn ship_cost(cost: &ShipCost) -> Value {
    json!({
        "policy": TransferPolicy::from_proto(cost.policy).map(TransferPolicy::as_str),
        "fixed_bytes": cost.fixed_bytes,
        "bytes_per_position": cost.bytes_per_position,
    })
}

fn describe(node: &NodeDescription) -> Value {
    let load = node.load.unwrap_or_default();
    json!({
        "id": node.node_id,
        "version": node.version,
        "protocol": node.protocol_version,
        "model": node.model_name,
        "model_fingerprint": node.model_fingerprint,
        "plan": node.plan_id,
        "max_positions": node.max_positions,
        "visual_tokens_per_image": node.visual_tokens_per_image,
        "visual_tokens_vary": node.visual_tokens_vary,
        "recommended_visual": node.recommended_visual.as_ref().map(visual),
        "recommended_visual_several": node.recommended_visual_several.as_ref().map(visual),
        "host": node.host_id,
        "kv_dtype": dtype_name(node.kv_dtype()),
        "recommended_transfer": TransferPolicy::from_proto(node.recommended_transfer).map(TransferPolicy::as_str),
        "ship_costs": node.ship_costs.iter().map(ship_cost).collect::<Vec<_>>(),
        "draining": node.draining,
        "load": {
            "running": load.running,
            "waiting": load.waiting,
            "queue_limit": load.queue_limit,
            "kv_bytes_used": load.kv_bytes_used,
            "kv_bytes_total": load.kv_bytes_total,
            "kv_blocks_used": load.kv_blocks_used,
            "kv_blocks_total": load.kv_blocks_total,
            "kv_block_positions": load.kv_block_positions,
            "preemptions": load.preemptions,
            "prefix_queries": load.prefix_queries,
            "prefix_hits": load.prefix_hits,
        },
    })
}
