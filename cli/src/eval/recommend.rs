//! `--recommend`: finds the smallest setting that loses nothing on a suite, and writes it into the checkpoint's card.
//!
//! A setting passes if no family of cases has an accuracy below dense by more than the interval of the difference, and,
//! for settings of precision, if the divergence from dense and the share of the same answers are within their bounds.
//! More bits, or more tokens, are assumed to lose no more than fewer, so the smallest setting that passes is found by
//! bisection.

use std::{fs, path::Path};

use anyhow::Context;
use secateur_model::CARD_FILE;
use serde_json::{Value, json};

use super::{arguments::EvalArguments, combination::Combination, figures::Figures, findings::Findings, group::Kind};
use crate::console::progress;

/// Bits to try, ascending.
pub const BITS: [f64; 14] = [2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 9.0, 10.0];
/// Shares of visual tokens to try, ascending.
pub const KEEPS: [f64; 6] = [0.111, 0.2, 0.333, 0.5, 0.667, 0.8];
/// Largest loss of accuracy by pruning pictures that is acceptable in any family.
const LOSS_MAX: f64 = 0.01;

/// The smallest settings that a suite allows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recommendation {
    /// Bits of `tiered`; `None` if not even the largest number of bits passes.
    pub bits: Option<f64>,
    /// Share of visual tokens; `None` if there are no pictures, or no share below 1 passes.
    pub keep: Option<f64>,
    /// The measurement that the bits are based on.
    pub evidence: String,
}

/// Bisection for the smallest of ascending settings that passes, where every larger setting passes too.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    low: usize,
    high: usize,
}

impl Search {
    /// A search among `count` settings.
    pub fn among(count: usize) -> Search {
        Search { low: 0, high: count }
    }

    /// Index of the setting to try next; `None` if the search is finished.
    pub fn next(&self) -> Option<usize> {
        (self.low < self.high).then_some((self.low + self.high) / 2)
    }

    /// Records the result of a setting.
    pub fn tried(&mut self, at: usize, passes: bool) {
        if passes { self.high = at } else { self.low = at + 1 }
    }

    /// Index of the first setting that passes; the number of settings if none does.
    pub fn found(&self) -> usize {
        self.high
    }
}

/// Whether the combination that was measured last loses nothing.
pub fn passes(findings: &Findings<'_>, arguments: &EvalArguments) -> bool {
    let Some((reference, measured)) = findings.reference().zip(findings.measured.last()) else { return false };
    let figures = |measured, group| -> Figures { findings.row(measured, group).figures };
    // What differs from the reference is either the precision or the share of visual tokens.
    let is_precision = measured.combination.visual == Combination::reference().visual;
    // Each group's figures take thousands of resamples, so they are only computed for the deciding groups.
    findings.groups.iter().all(|group| match group.kind {
        Kind::All if is_precision => is_close(&figures(measured, group), arguments),
        Kind::All => figures(measured, group).failed == 0,
        Kind::Family if is_precision => !is_below(&figures(measured, group)),
        Kind::Family => figures(measured, group).accuracy >= figures(reference, group).accuracy - LOSS_MAX,
        Kind::Detail | Kind::Depth(_) => true,
    })
}

fn is_close(all: &Figures, arguments: &EvalArguments) -> bool {
    let kl = all.kl.as_ref().map_or(f64::INFINITY, |kl| kl.kl);
    let same = all.same.as_ref().map_or(0.0, |same| same.same);
    all.failed == 0 && kl <= arguments.kl_max && same >= arguments.same_min
}

/// Whether a family's accuracy is below dense by more than the interval of the difference.
fn is_below(family: &Figures) -> bool {
    family.relative.as_ref().is_some_and(|relative| relative.relative_high < 1.0)
}

/// Writes the recommendation into the card and keeps the card's other fields.
pub fn write(recommendation: &Recommendation, checkpoint: &Path) -> anyhow::Result<()> {
    let folder = secateur_gguf::companions(checkpoint).context("the checkpoint has no folder for its card")?;
    let file = folder.join(CARD_FILE);
    let mut card: Value = match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({"format": 1}),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    if let Some(bits) = recommendation.bits {
        card["transfer"] = json!({"bits": bits, "evidence": recommendation.evidence});
    }
    if let Some(keep) = recommendation.keep {
        let advice = json!({"method": Combination::keeping(keep).visual.method, "keep": keep});
        card["visual"].clone_from(&advice);
        card["visual_several"] = advice;
    }
    let text = serde_json::to_string_pretty(&card)?;
    // The file is replaced atomically, because a node may start meanwhile.
    let mut new = tempfile::NamedTempFile::new_in(&folder)?;
    std::io::Write::write_all(&mut new, format!("{text}\n").as_bytes())?;
    new.persist(&file).with_context(|| format!("cannot write {}", file.display()))?;
    progress(&format!("written to {}", file.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::{arguments, findings};

    #[test]
    fn the_smallest_that_passes_is_found() {
        for count in 0..12 {
            for first in 0..=count {
                let (mut search, mut tries) = (Search::among(count), 0);
                while let Some(at) = search.next() {
                    search.tried(at, at >= first);
                    tries += 1;
                }
                assert_eq!(search.found(), first);
                assert!(tries <= 4, "{tries} of {count}");
            }
        }
    }

    #[test]
    fn what_fails_or_loses_does_not_pass() {
        let arguments = arguments(&["--suite", "s.jsonl"]);
        let mut found = findings(&arguments, 0.0);
        assert!(!passes(&found, &arguments), "a request failed");
        found.measured.pop();
        // The reference compared with itself, but without a measured divergence.
        assert!(!passes(&found, &arguments));
    }

    #[test]
    fn a_card_keeps_what_it_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let recommendation = Recommendation { bits: Some(4.5), keep: Some(0.2), evidence: "because".to_owned() };
        fs::write(
            dir.path().join(CARD_FILE),
            r#"{"format": 1, "sample": {"image": "a", "prompt": "p", "answer": "b"}}"#,
        )
        .unwrap();
        write(&recommendation, dir.path()).unwrap();
        let card = secateur_model::Card::read(dir.path()).unwrap().unwrap();
        assert_eq!(card.transfer.map(|advice| (advice.bits, advice.evidence)), Some((4.5, "because".to_owned())));
        assert_eq!(card.visual_several.map(|advice| advice.keep), Some(0.2));
        assert!(card.sample.is_some());
        fs::remove_file(dir.path().join(CARD_FILE)).unwrap();
        write(&Recommendation { bits: Some(6.0), ..Recommendation::default() }, dir.path()).unwrap();
        assert!(secateur_model::Card::read(dir.path()).unwrap().unwrap().visual.is_none());
    }
}
