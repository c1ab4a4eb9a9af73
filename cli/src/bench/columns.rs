//! The columns of the table, and the format of figures.

use super::{compare::Spread, row::Row, summary::Percentiles};

/// A column: its title, and the function that formats a row's cell.
pub type Column = (&'static str, fn(&Row) -> String);

const SCENARIO: Column = ("scenario", |row| row.scenario.clone());
const REQUESTS: Column = ("requests", |row| row.requests.to_string());
const FAILED: Column = ("failed", |row| row.failed.to_string());
const TTFT: Column = ("TTFT ms", |row| latency(&row.summary.ttft_ms));
const SECOND: Column = ("2nd token ms", |row| latency(&row.summary.second_token_ms));
const TPOT: Column = ("TPOT ms", |row| latency(&row.summary.tpot_ms));
const ITL: Column = ("ITL ms", |row| latency(&row.summary.itl_ms));
const E2E: Column = ("e2e ms", |row| latency(&row.summary.e2e_ms));
const REQUESTS_PER_S: Column = ("requests/s", |row| short(row.summary.requests_per_s));
const TOKENS_PER_S: Column = ("tokens/s", |row| short(row.summary.output_tokens_per_s));
const SENT: Column = ("KV/request", |row| row.summary.bytes_sent_per_request.map_or_else(dash, bytes));
const RATIO: Column = ("fewer bytes", |row| match row.summary.bytes_sent {
    0 => dash(),
    _ => format!("{:.2}x", row.summary.ratio),
});
const LINK: Column = ("link", |row| row.link.clone());
const POLICY: Column = ("policy", |row| if row.transfer.is_empty() { dash() } else { row.transfer.clone() });
// Ids are digests; the first eight digits tell them apart.
const PLAN: Column = ("plan", |row| if row.plan.is_empty() { dash() } else { row.plan.chars().take(8).collect() });
const SECOND_TO_DENSE: Column = ("2nd to dense", |row| {
    row.to_dense.and_then(|to_dense| to_dense.second_token_ms).map_or_else(dash, |spread| share(&spread))
});

/// Columns for scenarios that differ in load.
pub const LOAD: &[Column] =
    &[SCENARIO, REQUESTS, FAILED, TTFT, SECOND, TPOT, ITL, E2E, REQUESTS_PER_S, TOKENS_PER_S, SENT, RATIO];

/// Columns for comparisons of links or policies.
pub const LINKS: &[Column] =
    &[LINK, POLICY, PLAN, SCENARIO, REQUESTS, FAILED, SENT, RATIO, TTFT, SECOND, TPOT, SECOND_TO_DENSE];

fn dash() -> String {
    "-".to_owned()
}

fn latency(found: &Percentiles) -> String {
    let [Some(p50), Some(p90), Some(p99)] = [found.p50, found.p90, found.p99] else { return dash() };
    [p50, p90, p99].map(short).join(" / ")
}

fn share(spread: &Spread) -> String {
    format!("{:.2} ({:.2} to {:.2})", spread.median, spread.low, spread.high)
}

/// Formats a figure with three digits, as many as a measurement on a shared machine has.
fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn bytes(count: f64) -> String {
    match count {
        ..1.0 => dash(),
        ..1_048_576.0 => format!("{:.1} KiB", count / 1024.0),
        _ => format!("{:.1} MiB", count / 1_048_576.0),
    }
}
