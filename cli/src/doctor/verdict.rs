//! The consequences of a link's speed for a prompt, in words.

use super::{
    amounts::{bytes, grouped, seconds},
    check::Check,
    shipment::{Prompt, Shipment},
};

const NAME: &str = "shipment";

/// Compares shipping with prefill. The first token does not wait for shipping, the second one does.
pub fn shipment(prompt: &Prompt, shipments: &[Shipment], prefill_s: Option<f64>) -> Check {
    let Some((first, others)) = shipments.split_first() else {
        return Check::failed(NAME, "no policy can ship this prompt", "give another --plan");
    };
    let found = format!("{} ships {}{}", what(prompt), on_this_link(first), list(others));
    let Some(prefill_s) = prefill_s else {
        return Check::ok(NAME, found)
            .with_advice("--prefill-tokens-per-s R holds this against the time that prefill takes");
    };
    let found = format!("{found}; prefill takes {} for it", seconds(prefill_s));
    let in_time: Vec<&Shipment> = shipments.iter().filter(|shipment| shipment.seconds <= prefill_s).collect();
    match in_time.as_slice() {
        [] => {
            let advice = "the second token waits longer for shipping than prefill took: keep both stages on one machine, or \
                          use a faster link";
            Check::failed(NAME, found, advice)
        }
        all if all.len() == shipments.len() => Check::ok(NAME, format!("{found}, longer than shipping")),
        some => {
            let names: Vec<&str> = some.iter().map(|shipment| shipment.policy).collect();
            let advice = format!("shipping takes less time than prefill only under {}", names.join(", "));
            Check::ok(NAME, found).with_advice(advice)
        }
    }
}

fn what(prompt: &Prompt) -> String {
    let pictures = match prompt.visual {
        0 => String::new(),
        visual => format!(" ({} of them visual)", grouped(visual.into())),
    };
    format!("a {}-token prompt{pictures} of {}", grouped(prompt.positions.into()), prompt.model)
}

fn on_this_link(shipment: &Shipment) -> String {
    format!("{} in {} on this link under {}", bytes(shipment.bytes), seconds(shipment.seconds), shipment.policy)
}

fn list(others: &[Shipment]) -> String {
    let one =
        |other: &Shipment| format!(", {} in {} under {}", bytes(other.bytes), seconds(other.seconds), other.policy);
    others.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::shipment::tests::prompt;

    fn of(seconds: [f64; 2], prefill_s: Option<f64>) -> Check {
        let shipment = |policy, bytes, seconds| Shipment { policy, bytes, seconds };
        let shipments = [shipment("whole", 64 << 20, seconds[0]), shipment("half", 32 << 20, seconds[1])];
        super::shipment(&prompt(), &shipments, prefill_s)
    }

    #[test]
    fn the_sentence_has_the_figures() {
        let check = of([0.54, 0.0271], None);
        let found = "a 2,048-token prompt of llama ships 64.0 MiB in 0.54 s on this link under whole, 32.0 MiB in 27.1 ms \
                     under half";
        assert_eq!((check.ok, check.found.as_str()), (true, found));
        assert!(check.advice.contains("--prefill-tokens-per-s"));
    }

    #[test]
    fn shipping_is_held_against_prefill() {
        let fine = of([0.5, 0.2], Some(0.6));
        assert!(fine.ok && fine.advice.is_empty() && fine.found.ends_with("longer than shipping"), "{fine:?}");
        let half = of([0.5, 0.2], Some(0.3));
        assert!(half.ok && half.advice.ends_with("only under half"), "{half:?}");
        let slow = of([0.5, 0.2], Some(0.1));
        assert!(!slow.ok && slow.advice.contains("one machine"), "{slow:?}");
    }
}
