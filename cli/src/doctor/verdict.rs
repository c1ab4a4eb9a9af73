//! The consequences of a link's speed for a prompt, in words.

use super::{
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

/// Formats a number of bytes in a suitable unit.
pub fn bytes(count: u64) -> String {
    match count {
        ..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.1 => format!("{:.1} ms", seconds * 1e3),
        ..10.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// Formats a number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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

    #[test]
    fn numbers_are_readable() {
        assert_eq!([grouped(7), grouped(2_048), grouped(1_234_567)], ["7", "2,048", "1,234,567"]);
        assert_eq!([bytes(1_536), bytes(3 << 20), bytes(5 << 29)], ["1.5 KiB", "3.0 MiB", "2.50 GiB"]);
        assert_eq!([seconds(0.0123), seconds(1.234), seconds(75.3)], ["12.3 ms", "1.23 s", "75 s"]);
    }
}
