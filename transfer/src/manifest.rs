//! The manifest of a shipment: everything that the receiver must check before it leases memory.

use secateur_proto::v1;
use secateur_pruning::pdtrim::Plan;

use bytes::Bytes;

use crate::{
    FORMAT_VERSION,
    codec::{Codec, Grain, KvSteps, LayerCoding, Layout},
    dtype::DType,
    policy::{Extent, TransferPolicy},
    refusal::Refusal,
    span::{CodedSpan, Part, TokenSpan, are_well_formed, part_positions, parts},
};

/// Most layers that a manifest may list: far above any checkpoint, low enough to bound the memory that an untrusted
/// sender can make a receiver use.
const LAYERS_MAX: usize = 1_024;
/// Most spans that a layer may list.
const SPANS_MAX: usize = 4_096;
/// Most values of K of one position in one layer (`kv_heads x head_dim`).
const WIDTH_MAX: u64 = 1 << 15;
/// Bytes of a block's key: a digest of the rows that the block was computed from.
pub const KEY_BYTES: usize = 32;

/// Shape of KV. Number and width of heads must be the same on both nodes; dtypes may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Number of key/value heads.
    pub kv_heads: u32,
    /// Width of a head, in values.
    pub head_dim: u32,
    /// Format of a value.
    pub dtype: DType,
}

impl KvShape {
    /// Bytes of K and V of one token in one layer.
    pub fn bytes_per_token(&self) -> u64 {
        2 * u64::from(self.kv_heads) * u64::from(self.head_dim) * self.dtype.size_bytes() as u64
    }

    /// Number of key/value heads, and their width.
    pub fn heads(&self) -> (usize, usize) {
        (self.kv_heads as usize, self.head_dim as usize)
    }

    /// Layout of the values of one position.
    pub fn layout(&self) -> Layout {
        Layout { width: self.kv_heads as usize * self.head_dim as usize, dtype: self.dtype }
    }
}

/// Sender and request of a shipment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// Id of the request's epoch.
    pub epoch: String,
    /// Number of the request's attempt.
    pub attempt: u32,
    /// Fingerprint of the model that computed the KV.
    pub model_fingerprint: String,
    /// Id of the pruning plan in force; empty if there is none.
    pub plan_id: String,
}

/// One layer of a shipment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerEntry {
    /// Index of the block in the checkpoint.
    pub layer: u32,
    /// Shipped token spans, ascending and disjoint.
    pub spans: Vec<CodedSpan>,
}

impl LayerEntry {
    /// Number of shipped tokens.
    pub fn tokens(&self) -> u64 {
        self.spans.iter().map(|coded| u64::from(coded.span.len())).sum()
    }

    /// The grain of the layer's lossy spans, the same for all of them; `None` if it has none.
    fn grain(&self) -> Option<Grain> {
        self.grains().next()
    }

    fn grains(&self) -> impl Iterator<Item = Grain> + '_ {
        self.spans.iter().filter_map(|coded| match coded.codec {
            Codec::Native => None,
            Codec::Steps(grain) => Some(grain),
        })
    }
}

/// The parts of a layer, and the progress of their shipment.
pub(crate) struct LayerParts {
    /// Coding state that the layer's parts share.
    pub coding: LayerCoding,
    /// Index of the block in the checkpoint.
    pub layer: u32,
    /// The parts, in order.
    pub parts: Vec<Part>,
    /// Index of the next part that is due.
    pub next: usize,
}

/// Keys of the prompt's full KV blocks: for each, a digest of all rows up to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockKeys {
    /// Positions of a block; 0 if there are no keys.
    pub positions: u32,
    /// The keys, [`KEY_BYTES`] for each block, in order.
    pub keys: Bytes,
}

impl BlockKeys {
    /// The keys, one by one.
    pub fn iter(&self) -> impl Iterator<Item = [u8; KEY_BYTES]> + '_ {
        self.keys.as_chunks::<KEY_BYTES>().0.iter().copied()
    }

    /// Whether there is a whole number of keys, and their blocks fit into `positions`.
    fn fit(&self, positions: u32) -> bool {
        let blocks = self.keys.len() / KEY_BYTES;
        let covered = (blocks as u64).saturating_mul(self.positions.into());
        let is_whole = self.keys.len().is_multiple_of(KEY_BYTES);
        is_whole && (blocks == 0 || self.positions > 0) && covered <= positions.into()
    }
}

