//! A node's description of itself: the part that does not change while the node runs.

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use secateur_common::ids;
use secateur_model::{BLOCK_POSITIONS, FloatType, KvPool, LayerSpread, Model, ModelInfo};
use secateur_proto::{PROTOCOL_VERSION, checkpoint_name, v1};
use secateur_pruning::{VisualPolicy, pdtrim::Plan};
use secateur_transfer::{DType, KvShape, TransferPolicy, codec::KvSteps, cost, visual};

use crate::{
    advice::{Precision, recommended_visual},
    grammars::Grammars,
    plan::NodePlan,
    steps::kv_steps,
    tokenizer::tokenizer_digest,
};

/// Identity of a node: its names, its checkpoint and plan, and its recommended policies.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of the node in receipts and logs.
    pub node_id: String,
    /// Id of this process; a restarted node has another one.
    pub instance_id: String,
    /// Role of the node: prefill or decode.
    pub role: v1::Role,
    /// Name of the checkpoint.
    pub model_name: String,
    /// Facts of the loaded checkpoint.
    pub model: ModelInfo,
    /// Blocks that have KV on this node, ascending.
    pub kv_layers: Vec<u32>,
    /// The blocks of [`Identity::kv_layers`] whose KV is shipped from prefill to decode; on a decode node these are all
    /// of them.
    pub shipped_layers: Vec<u32>,
    /// Digest of the pruning plan in force; empty if there is none.
    pub plan_id: String,
    /// The pruning plan in force, if any.
    pub plan: Option<Arc<Plan>>,
    /// blake3 of tokenizer.json, or of a GGUF file's tokenizer metadata, in hex; empty if the folder has no tokenizer.
    pub tokenizer_digest: String,
    /// Visual policy that `auto` stands for on this node if a request has one picture.
    pub recommended_visual: VisualPolicy,
    /// Visual policy that `auto` stands for on this node if a request has several pictures.
    pub recommended_visual_several: VisualPolicy,
    /// Id of the machine on which the node runs.
    pub host_id: String,
    /// Transfer policy that `auto` stands for; `None` if the router decides by the link.
    pub recommended_transfer: Option<TransferPolicy>,
    /// Transfer policy and precision that `tiered` stands for.
    pub tiered: Precision,
    /// Quantization steps of the shipped layers; empty except on a prefill node.
    pub kv_steps: KvSteps,
    /// Grammars of requests, compiled against the checkpoint's tokens.
    pub grammars: Arc<Grammars>,
}

impl Identity {
    /// The identity of a node that loaded `model` from `dir` and runs `plan`.
    pub fn new(
        role: v1::Role,
        node_id: Option<String>,
        dir: &Path,
        model: &Model,
        plan: Option<NodePlan>,
    ) -> anyhow::Result<Self> {
        if let Some(plan) = &plan {
            plan.check(model)?;
        }
        let (recommended_visual, recommended_visual_several) = recommended_visual(dir)?;
        let tiered = Precision::of(dir, plan.as_ref().map(|plan| &*plan.plan))?;
        let kv_layers: Vec<u32> = model.kv_layers().iter().map(|&layer| layer as u32).collect();
        let sends = |layer: u32| plan.as_ref().is_none_or(|plan| plan.plan.sends(layer as usize));

        let role_name = match role {
            v1::Role::Prefill => "prefill",
            v1::Role::Decode => "decode",
            v1::Role::Unspecified => "node",
        };
        Ok(Self {
            node_id: node_id.unwrap_or_else(|| ids::node_id(role_name)),
            instance_id: ids::time_ordered(),
            role,
            model_name: secateur_gguf::name(dir).unwrap_or_else(|| checkpoint_name(dir)),
            model: model.info().clone(),
            shipped_layers: kv_layers.iter().copied().filter(|&layer| sends(layer)).collect(),
            kv_layers,
            plan_id: plan.as_ref().map(|plan| plan.id.clone()).unwrap_or_default(),
            plan: plan.map(|plan| plan.plan),
            tokenizer_digest: tokenizer_digest(dir)?,
            recommended_visual,
            recommended_visual_several,
            host_id: ids::host_id(),
            recommended_transfer: None,
            tiered,
            kv_steps: KvSteps::default(),
            grammars: Arc::new(Grammars::new(dir, model.info().eos_token_ids.first().copied())),
        })
    }

