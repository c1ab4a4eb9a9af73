//! A scenario's figures: percentiles and sums over its answers.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{answer::Answer, outcome::Outcome};

/// Figures computed from the answers alone.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub ttft_ms: Percentiles,
    /// Time to the second piece of text.
    pub second_token_ms: Percentiles,
    pub tpot_ms: Percentiles,
    pub itl_ms: Percentiles,
    pub e2e_ms: Percentiles,
    /// Means over requests; `None` if no answer has text.
    pub means: Option<Means>,
    /// Answered requests over the scenario's duration.
    pub requests_per_s: f64,
    pub output_tokens_per_s: f64,
    pub prompt_tokens_per_s: f64,
    pub duration_s: f64,
    pub bytes_sent: u64,
    pub bytes_unpruned: u64,
    /// Mean bytes sent per answered request; `None` without any.
    pub bytes_sent_per_request: Option<f64>,
    /// `bytes_unpruned / bytes_sent`; 0 if nothing was sent.
    pub ratio: f64,
    /// Duration of each shipment, from its receipt.
    pub wire_ms: Percentiles,
    /// Mean overlap in the receipts; `None` without any.
    pub overlap: Option<f64>,
    #[serde(skip)]
    pub(super) failed: u64,
    #[serde(skip)]
    pub(super) answered: u64,
    #[serde(skip)]
    pub(super) policy: Option<String>,
    #[serde(skip)]
    pub(super) plan: Option<String>,
}

/// Means over requests, which, unlike percentiles, add up: `e2e_ms = ttft_ms + tokens_after_first * tpot_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Means {
    pub ttft_ms: f64,
    /// Mean number of tokens of an answer after its first one.
    pub tokens_after_first: f64,
    /// Mean time per token, over all tokens after first ones; `None` if there are none.
    pub tpot_ms: Option<f64>,
    pub e2e_ms: f64,
}

impl Means {
    fn of<'a>(answers: impl Iterator<Item = &'a Answer>) -> Option<Means> {
        let (mut count, mut tokens, mut first, mut after, mut whole) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for answer in answers {
            let ms = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
            count += 1.0;
            tokens += answer.output_tokens.saturating_sub(1) as f64;
            first += ms(answer.timeline.first());
            after += ms(answer.timeline.after_first());
            whole += ms(Some(answer.timeline.whole()));
        }
        (count > 0.0).then(|| Means {
            ttft_ms: first / count,
            tokens_after_first: tokens / count,
            tpot_ms: (tokens > 0.0).then(|| after / tokens),
            e2e_ms: whole / count,
        })
    }
}

/// Exact percentiles; `None` without samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
}

impl Percentiles {
    /// Percentiles of durations, in milliseconds.
    pub fn of(samples: impl Iterator<Item = Duration>) -> Percentiles {
        Self::of_ms(samples.map(|sample| sample.as_secs_f64() * 1e3))
    }

    /// Percentiles of values in milliseconds.
    pub fn of_ms(samples: impl Iterator<Item = f64>) -> Percentiles {
        let mut sorted: Vec<f64> = samples.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| percentile(&sorted, share);
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
    }
}

/// Interpolates linearly between the two neighbouring samples: numpy's default, and so that of other benchmarks.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

impl Summary {
    /// Summarises the results of a scenario.
    pub fn of(outcome: &Outcome) -> Summary {
        let answers = &outcome.answers;
        // All latencies are taken from the same requests: those with text, which have a first token.
        let timed = || answers.iter().filter(|answer| answer.timeline.first().is_some());
        let seconds = outcome.duration.as_secs_f64().max(1e-9);
        let bytes = |key: &str| -> u64 { answers.iter().filter_map(|a| a.receipt["transfer"][key].as_u64()).sum() };
        // A receipt without a shipment has no shipment times.
        let shipped = |a: &&Answer| a.receipt["transfer"]["wire_ms"].as_f64().is_some_and(|ms| ms > 0.0);
        let shipments = || answers.iter().filter(shipped).map(|answer| &answer.receipt["transfer"]);
        let overlaps: Vec<f64> = shipments().filter_map(|transfer| transfer["overlap"].as_f64()).collect();
        let (sent, unpruned) = (bytes("bytes_sent"), bytes("bytes_unpruned"));
        let output: u64 = answers.iter().map(|answer| answer.output_tokens).sum();
        let prompt: u64 = answers.iter().map(|answer| answer.prompt_tokens).sum();
        let word = |of: fn(&Value) -> &Value| {
            let words = answers.iter().filter_map(|answer| of(&answer.receipt).as_str());
            words.map(str::to_owned).next()
        };
        Summary {
            ttft_ms: Percentiles::of(timed().filter_map(|answer| answer.timeline.first())),
            second_token_ms: Percentiles::of(timed().filter_map(|answer| answer.timeline.second())),
            tpot_ms: Percentiles::of(timed().filter_map(|a| a.timeline.per_token(a.output_tokens))),
            itl_ms: Percentiles::of(timed().flat_map(|answer| answer.timeline.gaps(answer.output_tokens))),
            e2e_ms: Percentiles::of(timed().map(|answer| answer.timeline.whole())),
            means: Means::of(timed()),
            requests_per_s: answers.len() as f64 / seconds,
            output_tokens_per_s: output as f64 / seconds,
            prompt_tokens_per_s: prompt as f64 / seconds,
            duration_s: outcome.duration.as_secs_f64(),
            bytes_sent: sent,
            bytes_unpruned: unpruned,
            bytes_sent_per_request: (!answers.is_empty()).then(|| sent as f64 / answers.len() as f64),
            wire_ms: Percentiles::of_ms(shipments().filter_map(|transfer| transfer["wire_ms"].as_f64())),
            overlap: (!overlaps.is_empty()).then(|| overlaps.iter().sum::<f64>() / overlaps.len() as f64),
            ratio: if sent == 0 { 0.0 } else { unpruned as f64 / sent as f64 },
            failed: outcome.errors.len() as u64,
            answered: answers.len() as u64,
            policy: word(|receipt| &receipt["transfer"]["policy"]),
            plan: word(|receipt| &receipt["plan"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[u64]) -> Percentiles {
        Percentiles::of(samples.iter().map(|ms| Duration::from_millis(*ms)))
    }

    #[test]
    fn percentiles_are_exact() {
        let round = |found: Option<f64>| (found.unwrap() * 1e6).round() / 1e6;
        let hundred: Vec<u64> = (0..=100).rev().collect();
        let found = of(&hundred);
        assert_eq!([found.p50, found.p90, found.p99].map(round), [50.0, 90.0, 99.0]);
        // numpy.percentile([1, 2, 4, 10], [50, 90, 99])
        let found = of(&[10, 1, 4, 2]);
        assert_eq!([found.p50, found.p90, found.p99].map(round), [3.0, 8.2, 9.82]);
        let one = of(&[7]);
        assert_eq!([one.p50, one.p90, one.p99].map(round), [7.0; 3]);
        assert_eq!(of(&[]), Percentiles::default());
    }
}
