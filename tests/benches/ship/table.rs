//! The figures: medians, with minimum and maximum.

use crate::{Kind, TURN_BYTES, sender::Turn};

const GIB: f64 = (1u64 << 30) as f64;

/// One row: a name and, for each figure, its values over the rounds.
struct Row {
    name: &'static str,
    figures: [(&'static str, Vec<f64>); 7],
}

/// Prints the table, or one JSON document.
pub fn print(kinds: &[Kind], turns: &[Turn], json: bool) {
    let mut rows = vec![row("raw TCP", None, turns)];
    rows.extend(kinds.iter().enumerate().map(|(at, kind)| row(kind.name, Some(at), turns)));
    if json {
        let rows: Vec<String> = rows.iter().map(Row::json).collect();
        println!("{{\"rows\": [{}]}}", rows.join(", "));
        return;
    }
    println!("| | {} |", rows[0].figures.each_ref().map(|(name, _)| *name).join(" | "));
    println!("|---|{}", "---|".repeat(rows[0].figures.len()));
    rows.iter().for_each(|row| println!("{}", row.line()));
}

fn row(name: &'static str, kind: Option<usize>, turns: &[Turn]) -> Row {
    let own: Vec<(usize, &Turn)> = turns.iter().enumerate().filter(|(_, turn)| turn.kind == kind).collect();
    let each = |figure: &dyn Fn(&Turn) -> f64| own.iter().map(|(_, turn)| figure(turn)).collect::<Vec<f64>>();
    let rate = |turn: &Turn| TURN_BYTES as f64 / GIB / turn.wall.as_secs_f64();
    // The rate relative to the bare streams just before and just after.
    let to_raw = |at: usize| 2.0 * rate(&turns[at]) / (rate(&turns[at - 1]) + rate(&turns[at + 1]));
    let processor = |side: usize| move |turn: &Turn| turn.processor[side].as_secs_f64() * GIB / TURN_BYTES as f64;
    let extra = |side: usize| move |turn: &Turn| turn.extra[side] as f64 / f64::from(1 << 20);
    let ratios = own.iter().map(|&(at, _)| if kind.is_some() { to_raw(at) } else { 1.0 }).collect();
    Row {
        name,
        figures: [
            ("KV, GiB/s", each(&rate)),
            ("of raw TCP", ratios),
            ("bytes sent, MiB", each(&|turn| turn.bytes_sent as f64 / f64::from(1 << 20))),
            ("prefill, CPU s/GiB", each(&processor(0))),
            ("decode, CPU s/GiB", each(&processor(1))),
            ("prefill, extra MiB", each(&extra(0))),
            ("decode, extra MiB", each(&extra(1))),
        ],
    }
}

impl Row {
    fn line(&self) -> String {
        let cells = self.figures.each_ref().map(|(_, values)| {
            let [low, mid, high] = spread(values);
            if low == high { format!("{mid:.2}") } else { format!("{mid:.2} ({low:.2} to {high:.2})") }
        });
        format!("| {} | {} |", self.name, cells.join(" | "))
    }

    fn json(&self) -> String {
        let cells = self.figures.each_ref().map(|(name, values)| {
            let [low, mid, high] = spread(values);
            format!("\"{name}\": {{\"min\": {low:.4}, \"median\": {mid:.4}, \"max\": {high:.4}}}")
        });
        format!("{{\"kind\": \"{}\", {}}}", self.name, cells.join(", "))
    }
}

/// Minimum, median and maximum.
fn spread(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (last, middle) = (sorted.len() - 1, sorted.len() / 2);
    let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    [sorted[0], median, sorted[last]]
}