/// A well-formed manifest. Whether it is the expected one is checked in [`crate::receive`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Sender and request of the shipment.
    pub parties: Parties,
    /// Transfer policy of the shipment.
    pub policy: TransferPolicy,
    /// Positions that the shipment fills.
    pub extent: Extent,
    /// Shape of every layer's KV, and the dtype of losslessly shipped values.
    pub shape: KvShape,
    /// The shipped layers, ascending.
    pub layers: Vec<LayerEntry>,
    /// Rotary position of the token after the shipped positions.
    pub next_position: u32,
    /// Keys by which the receiver finds the blocks that it has already.
    pub keys: BlockKeys,
    /// Quantization steps of the layers' channels at grain 0; empty if nothing is shipped with loss.
    pub steps: KvSteps,
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
        Self {
            parties,
            policy,
            extent,
            shape,
            layers,
            next_position: extent.positions,
            keys: BlockKeys::default(),
            steps: KvSteps::default(),
        }
    }

    /// This manifest with another next rotary position, for prompts whose rotary positions are not simply counted
    /// (M-RoPE).
    pub fn with_next_position(mut self, next_position: u32) -> Self {
        self.next_position = next_position;
        self
    }

    /// This manifest with the quantization steps of its layers' channels, if anything is shipped with loss.
    pub fn with_steps(mut self, steps: &KvSteps) -> Self {
        let is_lossy = self.layers.iter().any(|entry| entry.grain().is_some());
        self.steps = if is_lossy { steps.clone() } else { KvSteps::default() };
        self
    }

    /// This manifest with the keys of its blocks.
    pub fn with_keys(mut self, keys: BlockKeys) -> Self {
        self.keys = keys;
        self
    }

    /// Bytes of all spans as values of the manifest's dtype.
    pub fn total_bytes(&self) -> u64 {
        self.layers.iter().map(|entry| entry.tokens() * self.shape.bytes_per_token()).sum()
    }

    /// Number of positions between two cuts of the spans.
    pub fn part_positions(&self) -> u32 {
        part_positions(self.shape.bytes_per_token())
    }

    /// The parts of every layer, without the first `held` positions. Sender and receiver both derive them here, so that
    /// they cut alike.
    pub(crate) fn layer_parts(&self, held: u32) -> Vec<LayerParts> {
        let every = self.part_positions();
        let heads = self.shape.heads();
        let of = |(place, entry): (usize, &LayerEntry)| LayerParts {
            coding: LayerCoding::new(&self.steps, place, heads, entry.grain()),
            layer: entry.layer,
            parts: parts(&entry.spans, every, held),
            next: 0,
        };
        self.layers.iter().enumerate().map(of).collect()
    }

    /// The manifest as a message.
    pub fn to_proto(&self) -> v1::Manifest {
        let span = |coded: &CodedSpan| {
            let (codec, grain) = coded.codec.to_proto();
            v1::TokenSpan { start: coded.span.start, end: coded.span.end, codec: codec as i32, grain }
        };
        let layer =
            |entry: &LayerEntry| v1::LayerEntry { layer: entry.layer, spans: entry.spans.iter().map(span).collect() };
        v1::Manifest {
            version: FORMAT_VERSION,
            epoch: Some(v1::Epoch { id: self.parties.epoch.clone(), attempt: self.parties.attempt }),
            model_fingerprint: self.parties.model_fingerprint.clone(),
            plan_id: self.parties.plan_id.clone(),
            policy: self.policy.to_proto(),
            prompt_positions: self.extent.prompt,
            positions: self.extent.positions,
            kv_heads: self.shape.kv_heads,
            head_dim: self.shape.head_dim,
            layers: self.layers.iter().map(layer).collect(),
            total_bytes: self.total_bytes(),
            next_position: self.next_position,
            dtype: self.shape.dtype.to_proto() as i32,
            block_keys: self.keys.keys.clone(),
            key_positions: self.keys.positions,
            steps: self.steps.as_bytes().clone(),
        }
    }

    /// Reads and validates a message. Unknown versions and tags, and inconsistent fields, are refused.
    pub fn from_proto(message: v1::Manifest) -> Result<Self, Refusal> {
        if message.version != FORMAT_VERSION {
            return Err(Refusal::UnknownVersion);
        }
        let malformed = Refusal::MalformedManifest;
        let epoch = message.epoch.ok_or(malformed)?;
        let policy = TransferPolicy::from_proto(message.policy).ok_or(malformed)?;
        let dtype = DType::from_proto(message.dtype).ok_or(malformed)?;
        let width = u64::from(message.kv_heads) * u64::from(message.head_dim);
        if message.layers.len() > LAYERS_MAX || width == 0 || width > WIDTH_MAX {
            return Err(malformed);
        }
        let keys = BlockKeys { positions: message.key_positions, keys: message.block_keys };
        let extent = Extent { prompt: message.prompt_positions, positions: message.positions };
        if extent.prompt > extent.positions || !keys.fit(extent.positions) {
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
            keys,
            steps: KvSteps::from_bytes(message.steps),
        };
        if !manifest.steps.is_empty() && !manifest.steps.fit(manifest.layers.len(), manifest.shape.heads()) {
            return Err(malformed);
        }
        let ascending = manifest.layers.windows(2).all(|pair| pair[0].layer < pair[1].layer);
        if !ascending || manifest.checked_total() != Some(message.total_bytes) || message.total_bytes == 0 {
            return Err(malformed);
        }
        Ok(manifest)
    }

    /// [`Manifest::total_bytes`] with overflow checks, for numbers from an untrusted sender.
    fn checked_total(&self) -> Option<u64> {
        let tokens: u64 = self.layers.iter().map(LayerEntry::tokens).sum();
        tokens.checked_mul(self.shape.bytes_per_token())
    }
}

