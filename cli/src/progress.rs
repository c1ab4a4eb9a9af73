//! Progress of a task: a bar on a terminal, an occasional line elsewhere. It is always written to standard error, so
//! that a command's output stays clean.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console;

/// Time between lines if standard error is not a terminal; on a terminal the bar limits its own rate.
const EVERY: Duration = Duration::from_secs(10);
// Parts that a narrow terminal may cut off come last.
const COUNTED: &str = "secateur: {prefix} [{bar:24}] {pos} of {len}, {eta} left{wide_msg}";
const WAITED: &str = "secateur: {spinner} {prefix}, {elapsed}{wide_msg}";

/// Progress of one task.
pub struct Progress {
    bar: ProgressBar,
    label: String,
    plain: Plain,
    is_terminal: bool,
}

/// State for the lines that replace the bar if standard error is not a terminal.
struct Plain {
    started: Instant,
    shown: Instant,
    /// Total number of steps; 0 if unknown.
    total: u64,
}

impl Progress {
    /// Progress over `total` steps.
    pub fn of(label: impl Into<String>, total: u64) -> Self {
        Self::new(label.into(), total, COUNTED)
    }

    /// Progress of a task whose total is unknown.
    pub fn waiting(label: impl Into<String>) -> Self {
        let waiting = Self::new(label.into(), 0, WAITED);
        waiting.bar.enable_steady_tick(Duration::from_millis(120));
        waiting
    }

    fn new(label: String, total: u64, template: &str) -> Self {
        let is_terminal = stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("#>."));
        }
        bar.set_prefix(label.clone());
        let now = Instant::now();
        Self { bar, label, plain: Plain { started: now, shown: now, total }, is_terminal }
    }

    /// Sets the number of steps done; `how` is an additional remark, and may be empty.
    pub fn set(&mut self, done: u64, how: &str) {
        if self.is_terminal {
            self.bar.set_position(done);
            self.bar.set_message(if how.is_empty() { String::new() } else { format!(", {how}") });
        } else if self.plain.shown.elapsed() >= EVERY && (self.plain.total == 0 || done < self.plain.total) {
            self.plain.shown = Instant::now();
            console::progress(&line(&self.label, done, self.plain.total, how, self.plain.started.elapsed()));
        }
    }

    /// Prints a separate line beside the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| console::progress(line));
    }

    /// Time since the task began.
    pub fn elapsed(&self) -> Duration {
        self.plain.started.elapsed()
    }
}

impl Drop for Progress {
    /// Removes the bar.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn line(label: &str, done: u64, total: u64, how: &str, elapsed: Duration) -> String {
    let how = if how.is_empty() { String::new() } else { format!(", {how}") };
    if total == 0 {
        return format!("{label}{how}, {} s", elapsed.as_secs());
    }
    let left = match done {
        0 => String::new(),
        done => format!(", {:.0} s left", elapsed.as_secs_f64() / done as f64 * total.saturating_sub(done) as f64),
    };
    format!("{label}: {done} of {total}{how}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_long() {
        let ten = Duration::from_secs(10);
        assert_eq!(line("dense", 5, 20, "4 right", ten), "dense: 5 of 20, 4 right, 30 s left");
        assert_eq!(line("dense", 0, 20, "", ten), "dense: 0 of 20");
        assert_eq!(line("loading", 0, 0, "1 of 3 ready", ten), "loading, 1 of 3 ready, 10 s");
    }

    #[test]
    fn both_styles_are_understood() {
        for template in [COUNTED, WAITED] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
