//! The command line of `secateur synth`.

use std::path::PathBuf;

use clap::Args;
use secateur_model::FloatType;

use super::preset;

/// Arguments of `secateur synth`.
#[derive(Debug, Args)]
pub struct SynthArguments {
    /// Whose shape to take
    #[arg(long, value_name = "NAME", value_parser = preset::names())]
    pub preset: String,
    /// Format of the weights: bf16, f16 or f32
    #[arg(long, value_name = "FORMAT", default_value = "bf16", value_parser = parse_dtype)]
    pub dtype: FloatType,
    /// Folder to write, which must be empty or not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Replace a checkpoint that is there
    #[arg(long)]
    pub force: bool,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

fn parse_dtype(text: &str) -> Result<FloatType, String> {
    FloatType::from_name(text).ok_or_else(|| format!("`{text}` is none of bf16, f16, f32"))
}
