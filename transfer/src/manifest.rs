//! The manifest: everything that the receiver must agree to before it takes memory.

use secateur_proto::v1;
use secateur_pruning::pdtrim::Plan;

use crate::{
    FORMAT_VERSION,
    dtype::DType,
    policy::{Extent, TransferPolicy},
    refusal::Refusal,
    span::{TokenSpan, are_well_formed},
};

/// Most layers a manifest may list: far above any checkpoint, low enough to bound what a stranger makes us store.
const LAYERS_MAX: usize = 1_024;
/// Most spans a layer may list.
const SPANS_MAX: usize = 4_096;

/// KV geometry that both nodes must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Key/value heads.
    pub kv_heads: u32,
    /// Values per head.
    pub head_dim: u32,
    /// How a value is stored.
    pub dtype: DType,
}

impl KvShape {
    /// K and V of one token in one layer.
    pub fn bytes_per_token(&self) -> u64 {
        2 * u64::from(self.kv_heads) * u64::from(self.head_dim) * self.dtype.size_bytes() as u64
    }
}

/// Who made a shipment, and for which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// The request.
    pub epoch: String,
    /// Which try of it.
    pub attempt: u32,
    /// The model that made the KV.
    pub model_fingerprint: String,
    /// The pruning plan in force; empty: none.
    pub plan_id: String,
}

/// One layer of a shipment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerEntry {
    /// Index of the block in the checkpoint.
    pub layer: u32,
    /// Token spans shipped, ascending and disjoint.
    pub spans: Vec<TokenSpan>,
}

impl LayerEntry {
    /// Tokens shipped.
    pub fn tokens(&self) -> u64 {
        self.spans.iter().map(|span| u64::from(span.len())).sum()
    }
}

/// A well-formed manifest. Whether it fits a receiver is [`crate::receive`]'s question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Who and for what.
    pub parties: Parties,
    /// Under which policy.
    pub policy: TransferPolicy,
    /// Positions that the shipment fills.
    pub extent: Extent,
    /// Geometry of every layer.
    pub shape: KvShape,
    /// Layers in the order they come.
    pub layers: Vec<LayerEntry>,
    /// The rotary position of the token behind the prompt.
    pub next_position: u32,
}

impl Manifest {
    /// The manifest of a prompt's shipment under `policy` and `plan`.
    pub fn new(
        parties: Parties,
        (policy, plan): (TransferPolicy, Option<&Plan>),
        extent: Extent,
        shape: KvShape,
        layers: &[u32],
    ) -> Self {
        let entry = |&layer| LayerEntry { layer, spans: policy.spans(plan, layer, extent) };
        let layers = layers.iter().map(entry).collect();
        Self { parties, policy, extent, shape, layers, next_position: extent.positions }
    }

    /// The same for a prompt whose rotary positions are not simply counted (M-RoPE).
    pub fn with_next_position(mut self, next_position: u32) -> Self {
        self.next_position = next_position;
        self
    }

    /// Payload bytes of one of its layers.
    pub fn layer_bytes(&self, entry: &LayerEntry) -> u64 {
        entry.tokens() * self.shape.bytes_per_token()
    }

    /// Payload bytes of all layers.
    pub fn total_bytes(&self) -> u64 {
        self.layers.iter().map(|entry| self.layer_bytes(entry)).sum()
    }

    /// As a message.
    pub fn to_proto(&self) -> v1::Manifest {
        let span = |span: &TokenSpan| v1::TokenSpan { start: span.start, end: span.end };
        let layer = |entry: &LayerEntry| v1::LayerEntry {
            layer: entry.layer,
            dtype: self.shape.dtype.to_proto() as i32,
            spans: entry.spans.iter().map(span).collect(),
        };
        v1::Manifest {
            version: FORMAT_VERSION,
            epoch: Some(v1::Epoch { id: self.parties.epoch.clone(), attempt: self.parties.attempt }),
            model_fingerprint: self.parties.model_fingerprint.clone(),
            plan_id: self.parties.plan_id.clone(),
            policy: self.policy.to_proto() as i32,
            prompt_positions: self.extent.prompt,
            positions: self.extent.positions,
            kv_heads: self.shape.kv_heads,
            head_dim: self.shape.head_dim,
            layers: self.layers.iter().map(layer).collect(),
            total_bytes: self.total_bytes(),
            next_position: self.next_position,
        }
    }

