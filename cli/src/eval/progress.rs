//! How far a combination is.

use crate::{progress, up::report};

/// Counts cases, and those that are right.
pub struct Progress {
    shown: progress::Progress,
    label: String,
    total: usize,
    done: usize,
    right: usize,
}

impl Progress {
    /// Of so many cases.
    pub fn new(label: &str, total: usize) -> Progress {
        let shown = progress::Progress::of(label, total as u64);
        Progress { shown, label: label.to_owned(), total, done: 0, right: 0 }
    }

    /// One more is answered.
    pub fn add(&mut self, is_right: bool) {
        self.done += 1;
        self.right += usize::from(is_right);
        self.shown.set(self.done as u64, &format!("{} right", self.right));
    }

    /// All are answered.
    pub fn end(self) {
        let line = format!(
            "{}: {} of {} right, {:.1} s",
            self.label,
            self.right,
            self.total,
            self.shown.elapsed().as_secs_f64()
        );
        drop(self.shown);
        report::progress(&line);
    }

    /// A line of its own beside it.
    pub fn say(&self, line: &str) {
        self.shown.say(line);
    }
}
