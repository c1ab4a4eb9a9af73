//! Comparison of a row with the dense one of the same link and scenario, round by round.

use serde::Serialize;

use super::summary::Summary;

/// A figure as a share of the dense row's, over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Median over the rounds.
    pub median: f64,
    /// Smallest share of a round.
    pub low: f64,
    /// Largest share of a round.
    pub high: f64,
}

/// Each round's figure over the dense one of the same round: the same prompts, minutes apart at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ToDense {
    /// Bytes sent.
    pub bytes_sent: Option<Spread>,
    /// Median time to the first token.
    pub ttft_ms: Option<Spread>,
    /// Median time to the second token.
    pub second_token_ms: Option<Spread>,
    /// Median time per output token.
    pub tpot_ms: Option<Spread>,
}

impl ToDense {
    /// Compares a row's rounds with those of the dense row.
    pub fn of(rounds: &[Summary], dense: &[Summary]) -> ToDense {
        let spread = |figure: fn(&Summary) -> Option<f64>| {
            let ratio = |(found, dense): (&Summary, &Summary)| {
                let (found, dense) = (figure(found)?, figure(dense)?);
                (dense > 0.0).then_some(found / dense)
            };
            Spread::of(rounds.iter().zip(dense).filter_map(ratio).collect())
        };
        ToDense {
            // A round in which every request failed sent nothing, which would look like a saving.
            bytes_sent: spread(|round| round.bytes_sent_per_request.filter(|bytes| *bytes > 0.0)),
            ttft_ms: spread(|round| round.ttft_ms.p50),
            second_token_ms: spread(|round| round.second_token_ms.p50),
            tpot_ms: spread(|round| round.tpot_ms.p50),
        }
    }
}

impl Spread {
    fn of(mut ratios: Vec<f64>) -> Option<Spread> {
        ratios.sort_unstable_by(f64::total_cmp);
        let middle = ratios.len() / 2;
        let median = match ratios.len() % 2 {
            0 => (*ratios.get(middle.checked_sub(1)?)? + *ratios.get(middle)?) / 2.0,
            _ => *ratios.get(middle)?,
        };
        Some(Spread { median, low: *ratios.first()?, high: *ratios.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::outcome::Outcome;

    fn round(ttft: Option<f64>, bytes: f64) -> Summary {
        let mut summary = Summary::of(&Outcome::default());
        summary.ttft_ms.p50 = ttft;
        summary.bytes_sent_per_request = Some(bytes);
        summary
    }

    #[test]
    fn ratios_are_those_of_rounds() {
        let dense = [round(Some(100.0), 10.0), round(Some(200.0), 10.0), round(Some(50.0), 10.0)];
        let other = [round(Some(50.0), 2.0), round(Some(180.0), 2.0), round(None, 0.0)];
        let found = ToDense::of(&other, &dense);
        assert_eq!(found.bytes_sent, Some(Spread { median: 0.2, low: 0.2, high: 0.2 }));
        assert_eq!(found.ttft_ms, Some(Spread { median: 0.7, low: 0.5, high: 0.9 }));
        assert_eq!(found.tpot_ms, None);
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
