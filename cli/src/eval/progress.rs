//! Progress of one combination.

use crate::{console, progress};

/// Counter of answered cases, and of the right ones.
pub struct Progress {
    shown: progress::Progress,
    label: String,
    total: usize,
    done: usize,
    right: usize,
}

impl Progress {
    /// Progress over `total` cases.
    pub fn new(label: &str, total: usize) -> Progress {
        let shown = progress::Progress::of(label, total as u64);
        Progress { shown, label: label.to_owned(), total, done: 0, right: 0 }
    }

    /// Counts one more answered case.
    pub fn add(&mut self, is_right: bool) {
        self.done += 1;
        self.right += usize::from(is_right);
        self.shown.set(self.done as u64, &format!("{} right", self.right));
    }

    /// Prints the final line, when all cases are answered.
    pub fn end(self) {
        let line = format!(
            "{}: {} of {} right, {:.1} s",
            self.label,
            self.right,
            self.total,
            self.shown.elapsed().as_secs_f64()
        );
        drop(self.shown);
        console::progress(&line);
    }

    /// Prints a separate line beside the progress bar.
    pub fn say(&self, line: &str) {
        self.shown.say(line);
    }
}
