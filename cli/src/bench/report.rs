//! What `secateur bench` prints on standard output: a table, or one JSON document.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use serde_json::json;

use super::summary::{Percentiles, Row};

const HEAD: [&str; 11] = [
    "scenario",
    "requests",
    "failed",
    "TTFT ms",
    "TPOT ms",
    "ITL ms",
    "e2e ms",
    "requests/s",
    "tokens/s",
    "KV sent",
    "fewer bytes",
];

/// One JSON document.
pub fn json(rows: &[Row]) -> serde_json::Result<()> {
    println!("{}", serde_json::to_string_pretty(&json!({"rows": rows}))?);
    Ok(())
}

/// The same for a person.
pub fn text(rows: &[Row]) {
    if let Some(row) = rows.first() {
        println!(
            "{} tokens in, {} out, visual {}, transfer {}, link {}; latencies as p50 / p90 / p99",
            row.input_len,
            row.output_len,
            row.visual,
            if row.transfer.is_empty() { "unknown" } else { &row.transfer },
            row.link,
        );
    }
    print!("{}", table(rows));
}

/// Columns as wide as their widest cell; the first to the left, numbers to the right.
fn table(rows: &[Row]) -> String {
    let lines: Vec<[String; 11]> = std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 11] = std::array::from_fn(width);
    let line = |cells: &[String; 11]| {
        let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  "))
    };
    lines.iter().map(line).collect()
}

fn cells(row: &Row) -> [String; 11] {
    let summary = &row.summary;
    [
        row.scenario.clone(),
        row.requests.to_string(),
        row.failed.to_string(),
        latency(&summary.ttft_ms),
        latency(&summary.tpot_ms),
        latency(&summary.itl_ms),
        latency(&summary.e2e_ms),
        short(summary.requests_per_s),
        short(summary.output_tokens_per_s),
        bytes(summary.bytes_sent),
        if summary.bytes_sent == 0 { "-".to_owned() } else { format!("{:.2}x", summary.ratio) },
    ]
}

fn latency(found: &Percentiles) -> String {
    let [Some(p50), Some(p90), Some(p99)] = [found.p50, found.p90, found.p99] else { return "-".to_owned() };
    [p50, p90, p99].map(short).join(" / ")
}

/// Three digits are as many as a measurement on a shared machine has.
fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0 => "-".to_owned(),
        1..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{arguments::BenchArguments, run::Outcome, scenario, summary::Summary, tests::arguments};

    fn row(change: impl FnOnce(&mut Summary)) -> Row {
        let arguments: BenchArguments = arguments(&["--concurrency", "4"]);
        let mut summary = Summary::of(&Outcome::default());
        change(&mut summary);
        summary.row(&scenario::of(&arguments)[0], &arguments)
    }

    #[test]
    fn columns_are_aligned() {
        let measured = row(|summary| {
            summary.ttft_ms = Percentiles { p50: Some(1.234), p90: Some(56.78), p99: Some(1234.5) };
            summary.bytes_sent = 3 << 20;
            summary.ratio = 2.0;
        });
        let text = table(&[measured, row(|_| ())]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
        assert!(lines[1].contains("1.23 / 56.8 / 1234") && lines[1].ends_with("3.0 MiB        2.00x"), "{text}");
        assert!(lines[2].starts_with("concurrency 4  ") && lines[2].ends_with(" -"), "{text}");
    }

    #[test]
    fn the_document_has_the_promised_keys() {
        let row = serde_json::to_value(row(|_| ())).unwrap();
        let promised = [
            "scenario",
            "link",
            "visual",
            "transfer",
            "plan",
            "requests",
            "failed",
            "ttft_ms",
            "tpot_ms",
            "itl_ms",
            "e2e_ms",
            "requests_per_s",
            "output_tokens_per_s",
            "bytes_sent",
            "bytes_unpruned",
            "ratio",
            "concurrency",
            "input_len",
            "output_len",
            "prompt_tokens_per_s",
            "duration_s",
        ];
        let mut found: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        let mut expected = promised;
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert!(row["ttft_ms"].get("p99").is_some());
    }
}