    /// From a message: unknown versions and tags, and everything inconsistent in itself, are refused.
    pub fn from_proto(message: v1::Manifest) -> Result<Self, Refusal> {
        if message.version != FORMAT_VERSION {
            return Err(Refusal::UnknownVersion);
        }
        let malformed = Refusal::MalformedManifest;
        let epoch = message.epoch.ok_or(malformed)?;
        let policy = TransferPolicy::from_proto(message.policy).ok_or(malformed)?;
        let dtype = message.layers.first().and_then(|layer| DType::from_proto(layer.dtype)).ok_or(malformed)?;
        if message.layers.len() > LAYERS_MAX
            || message.layers.iter().any(|layer| layer.dtype != dtype.to_proto() as i32)
        {
            return Err(malformed);
        }
        let extent = Extent { prompt: message.prompt_positions, positions: message.positions };
        if extent.prompt > extent.positions {
            return Err(malformed);
        }
        let positions = extent.positions;
        let layers: Option<Vec<_>> = message.layers.iter().map(|layer| layer_from_proto(layer, positions)).collect();
        let manifest = Manifest {
            parties: Parties {
                epoch: epoch.id,
                attempt: epoch.attempt,
                model_fingerprint: message.model_fingerprint,
                plan_id: message.plan_id,
            },
            policy,
            extent,
            shape: KvShape { kv_heads: message.kv_heads, head_dim: message.head_dim, dtype },
            layers: layers.ok_or(malformed)?,
            next_position: message.next_position,
        };
        let ascending = manifest.layers.windows(2).all(|pair| pair[0].layer < pair[1].layer);
        if !ascending || manifest.checked_total() != Some(message.total_bytes) || message.total_bytes == 0 {
            return Err(malformed);
        }
        Ok(manifest)
    }

    /// [`Manifest::total_bytes`] for numbers that a stranger chose.
    fn checked_total(&self) -> Option<u64> {
        let per_token = (2 * self.shape.dtype.size_bytes() as u64)
            .checked_mul(u64::from(self.shape.kv_heads))?
            .checked_mul(u64::from(self.shape.head_dim))?;
        let tokens: u64 = self.layers.iter().map(LayerEntry::tokens).sum();
        tokens.checked_mul(per_token)
    }
}

fn layer_from_proto(message: &v1::LayerEntry, positions: u32) -> Option<LayerEntry> {
    let spans: Vec<_> = message.spans.iter().map(|span| TokenSpan { start: span.start, end: span.end }).collect();
    let is_valid = spans.len() <= SPANS_MAX && are_well_formed(&spans, positions);
    is_valid.then_some(LayerEntry { layer: message.layer, spans })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample(positions: u32, layers: &[u32]) -> Manifest {
        let parties = Parties { epoch: "e".into(), attempt: 1, model_fingerprint: "f".into(), plan_id: String::new() };
        let shape = KvShape { kv_heads: 2, head_dim: 4, dtype: DType::F32 };
        let extent = Extent { prompt: positions, positions };
        Manifest::new(parties, (TransferPolicy::Dense, None), extent, shape, layers)
    }

    proptest! {
        #[test]
        fn round_trips(positions in 1u32..5_000, layers in prop::collection::btree_set(0u32..80, 1..40)) {
            let manifest = sample(positions, &layers.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(Manifest::from_proto(manifest.to_proto()), Ok(manifest));
        }

        #[test]
        fn strange_numbers_never_panic(
            positions: u32, kv_heads: u32, head_dim: u32, total_bytes: u64, policy: i32, dtype: i32, start: u32, end: u32,
        ) {
            let mut message = sample(3, &[0, 1]).to_proto();
            message.positions = positions;
            message.kv_heads = kv_heads;
            message.head_dim = head_dim;
            message.total_bytes = total_bytes;
            message.policy = policy;
            message.layers[1].dtype = dtype;
            message.layers[1].spans[0] = v1::TokenSpan { start, end };
            let _ = Manifest::from_proto(message);
        }
    }

    #[test]
    fn what_is_inconsistent_is_refused() {
        let edits: [fn(&mut v1::Manifest); 9] = [
            |m| m.prompt_positions = m.positions + 1,
            |m| m.epoch = None,
            |m| m.policy = 99,
            |m| m.layers.clear(),
            |m| m.layers[1].dtype = 0,
            |m| m.layers[1].layer = 0,
            |m| m.layers[0].spans[0].end = 99,
            |m| m.total_bytes += 1,
            |m| m.kv_heads = 0,
        ];
        for (index, edit) in edits.iter().enumerate() {
            let mut message = sample(3, &[0, 1]).to_proto();
            edit(&mut message);
            assert_eq!(Manifest::from_proto(message), Err(Refusal::MalformedManifest), "edit {index}");
        }
        let mut newer = sample(3, &[0]).to_proto();
        newer.version += 1;
        assert_eq!(Manifest::from_proto(newer), Err(Refusal::UnknownVersion));
    }
}