fn layer_from_proto(message: &v1::LayerEntry, positions: u32) -> Option<LayerEntry> {
    if message.spans.len() > SPANS_MAX {
        return None;
    }
    let coded = |span: &v1::TokenSpan| {
        let codec = Codec::from_proto(span.codec, span.grain)?;
        Some(CodedSpan { span: TokenSpan { start: span.start, end: span.end }, codec })
    };
    let spans: Vec<_> = message.spans.iter().map(coded).collect::<Option<_>>()?;
    let entry = LayerEntry { layer: message.layer, spans };
    let has_one_grain = entry.grains().all(|grain| Some(grain) == entry.grain());
    (has_one_grain && are_well_formed(&entry.spans, positions)).then_some(entry)
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
            positions: u32, kv_heads: u32, head_dim: u32, total_bytes: u64, policy: i32, dtype in -1..5, codec in -1..8,
            start: u32, end: u32, key_positions: u32, grain in 0u32..50,
        ) {
            let mut message = sample(3, &[0, 1]).to_proto();
            message.positions = positions;
            message.kv_heads = kv_heads;
            message.head_dim = head_dim;
            message.total_bytes = total_bytes;
            message.policy = policy;
            message.key_positions = key_positions;
            message.dtype = dtype;
            message.layers[1].spans[0] = v1::TokenSpan { start, end, codec, grain };
            message.steps = vec![1; grain as usize].into();
            let _ = Manifest::from_proto(message);
        }
    }

    #[test]
    fn what_is_inconsistent_is_refused() {
        let edits: [fn(&mut v1::Manifest); 14] = [
            |m| m.prompt_positions = m.positions + 1,
            |m| m.epoch = None,
            |m| m.policy = 99,
            |m| m.layers.clear(),
            |m| m.dtype = 0,
            |m| m.layers[1].spans[0].codec = 0,
            |m| m.block_keys = vec![0; 31].into(),
            |m| m.block_keys = vec![0; 32].into(),
            |m| (m.block_keys, m.key_positions) = (vec![0; 64].into(), 2),
            |m| m.layers[1].layer = 0,
            |m| m.layers[0].spans[0].end = 99,
            |m| m.total_bytes += 1,
            |m| m.kv_heads = 0,
            |m| m.steps = vec![128; 7].into(),
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
