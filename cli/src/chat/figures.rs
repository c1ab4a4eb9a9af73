//! The line of figures below an answer.

use std::time::Duration;

use bytesize::ByteSize;

use super::reading::Reading;

/// The figures of an answer. Times are those of this client; what its server does not report is left out.
pub fn line(reading: &Reading) -> String {
    let tokens = reading.tokens();
    let parts = [
        Some(format!("{tokens} token{}", if tokens == 1 { "" } else { "s" })),
        reading.timeline.per_token(tokens).and_then(speed),
        reading.timeline.first().map(|first| format!("first after {}", time(first))),
        kv(reading),
        cached(reading),
        visual(reading),
        reading.finish.as_deref().filter(|reason| *reason == "length").map(|_| "cut at the token limit".to_owned()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How many times fewer bytes were sent than all KV would have been, in words; `None` if they are as many.
pub fn fewer(sent: u64, unpruned: u64) -> Option<String> {
    let ratio = unpruned as f64 / sent as f64;
    (ratio.is_finite() && ratio >= 1.05).then(|| format!("{ratio:.1} times fewer bytes"))
}

/// A number of bytes in words.
pub fn bytes(count: u64) -> String {
    ByteSize(count).to_string()
}

fn speed(per_token: Duration) -> Option<String> {
    let speed = 1.0 / per_token.as_secs_f64();
    speed.is_finite().then(|| format!("{} tokens/s", short(speed)))
}

fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{} ms", short(seconds * 1e3)) } else { format!("{} s", short(seconds)) }
}

/// Three digits, as many as a measurement on a shared machine has.
fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn kv(reading: &Reading) -> Option<String> {
    let transfer = &reading.account.receipt["transfer"];
    let (sent, unpruned) = (transfer["bytes_sent"].as_u64()?, transfer["bytes_unpruned"].as_u64()?);
    let fewer = fewer(sent, unpruned).map(|words| format!(" ({words})")).unwrap_or_default();
    Some(format!("KV {} of {} dense and unpruned{fewer}", bytes(sent), bytes(unpruned)))
}

fn cached(reading: &Reading) -> Option<String> {
    let cached = reading.account.usage["prompt_tokens_details"]["cached_tokens"].as_u64()?;
    Some(format!("{cached} of {} prompt tokens cached", reading.account.prompt_tokens()))
}

fn visual(reading: &Reading) -> Option<String> {
    let visual = &reading.account.receipt["visual"];
    let (before, after) = (visual["tokens_before"].as_u64()?, visual["tokens_after"].as_u64()?);
    (before > 0).then(|| format!("{after} of {before} visual tokens kept"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Instant;

    fn reading(usage: Value, receipt: Value) -> Reading {
        let sent = Instant::now();
        let at = |ms: u64| sent + Duration::from_millis(ms);
        let mut reading = Reading::new(sent);
        reading.timeline.content = vec![at(84), at(100)];
        reading.timeline.end = at(584);
        reading.account.usage = usage;
        reading.account.receipt = receipt;
        reading
    }

    #[test]
    fn every_figure_is_in_the_line() {
        let usage =
            json!({"prompt_tokens": 140, "completion_tokens": 21, "prompt_tokens_details": {"cached_tokens": 96}});
        let receipt = json!({
            "transfer": {"bytes_sent": 62_874, "bytes_unpruned": 132_096},
            "visual": {"tokens_before": 144, "tokens_after": 29},
        });
        let mut reading = reading(usage, receipt);
        reading.finish = Some("length".to_owned());
        let expected = "21 tokens, 40.0 tokens/s, first after 84.0 ms, KV 61.4 KiB of 129.0 KiB dense and unpruned \
            (2.1 times fewer bytes), 96 of 140 prompt tokens cached, 29 of 144 visual tokens kept, cut at the token limit";
        assert_eq!(line(&reading), expected);
    }

    #[test]
    fn what_is_not_reported_is_left_out() {
        assert_eq!(line(&reading(Value::Null, Value::Null)), "2 tokens, 2.00 tokens/s, first after 84.0 ms");
        let text = line(&reading(json!({"completion_tokens": 1}), json!({"visual": null})));
        assert_eq!(text, "1 token, first after 84.0 ms");
        assert_eq!(line(&Reading::new(Instant::now())), "0 tokens");
    }

    #[test]
    fn as_many_bytes_are_not_fewer() {
        let text = line(&reading(Value::Null, json!({"transfer": {"bytes_sent": 1010, "bytes_unpruned": 1000}})));
        assert!(text.ends_with("KV 1010 B of 1000 B dense and unpruned"), "{text}");
        assert_eq!(fewer(0, 1000), None);
        assert_eq!(time(Duration::from_secs(12)), "12.0 s");
    }
}
