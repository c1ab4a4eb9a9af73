//! `secateur synth`: a checkpoint of a real shape whose weights are random numbers, to measure with.
//!
//! ```text
//! preset.rs      the shapes, with their published configurations in presets/
//! dialect.rs     special tokens and chat template of each family
//! tensors/       the tensors of a configuration, and how each is filled
//! numbers.rs     fast random numbers
//! shards.rs      safetensors files: place of each tensor, and the header
//! stream.rs      tensors to a file, in constant memory
//! tokenizer.rs   a tokenizer of the right size: one token for each byte, the rest fillers
//! companions.rs  the JSON files beside the weights
//! place.rs       the folder: free space, and which files may be replaced
//! report.rs      output
//! ```

mod companions;
mod dialect;
mod numbers;
mod place;
mod preset;
mod report;
mod shards;
mod stream;
mod tensors;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Args;
use secateur_model::FloatType;

use crate::usage;
use preset::Preset;
use report::Progress;

/// Arguments of `secateur synth`.
#[derive(Debug, Args)]
pub struct SynthArguments {
    /// Whose shape to take
    #[arg(long, value_name = "NAME", value_parser = preset::names())]
    preset: String,
    /// Format of the weights: bf16, f16 or f32
    #[arg(long, value_name = "FORMAT", default_value = "bf16", value_parser = parse_dtype)]
    dtype: FloatType,
    /// Folder to write, which must be empty or not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Replace a checkpoint that is there
    #[arg(long)]
    force: bool,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Facts about the written checkpoint.
#[derive(Debug, PartialEq)]
struct Written {
    parameters: u64,
    bytes: u64,
    weight_files: usize,
    seconds: f64,
}

/// Runs the command.
pub fn run(arguments: SynthArguments) -> ExitCode {
    usage::finish(start(&arguments))
}

fn start(arguments: &SynthArguments) -> anyhow::Result<()> {
    let preset = preset::named(&arguments.preset)?;
    let written = write(&preset, arguments)?;
    if arguments.json {
        report::json(arguments, &written)?
    } else {
        report::text(arguments, &written)
    }
    Ok(())
}

fn write(preset: &Preset, arguments: &SynthArguments) -> anyhow::Result<Written> {
    let started = Instant::now();
    let tensors = tensors::of(&preset.config)?;
    let parameters = tensors.iter().map(tensors::Tensor::len).sum();
    let shards = shards::plan(tensors, arguments.dtype, shards::BYTES_MAX);
    let companions = companions::of(preset, arguments.dtype)?;
    let weight_bytes: u64 = shards.iter().map(|shard| shard.bytes).sum();
    place::prepare(&arguments.out, arguments.force, weight_bytes + companions.bytes())?;
    let mut progress = Progress::new(weight_bytes);
    let mut bytes = stream::weights(&arguments.out, &shards, arguments.dtype, arguments.seed, &mut progress)?;
    // The weights come first: without config.json a folder is no checkpoint, so an interrupted one is never used.
    bytes += companions.write(&arguments.out)?;
    Ok(Written { parameters, bytes, weight_files: shards.len(), seconds: started.elapsed().as_secs_f64() })
}

fn parse_dtype(text: &str) -> Result<FloatType, String> {
    FloatType::from_name(text).ok_or_else(|| format!("`{text}` is none of bf16, f16, f32"))
}
