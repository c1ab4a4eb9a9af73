//! Output of `secateur bench` on standard output: a table, or one JSON document.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use serde_json::json;

use super::{
    columns::{Column, LINKS, LOAD},
    row::Row,
};

/// Prints one JSON document; its field `error` reports a failure of the command despite some rows.
pub fn json(rows: &[Row], error: Option<&anyhow::Error>) -> serde_json::Result<()> {
    let error = error.map(|error| format!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&json!({"rows": rows, "error": error}))?);
    Ok(())
}

/// Prints the rows as a table.
pub fn text(rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let all_alike = rows.iter().all(|row| (&row.link, &row.transfer) == (&first.link, &first.transfer));
    let (columns, compared) = if all_alike {
        let transfer = if first.transfer.is_empty() { "unknown" } else { &first.transfer };
        (LOAD, format!("transfer {transfer}, link {}", first.link))
    } else {
        (LINKS, format!("{} rounds in turns", first.rounds))
    };
    println!(
        "{} tokens in, {} out, visual {}, {compared}; latencies as p50 / p90 / p99",
        first.input_len, first.output_len, first.visual,
    );
    print!("{}", table(rows, columns));
    for line in links(rows).into_iter().chain(sums(rows)).chain(DEFINITIONS.map(str::to_owned)) {
        println!("{line}");
    }
}

/// Definitions of the latencies.
const DEFINITIONS: [&str; 3] = [
    "TTFT: request sent to first text. 2nd token: to the second piece of text. e2e: to the end of the answer.",
    "TPOT: (e2e - TTFT) / (tokens - 1). ITL: one piece of text, which may be several tokens, to the next, the last to the end.",
    "All of them of the same requests: those that were answered, with text.",
];

/// One line per row that shows how its means add up.
fn sums(rows: &[Row]) -> Vec<String> {
    let sum = |row: &Row| {
        let means = row.summary.means?;
        let after = means.tpot_ms.map(|tpot| format!(" + {} tokens x TPOT {tpot:.2}", short(means.tokens_after_first)));
        let (e2e, ttft) = (means.e2e_ms, means.ttft_ms);
        Some(format!("{}: mean e2e {e2e:.1} ms = TTFT {ttft:.1}{}", label(row), after.unwrap_or_default()))
    };
    rows.iter().filter_map(sum).collect()
}

fn label(row: &Row) -> String {
    if row.transfer.is_empty() { row.scenario.clone() } else { format!("{}, {}", row.scenario, row.transfer) }
}

fn short(count: f64) -> String {
    if count.fract() == 0.0 { format!("{count:.0}") } else { format!("{count:.1}") }
}

/// One line per link with the measurements made before everything else ran.
fn links(rows: &[Row]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for row in rows {
        let Some(stack) = row.figures.link_stack_mbit_s else { continue };
        let reached = row.figures.link_reached_mbit_s.map(|rate| format!("shaper {rate:.0} Mbit/s, "));
        let line = format!(
            "link {}: {}gRPC between the nodes {stack:.0} Mbit/s, round trip {:.2} ms",
            row.link,
            reached.unwrap_or_default(),
            row.figures.link_round_trip_ms.unwrap_or(0.0),
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Formats a table with columns as wide as their widest cell; the first is aligned left, numbers right.
fn table(rows: &[Row], columns: &[Column]) -> String {
    let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let cells = |row: &Row| columns.iter().map(|(_, cell)| cell(row)).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  "))
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        arguments::BenchArguments,
        compare::{Spread, ToDense},
        link::{Figures, Link},
        outcome::Outcome,
        row::Head,
        scenario,
        summary::{Means, Percentiles, Summary},
        tests::arguments,
    };

    fn row(change: impl FnOnce(&mut Summary)) -> Row {
        let arguments: BenchArguments = arguments(&["--concurrency", "4"]);
        let mut summary = Summary::of(&Outcome::default());
        change(&mut summary);
        let figures = Figures { link_stack_mbit_s: Some(940.0), ..Figures::default() };
        let head = Head { link: Link::Unshaped, figures, policy: None, rounds: 1, to_dense: None };
        summary.row(&scenario::of(&arguments)[0], &arguments, head)
    }

    #[test]
    fn columns_are_aligned() {
        let measured = row(|summary| {
            summary.ttft_ms = Percentiles { p50: Some(1.234), p90: Some(56.78), p99: Some(1234.5) };
            summary.bytes_sent = 3 << 20;
            summary.bytes_sent_per_request = Some(1_048_576.0 * 1.5);
            summary.ratio = 2.0;
        });
        let text = table(&[measured, row(|_| ())], LOAD);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
        assert!(lines[1].contains("1.23 / 56.8 / 1234") && lines[1].ends_with("1.5 MiB        2.00x"), "{text}");
        assert!(lines[2].starts_with("concurrency 4  ") && lines[2].ends_with(" -"), "{text}");
    }

    #[test]
    fn a_rows_means_are_shown_to_add_up() {
        let means = Means { ttft_ms: 120.0, tokens_after_first: 63.0, tpot_ms: Some(11.0), e2e_ms: 813.0 };
        let rows = [row(|summary| summary.means = Some(means)), row(|_| ())];
        assert_eq!(sums(&rows), ["concurrency 4: mean e2e 813.0 ms = TTFT 120.0 + 63 tokens x TPOT 11.00"]);
    }

    #[test]
    fn compared_rows_say_how_they_compare() {
        let spread = Spread { median: 0.5, low: 0.4, high: 0.61 };
        let to_dense = Some(ToDense { second_token_ms: Some(spread), ..ToDense::default() });
        let rows = [row(|_| ()), Row { to_dense, plan: "0123456789abcdef".to_owned(), ..row(|_| ()) }];
        let text = table(&rows, LINKS);
        assert!(text.lines().nth(2).unwrap().ends_with("0.50 (0.40 to 0.61)"), "{text}");
        assert!(text.contains(" 01234567  ") && text.starts_with("link  policy"), "{text}");
        assert_eq!(links(&rows), ["link none: gRPC between the nodes 940 Mbit/s, round trip 0.00 ms"]);
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
            "second_token_ms",
            "tpot_ms",
            "itl_ms",
            "e2e_ms",
            "means",
            "requests_per_s",
            "output_tokens_per_s",
            "bytes_sent",
            "bytes_sent_per_request",
            "bytes_unpruned",
            "ratio",
            "wire_ms",
            "overlap",
            "rounds",
            "to_dense",
            "link_reached_mbit_s",
            "link_stack_mbit_s",
            "link_round_trip_ms",
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
