//! `GET /v1/cluster`: the nodes as the router sees them, for operators and the dashboard.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use secateur_proto::v1::{DType, NodeDescription, ShipCost, VisualPolicy};
use secateur_transfer::TransferPolicy;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error;
use crate::{
    app::App,
    cluster::{Node, NodeState, links::Link, pace::Paces},
    openai::extension::method_name,
};

/// Nodes, load, model and plan, and what was measured of nodes and links.
pub async fn show(State(app): State<Arc<App>>) -> Response {
    let ready = app.ready();
    let (links, paces) = app.cluster.measured();
    let nodes: Vec<Value> = app.cluster.nodes().map(|node| view(&app, node, &paces)).collect();
    let now = Instant::now();
    let links: Vec<Value> = links.all().map(|(prefill, decode, link)| link_view(prefill, decode, link, now)).collect();
    let body = json!({
        "model": app.model.name,
        "tokenizer_digest": app.model.tokenizer_digest,
        "ready": ready.is_ok(),
        "reason": ready.err().map(|error| error.message),
        "placement": app.cluster.mode().as_str(),
        "requests": {"running": app.admission.running(), "waiting": app.admission.waiting()},
        "nodes": nodes,
        "links": links,
    });
    error::json(StatusCode::OK, &body)
}

fn link_view(prefill: &str, decode: &str, link: &Link, now: Instant) -> Value {
    json!({
        "prefill": prefill,
        "decode": decode,
        "mbit_s": link.bytes_per_s * 8.0 / 1e6,
        "overlap": link.overlap,
        "shipments": link.shipments,
        "bytes": link.bytes,
        "age_s": link.age(now).as_secs_f64(),
    })
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
        "address": node.address,
        "state": state,
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
