//! What is left of a key's limits, in OpenAI's headers.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::keys::{Level, Standing};

/// Names of the headers about one limit.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

const REQUESTS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-requests"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
    reset: HeaderName::from_static("x-ratelimit-reset-requests"),
};
const TOKENS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
    reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
};

/// Adds the headers of each limit that there is.
pub fn put(headers: &mut HeaderMap, standing: &Standing) {
    for (names, level) in [(REQUESTS, &standing.requests), (TOKENS, &standing.tokens)] {
        if let Some(level) = level {
            write(headers, names, level);
        }
    }
}

fn write(headers: &mut HeaderMap, names: Names, level: &Level) {
    headers.insert(names.limit, HeaderValue::from(level.limit));
    headers.insert(names.remaining, HeaderValue::from(level.remaining));
    // Digits and letters are always a valid value.
    if let Ok(value) = HeaderValue::from_str(&text(level.full_in)) {
        headers.insert(names.reset, value);
    }
}

/// A duration as OpenAI writes it: `120ms`, `7s`, `6m0s`, `1h0m0s`. Rounded up, so that nobody comes too early.
fn text(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_nanos().div_ceil(1_000_000));
    }
    let all = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let (hours, minutes, seconds) = (all / 3_600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_does() {
        for (milliseconds, expected) in [
            (0, "0ms"),
            (120, "120ms"),
            (1_000, "1s"),
            (6_001, "7s"),
            (59_001, "1m0s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(text(Duration::from_millis(milliseconds)), expected);
        }
        assert_eq!(text(Duration::from_micros(1)), "1ms");
    }

    #[test]
    fn limits_that_there_are_not_are_not_told() {
        let level = Level { limit: 60, remaining: 3, full_in: Duration::from_secs(57) };
        let mut headers = HeaderMap::new();
        put(&mut headers, &Standing { requests: Some(level), tokens: None });
        assert_eq!(headers.len(), 3);
        let written =
            ["x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"].map(|name| headers[name].clone());
        assert_eq!(written, ["3", "57s"]);
        put(&mut headers, &Standing { requests: None, tokens: Some(level) });
        assert_eq!((headers.len(), headers["x-ratelimit-limit-tokens"].to_str().ok()), (6, Some("60")));
    }
}
