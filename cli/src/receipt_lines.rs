//! A receipt in words, for a person.

use serde_json::Value;

/// The factors of the byte ratio, and the source of the precision; empty if nothing was saved.
fn saved(receipt: &Value) -> String {
    let saved = &receipt["transfer"]["saved"];
    let part = |key: &str, words: &str| {
        let factor = saved[key].as_f64().filter(|factor| (factor - 1.0).abs() >= 0.005)?;
        Some(format!("{factor:.2}x by {words}"))
    };
    let parts = [
        part("visual", "pruned visual tokens"),
        part("blocks", "blocks and positions left out"),
        part("held", "what decode had"),
        part("precision", "precision"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return String::new();
    }
    let lossy = match (receipt["transfer"]["bits"].as_f64(), receipt["decision"]["evidence"].as_str()) {
        (None, _) => "; what is shipped loses no bit".to_owned(),
        (Some(_), Some(evidence)) => format!(" (lossy, {evidence})"),
        (Some(bits), None) => format!(" (lossy, {bits} bits)"),
    };
    format!("         {}{lossy}\n", parts.join(", "))
}

/// The lines of the receipt, which mention pictures only if there were any.
pub fn receipt(receipt: &Value) -> [String; 2] {
    let (visual, transfer, timing) = (&receipt["visual"], &receipt["transfer"], &receipt["timing"]);
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let bytes = |value: &Value| format!("{:.1} KiB", number(value) / 1024.0);
    let pictures = match visual["images"].as_u64() {
        None | Some(0) => String::new(),
        Some(_) => format!(
            "visual tokens {} -> {} ({}), ",
            visual["tokens_before"],
            visual["tokens_after"],
            visual["method"].as_str().unwrap_or("none"),
        ),
    };
    [
        format!(
            "receipt  {pictures}KV shipped {} ({}), dense {}, unpruned {}: {:.2}x fewer bytes",
            bytes(&transfer["bytes_sent"]),
            transfer["policy"].as_str().unwrap_or("none"),
            bytes(&transfer["bytes_dense"]),
            bytes(&transfer["bytes_unpruned"]),
            number(&transfer["ratio"]),
        ),
        format!(
            "{}         {} -> {}, first token after {:.1} ms, {:.2} ms per token",
            saved(receipt),
            receipt["prefill_node"].as_str().unwrap_or("?"),
            receipt["decode_node"].as_str().unwrap_or("?"),
            number(&timing["ttft_ms"]),
            number(&timing["tpot_ms"]),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_ratio_is_told_by_its_parts() {
        let transfer = json!({"saved": {"visual": 4.97, "blocks": 1.0, "held": 1.0, "precision": 2.5}, "bits": 6.0});
        let lossy = json!({"transfer": transfer, "decision": {"evidence": "6 bits: measured"}});
        assert_eq!(
            saved(&lossy),
            "         4.97x by pruned visual tokens, 2.50x by precision (lossy, 6 bits: measured)\n"
        );
        assert!(receipt(&lossy)[1].starts_with("         4.97x by"));
        let exact = json!({"transfer": {"saved": {"visual": 2.0, "precision": 1.0}, "bits": null}});
        assert_eq!(saved(&exact), "         2.00x by pruned visual tokens; what is shipped loses no bit\n");
        assert_eq!(saved(&json!({"transfer": {"saved": null}})), "");
    }

    #[test]
    fn a_receipt_speaks_of_pictures_where_there_were_any() {
        let seen = json!({"visual": {"images": 1, "tokens_before": 144, "tokens_after": 29, "method": "coverage"}});
        assert!(receipt(&seen)[0].starts_with("receipt  visual tokens 144 -> 29 (coverage), KV shipped"));
        for unseen in [json!({"visual": {"images": 0}}), json!({"visual": null}), json!({})] {
            assert!(receipt(&unseen)[0].starts_with("receipt  KV shipped"), "{unseen}");
        }
    }
}
