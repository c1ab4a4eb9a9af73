//! The fields of `plan.json`, unchecked: a [`Plan`](super::plan::Plan) is a document that passed all checks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    block_set::BlockSet,
    retention::{self, Retention, RetentionError},
    search::StageLog,
};

/// The format that this build reads and writes.
pub const FORMAT: u32 = 1;

/// The content of `plan.json`. Unknown fields are refused, so that a misspelt rule is not silently ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanDocument {
    /// Format number, [`FORMAT`].
    pub format: u32,
    /// Identity of the checkpoint, computed by `secateur_model::fingerprint`.
    pub model_fingerprint: String,
    /// Number of transformer blocks of the checkpoint.
    pub layers: usize,
    /// The samples that the plan was computed on.
    pub calibration: Calibration,
    /// Relation of the two removal sets.
    pub rule: Rule,
    /// Blocks that prefill drops.
    #[serde(default)]
    pub prefill: Stage,
    /// Blocks that decode drops.
    #[serde(default)]
    pub decode: Stage,
    /// Layers that send first and last tokens only, ascending; a layer that is not listed sends all tokens.
    #[serde(default)]
    pub kv: Vec<KvRule>,
    /// Precision of the policy `tiered`; `None` for the transfer layer's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TierRule>,
    /// Scores that the choices were made from.
    #[serde(default)]
    pub scores: Scores,
    /// Log of the searches for the removal sets.
    #[serde(default)]
    pub search: SearchLog,
}

/// Calibration samples. \[P\] 256 of PIQA and MMLU; \[R\] 128 of each, drawn by `seed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Human-readable name.
    pub name: String,
    /// Digest of the samples, in hexadecimal.
    pub digest: String,
    /// Number of samples.
    pub samples: usize,
    /// Seed that drew them, and the first seed of the search.
    pub seed: u64,
}

/// Relation of the two removal sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// \[P\] Decode drops every block that prefill drops, so every block that decode keeps has keys and values.
    Subset,
    /// Our rule: prefill may drop a block that decode keeps, and then still computes that block's keys and values from
    /// the incoming residual stream.
    Relaxed,
}

/// One of the two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// The prompt and the first token.
    Prefill,
    /// Generated tokens after the first.
    Decode,
}

impl fmt::Display for StageKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            StageKind::Prefill => "prefill",
            StageKind::Decode => "decode",
        })
    }
}

/// The blocks that one stage drops.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Dropped blocks, ascending.
    pub removed: Vec<Removed>,
}

impl Stage {
    /// A stage that drops `blocks`, each with the repair that `repair` returns for it.
    pub fn dropping(blocks: BlockSet, mut repair: impl FnMut(usize) -> Repair) -> Self {
        Self { removed: blocks.iter().map(|layer| Removed { layer, repair: repair(layer) }).collect() }
    }
}

/// A dropped block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    /// Index of the block in the checkpoint.
    pub layer: usize,
    /// Replacement for the block.
    #[serde(default)]
    pub repair: Repair,
}

/// Replacement for a dropped block. Tensors are in `plan.safetensors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Repair {
    /// No replacement: the residual stream passes unchanged.
    #[default]
    None,
    /// A linear map beside the residual connection, `h_{l+1} = h_l + D h_l`, fitted by ridge least squares.
    Linear {
        /// Name of `D`, `[hidden outputs, hidden inputs]`.
        tensor: String,
    },
    /// New weights for a neighbour, which does the work of both: of the pair, the block `with` runs and this one does
    /// not.
    Merged {
        /// The neighbour that runs, `layer - 1` or `layer + 1`, which the same stage keeps.
        with: usize,
        /// Name prefix of the neighbour's weights; the rest of each name is as in the checkpoint's block.
        tensors: String,
    },
}

/// The rule for one layer that sends first and last tokens only. See [`retention`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvRule {
    /// A block that decode keeps.
    pub layer: usize,
    /// Keep ratio `r`, (0, 1].
    pub keep: f64,
    /// Share of first tokens among the kept tokens, \[0, 1\].
    #[serde(default = "phi")]
    pub phi: f64,
    /// Minimum number of first tokens.
    #[serde(default = "first_min")]
    pub first_min: usize,
    /// Minimum number of last tokens; 1 or more.
    #[serde(default = "last_min")]
    pub last_min: usize,
}

impl KvRule {
    /// The published rule with \[R\] our minimums.
    pub fn new(layer: usize, keep: f64) -> Self {
        Self { layer, keep, phi: phi(), first_min: first_min(), last_min: last_min() }
    }

    /// The checked rule; an error if its numbers are out of range.
    pub fn retention(&self) -> Result<Retention, RetentionError> {
        Retention::new(self.keep, self.phi, self.first_min, self.last_min)
    }
}

/// Precision of sent KV: first and last tokens unquantised, those in between with a few bits per value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierRule {
    /// Number of first tokens that are sent unquantised.
    pub first: u32,
    /// Number of last tokens that are sent unquantised.
    pub last: u32,
    /// Approximate bits per value of the tokens in between: 2 to 10 in quarters, or 16 for unquantised.
    pub middle_bits: f64,
    /// Approximate bits per value of the tokens in between, for the layers that `kv` lists.
    pub selected_bits: f64,
}

impl TierRule {
    /// Whether `bits` is a supported number of bits.
    pub fn has(bits: f64) -> bool {
        bits == 16.0 || ((2.0..=10.0).contains(&bits) && (bits * 4.0).fract() == 0.0)
    }
}

fn phi() -> f64 {
    retention::PHI
}

fn first_min() -> usize {
    retention::FIRST_MIN
}

fn last_min() -> usize {
    retention::LAST_MIN
}

/// Scores that the choices were made from: one value per block of the checkpoint, or an empty list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scores {
    /// `s_l` on prefill's tokens.
    pub prefill_similarity: Vec<f64>,
    /// `s_l` on decode's tokens.
    pub decode_similarity: Vec<f64>,
    /// `d_T`, the similarity that separates the pruning set from the distillation set.
    pub distill_threshold: Option<f64>,
    /// `c_l`, the attention mass on first and last tokens.
    pub concentration: Vec<f64>,
}

/// Log of the searches for the removal sets; `None` for a set that was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchLog {
    /// Prefill's search.
    pub prefill: Option<StageLog>,
    /// Decode's search.
    pub decode: Option<StageLog>,
}
