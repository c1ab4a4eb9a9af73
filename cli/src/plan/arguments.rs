//! The command line of `secateur plan`.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use secateur_model::calibrate::Distillation;
use secateur_pruning::pdtrim::{Rule, TierRule, concentration::Family};

use crate::client::visual::{Visual, parse_visual};

/// Arguments of `secateur plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArguments {
    /// Checkpoint, a folder or a GGUF file [default: the demo checkpoint in this binary]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Folder to write the plan to; a search that was cut off goes on from what it left there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Blocks that prefill leaves out
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub prefill_remove: usize,
    /// Blocks that decode leaves out; under the published rule all that prefill does, and more
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub decode_remove: usize,
    /// How the two sets relate: subset (published: decode leaves out all that prefill does) or relaxed (prefill still
    /// computes keys and values of blocks that only decode runs)
    #[arg(long, value_name = "RULE", default_value = "subset")]
    rule: RuleName,
    /// What stands in for removed blocks: linear (a linear map), merged (the block before with new weights, trained to do
    /// the work of both, where that block runs; a map elsewhere), none, or auto (of each stage whichever has the lowest
    /// loss on calibration cases that no fit saw)
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub repair: RepairChoice,
    /// Gradient steps that train each merged block
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub merge_steps: u32,
    /// Largest learning rate of these steps [default: by the width of the model]
    #[arg(long, value_name = "LR", value_parser = parse_rate)]
    pub merge_rate: Option<f64>,
    /// Share of a prompt's tokens that selected layers send under the transfer policy pdtrim
    #[arg(long, value_name = "R", default_value_t = 0.1, value_parser = parse_share)]
    pub kv_keep: f64,
    /// Times fewer KV bytes, against all blocks and tokens, that pdtrim is to reach; decides how many layers are selected.
    /// 0: none is [default: 4.95, or none where the calibration prompts are too short for it]
    #[arg(long, value_name = "X", value_parser = parse_ratio)]
    pub kv_ratio: Option<f64>,
    /// Select the layers with at least this share of attention on first and last tokens instead: a number, or SimLayerKV's
    /// for a family: llama2 (0.65), llama3 (0.9), mistral (0.8), qwen (0.85)
    #[arg(long, value_name = "THETA", conflicts_with = "kv_ratio", value_parser = parse_threshold)]
    pub kv_threshold: Option<f64>,
    /// Share of the kept tokens that are first ones
    #[arg(long, value_name = "PHI", default_value_t = 0.5)]
    pub kv_phi: f64,
    /// First tokens that are always sent
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub kv_first_min: usize,
    /// Last tokens that are always sent
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub kv_last_min: usize,
    /// How precisely `tiered` sends: first and last tokens as they are, bits of a value between (2 to 10 in quarters, or 16),
    /// the same in selected layers; such as 2,4,4.5,3 [default: what the transfer layer was measured with]
    #[arg(long, value_name = "FIRST,LAST,BITS,BITS", value_parser = parse_tiers)]
    pub tiers: Option<TierRule>,
    /// Cases to calibrate on, as for `secateur eval` [default: every fourth case of the checkpoint's own suite]
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Cases used at most, taken evenly
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(4..=65_536))]
    pub samples: u32,
    /// Whose answers calibration is on: suite (the cases'), or own (what the whole model itself says to each prompt, so that
    /// cases need no answer, and what is lost is lost against the whole model)
    #[arg(long, value_name = "WHOSE", default_value = "suite")]
    pub answers: Answers,
    /// Tokens of an own answer at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub answer_tokens: u32,
    /// Rows that a calibration case's prompt may have, visual tokens that are kept included; longer ones are left out
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Visual pruning of the calibration prompts, such as coverage:0.111 [default: what the checkpoint's card recommends]
    #[arg(long, value_name = "METHOD[:KEEP]", value_parser = parse_visual)]
    pub visual: Option<Visual>,
    /// First of the search's seeds; the same seed gives the same plan
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Searches, each with a seed of its own; the best wins
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub seeds: u32,
    /// Swaps that each search proposes
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub steps: u32,
    /// Memory for residual streams, so that a set is measured from its first changed block on
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub cache_memory: ByteSize,
    /// Format of weights and KV: f32, bf16 or f16 [default: f32]
    #[arg(long, value_name = "FORMAT", default_value = "f32")]
    pub dtype: String,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub threads: Option<u32>,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
    /// What to log, as tracing directives
    #[arg(long, default_value = "warn", env = "SECATEUR_LOG")]
    pub log: String,
}

/// Name of a [`Rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RuleName {
    Subset,
    Relaxed,
}

/// Source of the answers that calibration uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Answers {
    /// The cases'.
    Suite,
    /// The whole model's own.
    Own,
}

/// Replacement for removed blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RepairChoice {
    /// Whichever helps most.
    Auto,
    /// Linear maps.
    Linear,
    /// Merged blocks where they are possible, linear maps elsewhere.
    Merged,
    /// Nothing.
    None,
}

impl PlanArguments {
    /// Training parameters of merged blocks.
    pub fn distillation(&self) -> Distillation {
        let steps = self.merge_steps as usize;
        Distillation { steps, rate: self.merge_rate, seed: self.seed, ..Distillation::default() }
    }

    /// Relation of the two removal sets.
    pub fn rule(&self) -> Rule {
        match self.rule {
            RuleName::Subset => Rule::Subset,
            RuleName::Relaxed => Rule::Relaxed,
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if rate > 0.0 && rate <= 1.0 { Ok(rate) } else { Err("must be above 0 and at most 1".to_owned()) }
}

fn parse_threshold(text: &str) -> Result<f64, String> {
    let family = match text {
        "llama2" => Some(Family::Llama2),
        "llama3" => Some(Family::Llama3),
        "mistral" => Some(Family::Mistral),
        "qwen" => Some(Family::Qwen),
        _ => None,
    };
    match family.map(Family::theta).or_else(|| text.parse().ok()).filter(|theta| (0.0..=1.0).contains(theta)) {
        Some(theta) => Ok(theta),
        None => Err("must be a number from 0 to 1, or llama2, llama3, mistral or qwen".to_owned()),
    }
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if ratio >= 0.0 && ratio.is_finite() { Ok(ratio) } else { Err("must be 0 or above".to_owned()) }
}

fn parse_tiers(text: &str) -> Result<TierRule, String> {
    let wrong = || "must be four numbers: first tokens, last tokens, bits, bits of selected layers".to_owned();
    let fields: Vec<&str> = text.split(',').collect();
    let [first, last, middle, selected] = fields[..] else { return Err(wrong()) };
    let tokens = |text: &str| text.parse().map_err(|_| wrong());
    let bits = |text: &str| {
        let bits: f64 = text.parse().map_err(|_| wrong())?;
        if TierRule::has(bits) { Ok(bits) } else { Err(format!("{bits} bits: must be 2 to 10 in quarters, or 16")) }
    };
    Ok(TierRule {
        first: tokens(first)?,
        last: tokens(last)?,
        middle_bits: bits(middle)?,
        selected_bits: bits(selected)?,
    })
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("must be above 0 and at most 1".to_owned()) }
}
