//! What `plan.json` says, field by field. Unchecked: a [`Plan`](super::plan::Plan) is a document that holds together.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    block_set::BlockSet,
    retention::{self, Retention, RetentionError},
    search::StageLog,
};

/// The format that this build reads and writes.
pub const FORMAT: u32 = 1;

/// `plan.json`. A field that is not here is refused, so that a misspelt rule is not silently none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanDocument {
    /// [`FORMAT`].
    pub format: u32,
    /// Identity of the checkpoint, as `secateur_model::fingerprint` gives it.
    pub model_fingerprint: String,
    /// Transformer blocks of the checkpoint.
    pub layers: usize,
    /// The samples that the plan was computed on.
    pub calibration: Calibration,
    /// How the two removal sets relate.
    pub rule: Rule,
    /// What prefill drops.
    #[serde(default)]
    pub prefill: Stage,
    /// What decode drops.
    #[serde(default)]
    pub decode: Stage,
    /// Layers that send first and last tokens only, ascending; a layer that is not listed sends all.
    #[serde(default)]
    pub kv: Vec<KvRule>,
    /// How precisely the policy `tiered` sends; without it, as the transfer layer does by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TierRule>,
    /// What the choices were made from.
    #[serde(default)]
    pub scores: Scores,
    /// How the removal sets were found.
    #[serde(default)]
    pub search: SearchLog,
}

/// Calibration samples. \[P\] 256 of PIQA and MMLU; \[R\] 128 of each, drawn by `seed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Name for people.
    pub name: String,
    /// Digest of the samples, in hexadecimal.
    pub digest: String,
    /// Number of samples.
    pub samples: usize,
    /// Seed that drew them, and the first seed of the search.
    pub seed: u64,
}

/// How the two removal sets relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// \[P\] Decode drops all that prefill drops, so every block that decode keeps has keys and values.
    Subset,
    /// Ours: prefill may drop a block that decode keeps, and then still computes that block's keys and values, from the
    /// residual that comes in.
    Relaxed,
}

/// One of the two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// The prompt.
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

/// What one stage drops.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Dropped blocks, ascending.
    pub removed: Vec<Removed>,
}

impl Stage {
    /// Drops `blocks`, each with the repair that `repair` gives it.
    pub fn dropping(blocks: BlockSet, mut repair: impl FnMut(usize) -> Repair) -> Self {
        Self { removed: blocks.iter().map(|layer| Removed { layer, repair: repair(layer) }).collect() }
    }
}

/// A dropped block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    /// Its index in the checkpoint.
    pub layer: usize,
    /// What stands in its place.
    #[serde(default)]
    pub repair: Repair,
}

/// What stands in a dropped block's place. Tensors are in `plan.safetensors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Repair {
    /// Nothing: the residual passes unchanged.
    #[default]
    None,
    /// A linear map beside the residual, `h_{l+1} = h_l + D h_l`, fitted by ridge least squares.
    Linear {
        /// Name of `D`, `[hidden outputs, hidden inputs]`.
        tensor: String,
    },
    /// The neighbour's new weights do the work of both: of the pair, the block `with` runs, and this one does not.
    Merged {
        /// The neighbour that runs, `layer - 1` or `layer + 1`, kept by the same stage.
        with: usize,
        /// Prefix of the names of its weights; after it they are named as in the checkpoint's block.
        tensors: String,
    },
}

/// First and last tokens only, for one layer. See [`retention`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvRule {
    /// A block that decode keeps.
    pub layer: usize,
    /// Keep ratio `r`, (0, 1].
    pub keep: f64,
    /// Share of the kept tokens that are first ones, \[0, 1\].
    #[serde(default = "phi")]
    pub phi: f64,
    /// First tokens at least.
    #[serde(default = "first_min")]
    pub first_min: usize,
    /// Last tokens at least; 1 or more.
    #[serde(default = "last_min")]
    pub last_min: usize,
}

impl KvRule {
    /// The published rule with \[R\] our minimums.
    pub fn new(layer: usize, keep: f64) -> Self {
        Self { layer, keep, phi: phi(), first_min: first_min(), last_min: last_min() }
    }

    /// The rule, if its numbers are in range.
    pub fn retention(&self) -> Result<Retention, RetentionError> {
        Retention::new(self.keep, self.phi, self.first_min, self.last_min)
    }
}

/// How precisely KV is sent: first and last tokens as they are, those between with a few bits a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierRule {
    /// First tokens that are sent as they are.
    pub first: u32,
    /// Last tokens that are sent as they are.
    pub last: u32,
    /// Bits of a value between, about: 2 to 10 in quarters, or 16 for as it is.
    pub middle_bits: f64,
    /// The same in layers that `kv` lists.
    pub selected_bits: f64,
}

impl TierRule {
    /// Whether there are so many bits.
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

/// What the choices were made from: one value per block of the checkpoint, or none at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scores {
    /// `s_l` on prefill's tokens.
    pub prefill_similarity: Vec<f64>,
    /// `s_l` on decode's tokens.
    pub decode_similarity: Vec<f64>,
    /// `d_T`, which split the blocks.
    pub distill_threshold: Option<f64>,
    /// `c_l`.
    pub concentration: Vec<f64>,
}

/// How the removal sets were found; `None` where they were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchLog {
    /// Prefill's search.
    pub prefill: Option<StageLog>,
    /// Decode's search.
    pub decode: Option<StageLog>,
}
