//! Estimate of the bytes that shipping a prompt takes, before it is shipped.

use secateur_proto::v1;
use secateur_pruning::pdtrim::Plan;

use crate::{
    codec::coded_bytes,
    manifest::KvShape,
    policy::{Extent, TransferPolicy},
    span::{CodedSpan, part_positions, parts},
};

/// Prompt lengths, in positions, through whose costs the line of [`of`] is drawn.
const SHORT: u32 = 512;
const LONG: u32 = 4_096;

/// Bytes of a prompt of `positions` positions under `policy`, without framing. Lossless packing may make them fewer;
/// parts that fall back to the raw form make them more.
pub fn bytes(policy: TransferPolicy, plan: Option<&Plan>, shape: KvShape, layers: &[u32], positions: u32) -> u64 {
    let every = part_positions(shape.bytes_per_token());
    let extent = Extent { prompt: positions, positions };
    let of = |spans: &[CodedSpan]| -> u64 {
        let parts = parts(spans, every, 0);
        parts.iter().map(|part| coded_bytes(shape.layout(), part.codec, part.span.len() as usize) as u64).sum()
    };
    layers.iter().map(|&layer| of(&policy.spans(plan, layer, extent))).sum()
}

/// The cost in bytes as a linear function of the prompt's length, through the costs of a short and a long prompt.
pub fn of(policy: TransferPolicy, plan: Option<&Plan>, shape: KvShape, layers: &[u32]) -> v1::ShipCost {
    let at = |positions| bytes(policy, plan, shape, layers, positions) as f64;
    let bytes_per_position = (at(LONG) - at(SHORT)) / f64::from(LONG - SHORT);
    let fixed_bytes = at(SHORT) - bytes_per_position * f64::from(SHORT);
    v1::ShipCost { policy: policy.to_proto(), fixed_bytes, bytes_per_position }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn a_line_is_near_for_other_lengths() {
        let shape = KvShape { kv_heads: 8, head_dim: 64, dtype: DType::Bf16 };
        let layers: Vec<u32> = (0..16).collect();
        for policy in [TransferPolicy::Dense, TransferPolicy::Tiered] {
            let cost = of(policy, None, shape, &layers);
            for positions in [200, 1_000, 8_000] {
                let exact = bytes(policy, None, shape, &layers, positions) as f64;
                let line = cost.fixed_bytes + cost.bytes_per_position * f64::from(positions);
                assert!((line / exact - 1.0).abs() < 0.1, "{policy} {positions}: {line} {exact}");
            }
        }
        let dense = of(TransferPolicy::Dense, None, shape, &layers);
        assert!((dense.bytes_per_position / 32_768.0 - 1.0).abs() < 0.001);
    }
}
