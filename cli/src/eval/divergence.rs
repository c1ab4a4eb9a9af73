//! Divergence of the next token's distribution from the reference's, after the same words.

use serde_json::Value;

/// Number of alternatives requested for each token.
pub const TOP: usize = 20;
/// Smallest probability assumed for the unreported tokens: log probabilities have 32 bits, so the rest of a
/// distribution is not known more precisely.
const REST_MIN: f64 = 1e-7;

/// The distribution at one place of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The token at this place.
    pub id: u32,
    /// The likeliest tokens with their natural log probabilities.
    top: Vec<(u32, f64)>,
}

/// Divergence summed over the places of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergence {
    /// Kullback-Leibler divergence from the reference's distribution, nats.
    pub nats: f64,
    /// Number of places.
    pub tokens: u64,
}

/// The steps of a reply whose tokens are named by their ids; `None` if the server does not report them.
pub fn steps(reply: &Value) -> Option<Vec<Step>> {
    let content = reply["choices"][0]["logprobs"]["content"].as_array()?;
    content.iter().map(step).collect()
}

fn step(entry: &Value) -> Option<Step> {
    let top = entry["top_logprobs"].as_array()?;
    let top = top.iter().map(|token| Some((id(token)?, token["logprob"].as_f64()?))).collect::<Option<_>>()?;
    Some(Step { id: id(entry)?, top })
}

fn id(token: &Value) -> Option<u32> {
    token["token"].as_str()?.strip_prefix("token_id:")?.parse().ok()
}

impl Divergence {
    /// Sums over the places after the first token, which prefill draws itself, as long as both have the same tokens
    /// before.
    pub fn between(reference: &[Step], other: &[Step]) -> Divergence {
        let mut sum = Divergence::default();
        for (at, (reference_step, other_step)) in reference.iter().zip(other).enumerate().skip(1) {
            if reference[at - 1].id != other[at - 1].id {
                break;
            }
            sum.nats += at_one_place(reference_step, other_step);
            sum.tokens += 1;
        }
        sum
    }
}

/// Divergence of the distributions over the tokens that both report and one class for all others: at most the
/// divergence of the whole distributions, and close to it if the reported tokens have most of the probability.
fn at_one_place(reference: &Step, other: &Step) -> f64 {
    let (mut nats, mut rest, mut other_rest) = (0.0, 1.0, 1.0);
    for &(id, logprob) in &reference.top {
        if let Some(&(_, other_logprob)) = other.top.iter().find(|(other, _)| *other == id) {
            let share = logprob.exp();
            nats += share * (logprob - other_logprob);
            rest -= share;
            other_rest -= other_logprob.exp();
        }
    }
    let (rest, other_rest) = (f64::max(rest, REST_MIN), f64::max(other_rest, REST_MIN));
    f64::max(nats + rest * (rest / other_rest).ln(), 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(id: u32, shares: &[(u32, f64)]) -> Step {
        Step { id, top: shares.iter().map(|&(id, share)| (id, share.ln())).collect() }
    }

    #[test]
    fn divergence_is_that_of_the_distributions() {
        let (one, other) = (of(1, &[(1, 0.5), (2, 0.25)]), of(2, &[(2, 0.5), (1, 0.25)]));
        let exact = 0.5 * (2.0f64).ln() + 0.25 * (0.5f64).ln();
        assert!((at_one_place(&one, &other) - exact).abs() < 1e-12);
        assert_eq!(at_one_place(&one, &one), 0.0);
        // A token that the other side does not report counts to the class of all others.
        let strange = of(3, &[(3, 0.9), (1, 0.05)]);
        let merged = 0.5 * (0.5f64 / 0.05).ln() + 0.5 * (0.5f64 / 0.95).ln();
        assert!((at_one_place(&one, &strange) - merged).abs() < 1e-12);
    }

    #[test]
    fn places_count_as_long_as_the_words_before_are_the_same() {
        let step = |id| of(id, &[(1, 0.5), (2, 0.25)]);
        let found = Divergence::between(&[step(1), step(2), step(1), step(1)], &[step(1), step(2), step(2), step(1)]);
        assert_eq!(found, Divergence { nats: 0.0, tokens: 2 });
        assert_eq!(Divergence::between(&[step(1)], &[step(1)]).tokens, 0);
    }

    #[test]
    fn steps_are_read_where_there_are_any() {
        let token = |id: u32| json!({"token": format!("token_id:{id}"), "logprob": -0.5, "bytes": [1]});
        let mut entry = token(7);
        entry["top_logprobs"] = json!([token(7), token(9)]);
        let reply = json!({"choices": [{"logprobs": {"content": [entry]}}]});
        assert_eq!(steps(&reply).unwrap(), [Step { id: 7, top: vec![(7, -0.5), (9, -0.5)] }]);
        assert_eq!(steps(&json!({"choices": [{"logprobs": null}]})), None);
        let words = json!({"choices": [{"logprobs": {"content": [{"token": "a", "logprob": 0, "top_logprobs": []}]}}]});
        assert_eq!(steps(&words), None);
    }
}
