//! What `secateur synth` prints: the result on standard output, progress on standard error.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{SynthArguments, Written};
use crate::up::report::progress;

const EVERY_ON_A_TERMINAL: Duration = Duration::from_millis(200);
const EVERY_ELSEWHERE: Duration = Duration::from_secs(5);

/// How far the weights are.
pub struct Progress {
    total: u64,
    done: u64,
    started: Instant,
    shown: Instant,
    is_terminal: bool,
}

impl Progress {
    /// Of so many bytes.
    pub fn new(total: u64) -> Progress {
        let now = Instant::now();
        Progress { total, done: 0, started: now, shown: now, is_terminal: stderr().is_terminal() }
    }

    /// So many more are written.
    pub fn wrote(&mut self, bytes: u64) {
        self.done += bytes;
        let every = if self.is_terminal { EVERY_ON_A_TERMINAL } else { EVERY_ELSEWHERE };
        let is_last = self.done == self.total && self.is_terminal;
        if self.shown.elapsed() < every && !is_last {
            return;
        }
        self.shown = Instant::now();
        let percent = self.done * 100 / self.total.max(1);
        let rate = self.done as f64 / 1e6 / self.started.elapsed().as_secs_f64().max(1e-9);
        let line = format!("{percent} % of {}, {rate:.0} MB/s", size(self.total));
        if self.is_terminal {
            // One line that is written over. Nobody may be watching any more, which is no reason to stop.
            let _ = write!(stderr(), "\rsecateur: {line}   {}", if is_last { "\n" } else { "" });
        } else {
            progress(&line);
        }
    }
}

/// One JSON document.
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

/// The same for a person.
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

/// Bytes for a person, in the disk's units of thousands.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
