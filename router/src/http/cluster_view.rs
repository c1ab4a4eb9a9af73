//! `GET /v1/cluster`: the nodes as the router sees them, for operators and the dashboard.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use secateur_proto::v1::{NodeDescription, VisualPolicy};
use serde_json::{Value, json};

use super::error;
use crate::{
    app::App,
    cluster::{Node, NodeState},
    openai::extension::method_name,
};

/// Nodes, load, model and plan.
pub async fn show(State(app): State<Arc<App>>) -> Response {
    let ready = app.ready();
    let nodes: Vec<Value> = app.cluster.nodes().map(|node| view(&app, node)).collect();
    let body = json!({
        "model": app.model.name,
        "tokenizer_digest": app.model.tokenizer_digest,
        "ready": ready.is_ok(),
        "reason": ready.err().map(|error| error.message),
        "requests": {"running": app.admission.running(), "waiting": app.admission.waiting()},
        "nodes": nodes,
    });
    error::json(StatusCode::OK, &body)
}

fn view(app: &App, node: &Arc<Node>) -> Value {
    let snapshot = node.view();
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
        "node": description,
    })
}

fn visual(policy: &VisualPolicy) -> Value {
    json!({"method": method_name(policy.method), "keep": policy.keep})
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
