//! Output of `secateur synth`: the result on standard output, progress on standard error.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use serde_json::json;

use super::{arguments::SynthArguments, written::Written};
use crate::progress;

/// Progress of writing the weights.
pub struct Progress {
    shown: progress::Progress,
    total: u64,
    done: u64,
}

impl Progress {
    /// Progress over `total` bytes.
    pub fn new(total: u64) -> Progress {
        Progress { shown: progress::Progress::of("writing, percent", 100), total, done: 0 }
    }

    /// Counts bytes that were written.
    pub fn wrote(&mut self, bytes: u64) {
        self.done += bytes;
        let rate = self.done as f64 / 1e6 / self.shown.elapsed().as_secs_f64().max(1e-9);
        let percent = self.done * 100 / self.total.max(1);
        self.shown.set(percent, &format!("of {}, {rate:.0} MB/s", size(self.total)));
    }
}

/// Prints one JSON document.
pub fn json(arguments: &SynthArguments, written: &Written) -> serde_json::Result<()> {
    let document = json!({
        "out": arguments.out,
        "preset": arguments.preset,
        "dtype": arguments.dtype.name(),
        "seed": arguments.seed,
        "parameters": written.parameters,
        "bytes": written.bytes,
        "weight_files": written.weight_files,
        "seconds": written.seconds,
    });
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}

/// Prints the result for a person.
pub fn text(arguments: &SynthArguments, written: &Written) {
    let rate = written.bytes as f64 / 1e6 / written.seconds.max(1e-9);
    println!(
        "{}: {} in {}, {:.3} billion parameters, {} in {} weight file(s), {:.1} s ({rate:.0} MB/s)",
        arguments.out.display(),
        arguments.preset,
        arguments.dtype.name(),
        written.parameters as f64 / 1e9,
        size(written.bytes),
        written.weight_files,
        written.seconds,
    );
    println!("next: secateur up --model {}", arguments.out.display());
}

/// Formats bytes for a person, in the disk's decimal units.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