    /// Shape of the KV that this node computes or receives.
    pub fn kv_shape(&self) -> KvShape {
        let dtype = match self.model.dtype {
            FloatType::F32 => DType::F32,
            FloatType::Bf16 => DType::Bf16,
            FloatType::F16 => DType::F16,
        };
        KvShape { kv_heads: self.model.kv_heads as u32, head_dim: self.model.head_dim as u32, dtype }
    }

    /// This identity with quantization steps for KV that is shipped with loss, derived from `spread`: the statistics
    /// that a pass of the model gave for each block of [`Identity::kv_layers`].
    pub fn with_spread(mut self, spread: &[LayerSpread]) -> Self {
        let heads = self.kv_shape().heads();
        let places = self.shipped_layers.iter().filter_map(|layer| self.kv_layers.binary_search(layer).ok());
        self.kv_steps = kv_steps(spread, heads).of_layers(places, heads);
        self
    }

    /// KV bytes of one position in all blocks that this node runs.
    pub fn kv_bytes_per_position(&self) -> u64 {
        self.kv_layers.len() as u64 * self.kv_shape().bytes_per_token()
    }

    /// Most positions that one request can fill: the smaller of what the model allows and what the pool holds.
    pub fn positions_max(&self, pool: &KvPool) -> u32 {
        let held = pool.blocks() * BLOCK_POSITIONS;
        u32::try_from(held.min(self.model.max_positions)).unwrap_or(u32::MAX)
    }

    /// Cost of shipping under each transfer policy that is possible on this node; empty unless it is a prefill node.
    fn ship_costs(&self) -> Vec<v1::ShipCost> {
        if self.role != v1::Role::Prefill {
            return Vec::new();
        }
        let plan = self.plan.as_deref();
        let possible = TransferPolicy::ALL.into_iter().filter(|policy| policy.is_possible_with(plan));
        possible.map(|policy| cost::of(policy, plan, self.kv_shape(), &self.shipped_layers)).collect()
    }

    /// The identity as a message, with the load of this moment. A router fits prompts, their replays and answers into
    /// the most that the pool can hold (`max_positions`), so a small pool shortens answers instead of refusing them.
    pub fn describe(&self, pool: &KvPool, load: v1::Load, draining: bool) -> v1::NodeDescription {
        let vision = self.model.vision.as_ref();
        v1::NodeDescription {
            node_id: self.node_id.clone(),
            instance_id: self.instance_id.clone(),
            role: self.role as i32,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_version: PROTOCOL_VERSION,
            model_name: self.model_name.clone(),
            model_fingerprint: self.model.fingerprint.clone(),
            tokenizer_digest: self.tokenizer_digest.clone(),
            plan_id: self.plan_id.clone(),
            max_positions: self.positions_max(pool),
            vocab: self.model.vocab as u32,
            visual_tokens_per_image: vision.map_or(0, |vision| vision.tokens_per_image as u32),
            visual_tokens_vary: vision.is_some_and(|vision| vision.varies),
            image_token_id: vision.map_or(0, |vision| vision.image_token_id),
            stop_token_ids: self.model.eos_token_ids.clone(),
            load: Some(load),
            draining,
            recommended_visual: Some(visual::policy_to_proto(self.recommended_visual)),
            recommended_visual_several: Some(visual::policy_to_proto(self.recommended_visual_several)),
            host_id: self.host_id.clone(),
            kv_dtype: self.kv_shape().dtype.to_proto() as i32,
            recommended_transfer: self.recommended_transfer.map_or(0, |policy| policy.to_proto()),
            ship_costs: self.ship_costs(),
            tiered: self.tiered.policy.to_proto(),
            tiered_evidence: self.tiered.evidence.clone(),
            unix_ms: unix_ms(SystemTime::now()),
        }
    }
}

/// Milliseconds since 1970; 0 for an earlier time, which only a wrong clock gives.
pub fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
