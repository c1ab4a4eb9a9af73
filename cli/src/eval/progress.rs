//! How far a combination is: one line that is written over on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use crate::up::report::progress;

const EVERY_ON_A_TERMINAL: Duration = Duration::from_millis(200);
const EVERY_ELSEWHERE: Duration = Duration::from_secs(10);

/// Counts cases.
pub struct Progress {
    label: String,
    total: usize,
    done: usize,
    right: usize,
    started: Instant,
    shown: Instant,
    is_terminal: bool,
}

impl Progress {
    /// Of so many cases.
    pub fn new(label: &str, total: usize) -> Progress {
        let now = Instant::now();
        let (label, is_terminal) = (label.to_owned(), stderr().is_terminal());
        Progress { label, total, done: 0, right: 0, started: now, shown: now, is_terminal }
    }

    /// One more is answered.
    pub fn add(&mut self, is_right: bool) {
        self.done += 1;
        self.right += usize::from(is_right);
        let every = if self.is_terminal { EVERY_ON_A_TERMINAL } else { EVERY_ELSEWHERE };
        if self.shown.elapsed() < every || self.done == self.total {
            return;
        }
        self.shown = Instant::now();
        let left = self.started.elapsed().div_f64(self.done as f64).mul_f64((self.total - self.done) as f64);
        let line =
            format!("{}: {} of {}, {} right, {} s left", self.label, self.done, self.total, self.right, left.as_secs());
        if self.is_terminal {
            // Nobody may be watching any more, which is no reason to stop.
            let _ = write!(stderr(), "\rsecateur: {line}   ");
        } else {
            progress(&line);
        }
    }

    /// All are answered.
    pub fn end(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.say(&format!("{}: {} of {} right, {seconds:.1} s", self.label, self.right, self.total));
    }

    /// A line of its own, in place of the one that is written over.
    pub fn say(&self, line: &str) {
        if self.is_terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
        progress(line);
    }
}
