//! Metrics of API keys, by the keys' names.

use std::hash::Hash;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use super::{
    builder::Builder,
    known::Known,
    labels::{Key, KeyKind, KeyOutcome, KeyReason},
};
use crate::keys::{KeyFigures, Outcome, Reason};

/// Requests, tokens and refusals of every key in force.
pub struct KeyMetrics {
    known: Known<Key>,
    requests: Family<KeyOutcome, Counter>,
    tokens: Family<KeyKind, Counter>,
    refused: Family<KeyReason, Counter>,
    running: Family<Key, Gauge>,
}

impl KeyMetrics {
    /// Registers the metrics.
    pub fn new(to: &mut Builder) -> Self {
        Self {
            known: Known::default(),
            requests: to.counters(
                "secateur_key_requests",
                "Requests of an API key that its limits let in and that have ended: ok, abort (client gone), client_error \
                 (4xx), server_error (5xx, or an error in a stream)",
            ),
            tokens: to.counters(
                "secateur_key_tokens",
                "Tokens of an API key as its limit counts them: of prompts that were computed, before pruning, and of \
                 answers, without end tokens",
            ),
            refused: to.counters(
                "secateur_key_refused",
                "Requests of an API key that were over a limit: requests or tokens in a minute, answers at once \
                 (concurrency); or that came after it had expired",
            ),
            running: to.add(
                "secateur_key_running",
                "Answers of an API key that run or wait for their turn, as its limit counts them",
                Family::default(),
            ),
        }
    }

    /// Sets the metrics to the current sums, and removes those of keys that are not among them.
    pub fn update(&self, keys: &[KeyFigures]) {
        for KeyFigures { name, usage } in keys {
            let key = Key { key: name.clone() };
            self.known.add(&key);
            self.running.get_or_create(&key).set(usage.running.into());
            for outcome in Outcome::ALL {
                let labels = KeyOutcome { key: name.clone(), outcome: outcome.as_str().to_owned() };
                set(&self.requests, &labels, usage.requests(outcome));
            }
            for reason in Reason::ALL {
                let labels = KeyReason { key: name.clone(), reason: reason.as_str().to_owned() };
                set(&self.refused, &labels, usage.refusals(reason));
            }
            for (kind, tokens) in [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)] {
                set(&self.tokens, &KeyKind { key: name.clone(), kind: kind.to_owned() }, tokens);
            }
        }
        for key in self.known.left(|key| keys.iter().any(|there| there.name == key.key)) {
            self.remove(&key);
        }
    }

    fn remove(&self, key: &Key) {
        let name = &key.key;
        self.running.remove(key);
        for outcome in Outcome::ALL {
            self.requests.remove(&KeyOutcome { key: name.clone(), outcome: outcome.as_str().to_owned() });
        }
        for reason in Reason::ALL {
            self.refused.remove(&KeyReason { key: name.clone(), reason: reason.as_str().to_owned() });
        }
        for kind in ["prompt", "completion"] {
            self.tokens.remove(&KeyKind { key: name.clone(), kind: kind.to_owned() });
        }
    }
}

/// Sets a counter to a sum that is kept elsewhere. A smaller sum than before is that of a key which was taken out of
/// the file and came back: its counter begins anew.
fn set<L>(family: &Family<L, Counter>, labels: &L, sum: u64)
where
    L: EncodeLabelSet + Clone + Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
{
    let before = family.get_or_create(labels).get();
    if sum < before {
        family.remove(labels);
    }
    let counter = family.get_or_create(labels);
    counter.inc_by(sum.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::Usage,
        metrics::{Metrics, Snapshot},
    };

    fn figures(name: &str, requests: u64) -> KeyFigures {
        let mut usage = Usage::default();
        (usage.prompt_tokens, usage.running) = (7, 2);
        (0..requests).for_each(|_| usage.ended(Outcome::Ok));
        usage.refused(Reason::Tokens);
        KeyFigures { name: name.to_owned(), usage }
    }

    /// The page's lines about keys, each with its labels in order.
    fn page(metrics: &Metrics, keys: Vec<KeyFigures>) -> Vec<String> {
        let page = metrics.render(Snapshot { keys, ..Snapshot::default() }).unwrap();
        let lines = page.lines().filter(|line| line.starts_with("secateur_key_"));
        lines.map(|line| line.replace("model_name=\"demo\",", "")).collect()
    }

    #[test]
    fn each_key_has_its_sums_and_is_taken_off_when_it_leaves() {
        let metrics = Metrics::new("demo");
        assert!(page(&metrics, Vec::new()).is_empty(), "no key, no series");
        let lines = page(&metrics, vec![figures("a", 3), figures("b", 0)]);
        let has = |lines: &[String], start: &str, key: &str, label: &str, end: &str| {
            let parts = [format!("key=\"{key}\""), label.to_owned()];
            lines.iter().any(|line| {
                line.starts_with(start) && line.ends_with(end) && parts.iter().all(|part| line.contains(part))
            })
        };
        assert!(has(&lines, "secateur_key_requests_total{", "a", "outcome=\"ok\"", " 3"), "{lines:#?}");
        assert!(has(&lines, "secateur_key_requests_total{", "b", "outcome=\"server_error\"", " 0"), "{lines:#?}");
        assert!(has(&lines, "secateur_key_tokens_total{", "a", "kind=\"prompt\"", " 7"), "{lines:#?}");
        assert!(has(&lines, "secateur_key_refused_total{", "a", "reason=\"tokens\"", " 1"), "{lines:#?}");
        assert!(has(&lines, "secateur_key_running{", "a", "", " 2"), "{lines:#?}");
        let again = page(&metrics, vec![figures("a", 5)]);
        assert!(has(&again, "secateur_key_requests_total{", "a", "outcome=\"ok\"", " 5"), "{again:#?}");
        assert!(!again.iter().any(|line| line.contains("key=\"b\"")), "{again:#?}");
        let anew = page(&metrics, vec![figures("a", 1)]);
        assert!(has(&anew, "secateur_key_requests_total{", "a", "outcome=\"ok\"", " 1"), "{anew:#?}");
    }
}
