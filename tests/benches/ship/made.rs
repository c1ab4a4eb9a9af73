//! Generated KV with the shape of Llama-3.2-1B's, made without a model.

use std::sync::Arc;

use half::bf16;
use secateur_model::{BlockTable, FloatType, KvPool, ModelInfo, blocks_for};
use secateur_node::{Grammars, Identity, Precision};
use secateur_proto::v1;
use secateur_pruning::VisualPolicy;
use secateur_transfer::codec::{KvSteps, steps::Notch};

/// Number of blocks with KV.
const LAYERS: usize = 16;
const KV_HEADS: usize = 8;
const HEAD_DIM: usize = 64;
/// Positions of one shipment, which is 128 MiB of bf16.
pub const POSITIONS: usize = 4_096;
/// Number of positions whose values are drawn; they repeat after that.
const DRAWN: usize = 128;

/// Bytes of a shipment before coding.
pub const SHIPMENT_BYTES: u64 = (2 * LAYERS * KV_HEADS * HEAD_DIM * POSITIONS * 2) as u64;

/// Identity of the node that ships or receives.
pub fn identity(role: v1::Role) -> Arc<Identity> {
    let layers: Vec<u32> = (0..LAYERS as u32).collect();
    Arc::new(Identity {
        node_id: "bench".into(),
        instance_id: String::new(),
        role,
        model_name: "made".into(),
        model: ModelInfo {
            layers: LAYERS,
            hidden: 2_048,
            heads: 32,
            kv_heads: KV_HEADS,
            head_dim: HEAD_DIM,
            vocab: 128_256,
            max_positions: 131_072,
            dtype: FloatType::Bf16,
            fingerprint: "made".into(),
            architecture: "LlamaForCausalLM".into(),
            eos_token_ids: vec![],
            vision: None,
        },
        kv_layers: layers.clone(),
        shipped_layers: layers,
        plan_id: String::new(),
        plan: None,
        tokenizer_digest: String::new(),
        recommended_visual: VisualPolicy::KEEP_ALL,
        recommended_visual_several: VisualPolicy::KEEP_ALL,
        host_id: "bench".into(),
        recommended_transfer: None,
        tiered: Precision { policy: secateur_transfer::TransferPolicy::Tiered, evidence: String::new() },
        // Steps that fit the values that `plane` draws: without any, everything would be shipped unquantised.
        kv_steps: KvSteps::new(LAYERS, (KV_HEADS, HEAD_DIM), |_, _, _| Notch::nearest(4.0), |_, _| Notch::nearest(4.0)),
        grammars: Arc::new(Grammars::new(std::path::Path::new(""), None)),
    })
}

/// A pool for one shipment and an answer's first block, with all its memory already touched.
pub fn pool() -> KvPool {
    let pool = KvPool::of_shape(FloatType::Bf16, KV_HEADS, HEAD_DIM, LAYERS, blocks_for(POSITIONS + 1)).unwrap();
    let mut table = BlockTable::new(&pool);
    table.grow(pool.lease(pool.blocks()).unwrap());
    let zeros = vec![0; table.capacity() * KV_HEADS * HEAD_DIM * 2];
    (0..LAYERS).for_each(|slot| table.write_layer(slot, 0, &zeros, &zeros).unwrap());
    pool
}

/// K or V of a layer: numbers around zero, and for keys some channels with large values at every position.
pub fn plane(slot: usize, is_key: bool) -> Vec<u8> {
    let width = KV_HEADS * HEAD_DIM;
    let mut state = 1 + 2 * slot as u64 + u64::from(is_key);
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let drawn: Vec<u8> = (0..DRAWN * width)
        .flat_map(|at| {
            let around = if is_key && at % 16 == 3 { 6.0 } else { 0.0 };
            // The sum of three uniform numbers is approximately normal.
            bf16::from_f32(around + 2.0 * (uniform() + uniform() + uniform())).to_le_bytes()
        })
        .collect();
    drawn.repeat(POSITIONS / DRAWN)
}
