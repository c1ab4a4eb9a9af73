//! Bytes of a prompt's shipment under each policy, and its time on a link.

use anyhow::Context;
use secateur_model::{FloatType, ModelInfo};
use secateur_node::{NodePlan, advice::recommended_visual};
use secateur_pruning::pdtrim::Plan;
use secateur_transfer::{DType, KvShape, TransferPolicy, cost};
use serde::Serialize;

use super::{DoctorArguments, before_start};
use crate::usage::usage;

/// A prompt of a checkpoint, as it would be shipped.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The checkpoint folder's name.
    pub model: String,
    /// Number of tokens that are shipped: text, and the visual tokens that are kept.
    pub positions: u32,
    /// Number of visual tokens among them.
    pub visual: u32,
    shape: KvShape,
    /// Blocks whose KV is shipped to decode.
    layers: Vec<u32>,
    plan: Option<NodePlan>,
}

/// A prompt's shipment under one policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shipment {
    /// The policy's name.
    pub policy: &'static str,
    /// Number of payload bytes.
    pub bytes: u64,
    /// Time on the link: payload over the link's rate, plus a round trip.
    pub seconds: f64,
}

impl Prompt {
    /// The prompt that the arguments describe, from the checkpoint's configuration alone.
    pub fn of(arguments: &DoctorArguments) -> anyhow::Result<Self> {
        let dir = before_start::checkpoint_unless_given(arguments.model.as_deref())?;
        let is_demo = arguments.model.is_none();
        // The demo is served in f32 unless another format is requested.
        let dtype = arguments.dtype.or(is_demo.then_some(FloatType::F32));
        let info = ModelInfo::read(&dir, dtype)
            .with_context(|| format!("--model: cannot read the checkpoint in {}", dir.display()))?;
        let plan = NodePlan::of(arguments.plan.as_deref(), &dir).context("--plan")?;
        let visual = visual_tokens(arguments, &info, recommended_visual(&dir)?)?;
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let sends = |layer: &u32| plan.as_ref().is_none_or(|plan| plan.plan.sends(*layer as usize));
        Ok(Self {
            model: name.unwrap_or_else(|| "model".to_owned()),
            positions: arguments.prompt_len.saturating_add(visual),
            visual,
            shape: shape(&info),
            layers: (0..info.layers as u32).filter(sends).collect(),
            plan,
        })
    }

    /// Bytes of K and V of one token in all blocks that are shipped.
    pub fn bytes_per_token(&self) -> u64 {
        self.layers.len() as u64 * self.shape.bytes_per_token()
    }

    /// Shipments under every possible policy, on a link with the given rate in Mbit/s and round trip in milliseconds.
    pub fn shipments(&self, mbit_s: f64, round_trip_ms: f64) -> Vec<Shipment> {
        let plan = self.plan.as_ref().map(|plan| &*plan.plan);
        let possible = TransferPolicy::ALL.into_iter().filter(|policy| policy.is_possible_with(plan));
        let shipment = |policy: TransferPolicy| {
            let bytes = self.bytes(policy, plan);
            let seconds = bytes as f64 * 8.0 / 1e6 / mbit_s.max(1e-9) + round_trip_ms / 1e3;
            Shipment { policy: policy.as_str(), bytes, seconds }
        };
        possible.map(shipment).collect()
    }

    fn bytes(&self, policy: TransferPolicy, plan: Option<&Plan>) -> u64 {
        cost::bytes(policy, plan, self.shape, &self.layers, self.positions)
    }
}

/// Number of visual tokens kept of all pictures.
fn visual_tokens(
    arguments: &DoctorArguments,
    info: &ModelInfo,
    (one, several): (secateur_pruning::VisualPolicy, secateur_pruning::VisualPolicy),
) -> anyhow::Result<u32> {
    if arguments.images == 0 {
        return Ok(0);
    }
    let Some(vision) = &info.vision else {
        return Err(usage(format!("--images: {} takes no pictures", info.architecture)));
    };
    let keep = if arguments.images == 1 { one.keep() } else { several.keep() };
    let kept = (vision.tokens_per_image as f64 * keep).round();
    Ok((f64::from(arguments.images) * kept) as u32)
}

fn shape(info: &ModelInfo) -> KvShape {
    let dtype = match info.dtype {
        FloatType::F32 => DType::F32,
        FloatType::Bf16 => DType::Bf16,
        FloatType::F16 => DType::F16,
    };
    KvShape { kv_heads: info.kv_heads as u32, head_dim: info.head_dim as u32, dtype }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A prompt for Llama-3.1-8B: 32 blocks of 8 heads of 128 in bf16, 128 KiB per token.
    pub fn prompt() -> Prompt {
        Prompt {
            model: "llama".to_owned(),
            positions: 2_048,
            visual: 0,
            shape: KvShape { kv_heads: 8, head_dim: 128, dtype: DType::Bf16 },
            layers: (0..32).collect(),
            plan: None,
        }
    }

    #[test]
    fn a_configuration_says_what_a_loaded_checkpoint_does() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
        let options = secateur_model::LoadOptions { dtype: Some(FloatType::F32), ..Default::default() };
        let loaded = secateur_model::Model::load(&dir, &options).unwrap();
        assert_eq!(ModelInfo::read(&dir, Some(FloatType::F32)).unwrap(), *loaded.info());
    }

    #[test]
    fn a_dense_shipment_is_all_of_it_over_the_rate() {
        let prompt = prompt();
        assert_eq!(prompt.bytes_per_token(), 128 << 10);
        let shipments = prompt.shipments(1_000.0, 10.0);
        let dense = shipments.iter().find(|shipment| shipment.policy == TransferPolicy::Dense.as_str()).unwrap();
        // One byte states the format of each part of 128 positions of each of 32 layers.
        assert_eq!(dense.bytes, (256 << 20) + 16 * 32);
        assert!((dense.seconds - (268.435_968 * 8.0 / 1_000.0 + 0.01)).abs() < 1e-9, "{dense:?}");
        assert!(shipments.iter().all(|shipment| shipment.bytes <= dense.bytes));
    }
}
