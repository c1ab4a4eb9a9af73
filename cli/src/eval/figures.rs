//! A combination's figures for a group of cases: one row of the JSON document.

use serde::Serialize;

use super::{
    case_run::Outcome,
    combination_run::Measured,
    divergence::Divergence,
    group::Group,
    receipt::Receipt,
    statistics::{Estimate, mean_over, relative, wilson},
};

/// One row; names and meaning are those of the documented JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub visual: String,
    /// Requested keep share; null leaves the choice to the router.
    pub keep: Option<f64>,
    pub transfer: String,
    /// Id of the pruning plan in force; empty if there is none.
    pub plan: String,
    /// The plan's folder, as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_dir: Option<String>,
    pub tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<f64>,
    #[serde(flatten)]
    pub figures: Figures,
}

/// Figures computed from the outcomes alone.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Number of cases, failed ones included.
    pub n: usize,
    /// Number of cases without an answer; they count as wrong, and as different from the reference's answer.
    pub failed: usize,
    /// Number of cases that say what is right; accuracy is computed over them.
    pub judged: usize,
    pub accuracy: f64,
    pub accuracy_low: f64,
    pub accuracy_high: f64,
    /// Share of answers that equal the reference's word for word; absent without a reference.
    #[serde(flatten)]
    pub same: Option<Same>,
    /// Divergence of the next token's distribution from the reference's along its answers; absent if it was not
    /// measured.
    #[serde(flatten)]
    pub kl: Option<Kl>,
    /// Accuracy divided by the reference's on the same cases; absent without a reference or if its accuracy is 0.
    #[serde(flatten)]
    pub relative: Option<Relative>,
    #[serde(flatten)]
    pub cost: Cost,
}

/// Relative accuracy under the report's names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Relative {
    pub relative: f64,
    pub relative_low: f64,
    pub relative_high: f64,
}

/// Share of same answers under the report's names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Same {
    pub same: f64,
    pub same_low: f64,
    pub same_high: f64,
}

/// Mean Kullback-Leibler divergence from the reference's distribution, nats a token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kl {
    pub kl: f64,
    pub kl_low: f64,
    pub kl_high: f64,
    /// Number of tokens in the mean.
    pub kl_tokens: u64,
}

/// Costs from the receipts; null if these cases have no such data.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    pub bytes_sent: u64,
    pub bytes_unpruned: u64,
    /// `bytes_unpruned / bytes_sent`, from the sums.
    pub bytes_ratio: Option<f64>,
    /// Visual tokens kept, over all visual tokens.
    pub tokens_ratio: Option<f64>,
    /// Mean pruning time over answers with visual tokens.
    pub prune_ms: Option<f64>,
    /// Number of pictures that the method left whole, if it reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypassed: Option<u64>,
    /// Mean over the answers that report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_correlation: Option<f64>,
}

impl Row {
    /// The row of one group, compared with the reference if there is one.
    pub fn of(measured: &Measured, reference: Option<&Measured>, group: &Group) -> Row {
        let combination = &measured.combination;
        Row {
            visual: combination.visual.method.clone(),
            keep: combination.visual.keep,
            transfer: combination.transfer.clone(),
            plan: measured.plan_id().to_owned(),
            plan_dir: combination.plan.as_ref().map(|plan| plan.display().to_string()),
            tag: group.tag.clone(),
            depth: group.depth(),
            figures: Figures::of(&measured.outcomes, reference.map(|reference| &reference.outcomes[..]), group),
        }
    }
}

impl Figures {
    fn of(outcomes: &[Outcome], reference: Option<&[Outcome]>, group: &Group) -> Figures {
        let members: Vec<&Outcome> = group.members.iter().map(|&index| &outcomes[index]).collect();
        let judged: Vec<usize> = group.members.iter().copied().filter(|&index| group.is_judged(index)).collect();
        let accuracy = wilson(judged.iter().filter(|&&index| outcomes[index].is_right()).count(), judged.len());
        let pairs = reference.map(|reference| {
            let pair = |&index: &usize| (outcomes[index].is_right(), reference[index].is_right());
            judged.iter().map(pair).collect::<Vec<_>>()
        });
        let same = reference.map(|reference| {
            let same = group.members.iter().filter(|&&index| outcomes[index].is_same_as(&reference[index])).count();
            Same::from(wilson(same, members.len()))
        });
        let divergences: Vec<Divergence> =
            members.iter().filter_map(|outcome| outcome.answer()?.divergence).filter(|sum| sum.tokens > 0).collect();
        Figures {
            n: members.len(),
            failed: members.iter().filter(|outcome| outcome.has_failed()).count(),
            judged: judged.len(),
            same,
            kl: Kl::of(&divergences),
            accuracy: accuracy.value,
            accuracy_low: accuracy.low,
            accuracy_high: accuracy.high,
            relative: pairs.and_then(|pairs| relative(&pairs)).map(Relative::from),
            cost: Cost::of(members.iter().filter_map(|outcome| outcome.receipt())),
        }
    }

    /// The accuracy with its interval.
    pub fn accuracy(&self) -> Estimate {
        Estimate { value: self.accuracy, low: self.accuracy_low, high: self.accuracy_high }
    }
}

impl From<Estimate> for Same {
    fn from(estimate: Estimate) -> Same {
        Same { same: estimate.value, same_low: estimate.low, same_high: estimate.high }
    }
}

impl Same {
    /// The share of same answers with its interval.
    pub fn estimate(&self) -> Estimate {
        Estimate { value: self.same, low: self.same_low, high: self.same_high }
    }
}

impl Kl {
    /// The distance of the farther end of the interval from the value.
    pub fn reach(&self) -> f64 {
        Estimate { value: self.kl, low: self.kl_low, high: self.kl_high }.reach()
    }

