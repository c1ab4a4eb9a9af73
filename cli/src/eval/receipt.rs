//! The figures of a reply's receipt that are reported beside quality.

use serde_json::Value;

/// Figures of one answer's receipt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// Id of the pruning plan in force; empty if there is none.
    pub plan: String,
    /// The method that ran, which differs from a requested `auto`.
    pub method: String,
    pub bytes_sent: u64,
    pub bytes_unpruned: u64,
    /// Visual tokens before pruning; `tokens_after` counts those after it.
    pub tokens_before: u64,
    pub tokens_after: u64,
    pub prune_ms: f64,
    /// Number of pictures that the method left whole; only some methods report it.
    pub bypassed: Option<u64>,
    /// Correlation of the method's ranking with small norms; only some methods report it.
    pub norm_correlation: Option<f64>,
}

impl Receipt {
    /// Reads the `secateur` object of a reply; `None` for other servers.
    pub fn of(reply: &Value) -> Option<Receipt> {
        let receipt = reply.get("secateur").filter(|receipt| receipt.is_object())?;
        let (visual, transfer) = (&receipt["visual"], &receipt["transfer"]);
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some(Receipt {
            plan: word(&receipt["plan"]),
            method: word(&visual["method"]),
            bytes_sent: count(&transfer["bytes_sent"]),
            bytes_unpruned: count(&transfer["bytes_unpruned"]),
            tokens_before: count(&visual["tokens_before"]),
            tokens_after: count(&visual["tokens_after"]),
            prune_ms: visual["prune_ms"].as_f64().unwrap_or(0.0),
            bypassed: visual["bypassed"].as_u64(),
            norm_correlation: visual["norm_correlation"].as_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn optional_keys_may_be_missing() {
        assert_eq!(Receipt::of(&json!({"choices": []})), None);
        assert_eq!(Receipt::of(&json!({"secateur": {}})), Some(Receipt::default()));
        let reply = json!({"secateur": {"plan": "p",
            "visual": {"method": "m", "tokens_before": 144, "tokens_after": 16, "prune_ms": 0.5, "bypassed": 1,
                "norm_correlation": 0.98},
            "transfer": {"bytes_sent": 10, "bytes_unpruned": 90}}});
        let found = Receipt::of(&reply).unwrap();
        assert_eq!((found.plan.as_str(), found.method.as_str()), ("p", "m"));
        assert_eq!((found.bytes_sent, found.bytes_unpruned), (10, 90));
        assert_eq!((found.tokens_before, found.tokens_after, found.prune_ms), (144, 16, 0.5));
        assert_eq!((found.bypassed, found.norm_correlation), (Some(1), Some(0.98)));
    }
}
