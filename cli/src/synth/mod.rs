//! `secateur synth`: a checkpoint of a real shape whose weights are random numbers, to measure with.
//!
//! ```text
//! arguments.rs   the command line
//! preset.rs      the shapes, with their published configurations in presets/
//! dialect.rs     special tokens and chat template of each family
//! tensors/       the tensors of a configuration, and how each is filled
//! numbers.rs     fast random numbers
//! shards.rs      safetensors files: place of each tensor, and the header
//! stream.rs      tensors to a file, in constant memory
//! tokenizer.rs   a tokenizer of the right size: one token for each byte, the rest fillers
//! companions.rs  the JSON files beside the weights
//! place.rs       the folder: free space, and which files may be replaced
//! written.rs     the result
//! report.rs      output
//! ```

mod arguments;
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
mod written;

use std::{process::ExitCode, time::Instant};

use crate::usage;
pub use arguments::SynthArguments;
use preset::Preset;
use report::Progress;
use written::Written;

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