    fn of(divergences: &[Divergence]) -> Option<Kl> {
        let pairs: Vec<(f64, u64)> = divergences.iter().map(|sum| (sum.nats, sum.tokens)).collect();
        let mean = mean_over(&pairs)?;
        let tokens = divergences.iter().map(|sum| sum.tokens).sum();
        Some(Kl { kl: mean.value, kl_low: mean.low, kl_high: mean.high, kl_tokens: tokens })
    }
}

impl From<Estimate> for Relative {
    fn from(estimate: Estimate) -> Relative {
        Relative { relative: estimate.value, relative_low: estimate.low, relative_high: estimate.high }
    }
}

impl Relative {
    /// The relative accuracy with its interval.
    pub fn estimate(&self) -> Estimate {
        Estimate { value: self.relative, low: self.relative_low, high: self.relative_high }
    }
}

impl Cost {
    fn of<'a>(receipts: impl Iterator<Item = &'a Receipt>) -> Cost {
        let receipts: Vec<&Receipt> = receipts.collect();
        let sum = |of: fn(&Receipt) -> u64| receipts.iter().map(|receipt| of(receipt)).sum::<u64>();
        let (sent, unpruned) = (sum(|receipt| receipt.bytes_sent), sum(|receipt| receipt.bytes_unpruned));
        let (before, after) = (sum(|receipt| receipt.tokens_before), sum(|receipt| receipt.tokens_after));
        let seen = receipts.iter().filter(|receipt| receipt.tokens_before > 0);
        let bypassed: Vec<u64> = receipts.iter().filter_map(|receipt| receipt.bypassed).collect();
        Cost {
            bytes_sent: sent,
            bytes_unpruned: unpruned,
            bytes_ratio: (sent > 0).then(|| unpruned as f64 / sent as f64),
            tokens_ratio: (before > 0).then(|| after as f64 / before as f64),
            prune_ms: mean(seen.map(|receipt| receipt.prune_ms)),
            bypassed: (!bypassed.is_empty()).then(|| bypassed.iter().sum()),
            norm_correlation: mean(receipts.iter().filter_map(|receipt| receipt.norm_correlation)),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{case_run::Answer, combination::Combination, group::Kind};

    fn answered(is_right: bool, receipt: Receipt) -> Outcome {
        let text = if is_right { "right" } else { "wrong" }.to_owned();
        Outcome::Answered(Box::new(Answer {
            text,
            is_right: Some(is_right),
            receipt: Some(receipt),
            ..Answer::default()
        }))
    }

    fn group(members: &[usize]) -> Group {
        Group::judged(Kind::Family, "t", members)
    }

    #[test]
    fn figures_are_of_the_members() {
        let picture = Receipt {
            bytes_sent: 100,
            bytes_unpruned: 500,
            tokens_before: 144,
            tokens_after: 16,
            prune_ms: 2.0,
            norm_correlation: Some(0.5),
            ..Receipt::default()
        };
        let text = Receipt { bytes_sent: 100, bytes_unpruned: 100, prune_ms: 0.0, ..Receipt::default() };
        let outcomes =
            [answered(true, picture.clone()), answered(false, picture), answered(true, text), Outcome::Failed];
        let reference = [true, true, false, true].map(|is_right| answered(is_right, Receipt::default()));
        let of = |members: &[usize]| Figures::of(&outcomes, Some(&reference), &group(members));

        let all = of(&[0, 1, 2, 3]);
        assert_eq!((all.n, all.failed, all.accuracy), (4, 1, 0.5));
        assert!((all.relative.unwrap().relative - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((all.cost.bytes_sent, all.cost.bytes_ratio), (300, Some(1100.0 / 300.0)));
        assert_eq!((all.cost.tokens_ratio, all.cost.prune_ms), (Some(16.0 / 144.0), Some(2.0)));
        assert_eq!((all.cost.norm_correlation, all.cost.bypassed), (Some(0.5), None));

        // The first answer equals the reference's, the second and third differ, the last one is missing.
        assert_eq!(all.same.map(|same| same.same), Some(0.25));
        assert_eq!(all.kl, None);

        let text = of(&[2]);
        // The reference has no right answer here.
        assert_eq!((text.relative, text.cost.tokens_ratio, text.cost.prune_ms), (None, None, None));
        let failed = of(&[3]);
        assert_eq!((failed.failed, failed.accuracy, failed.cost.bytes_ratio), (1, 0.0, None));
        assert_eq!(Figures::of(&outcomes, None, &group(&[0])).relative, None);
    }

    #[test]
    fn the_document_has_the_promised_keys() {
        let measured = Measured {
            combination: Combination::reference(),
            outcomes: vec![answered(true, Receipt { plan: "id".to_owned(), ..Receipt::default() })],
        };
        let row = Row::of(&measured, Some(&measured), &group(&[0]));
        let row = serde_json::to_value(row).unwrap();
        let mut found: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        let expected = [
            "accuracy",
            "accuracy_high",
            "accuracy_low",
            "bytes_ratio",
            "bytes_sent",
            "bytes_unpruned",
            "failed",
            "judged",
            "keep",
            "n",
            "plan",
            "prune_ms",
            "relative",
            "relative_high",
            "relative_low",
            "same",
            "same_high",
            "same_low",
            "tag",
            "tokens_ratio",
            "transfer",
            "visual",
        ];
        assert_eq!(found, expected);
        assert_eq!((row["visual"].as_str(), row["plan"].as_str()), (Some("none"), Some("id")));
        let alone = serde_json::to_value(Row::of(&measured, None, &group(&[0]))).unwrap();
        assert!(alone.get("relative").is_none() && alone.get("relative_low").is_none());
    }
}
