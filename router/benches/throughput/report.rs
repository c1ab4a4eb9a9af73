//! The table, and the JSON document.

use serde_json::{Value, json};

use super::{arguments::Arguments, case::Case, client::Sample, cpu};

/// A way of asking.
#[derive(Clone, Copy)]
pub enum Way {
    Router,
    Canned,
    Direct,
}

/// The measurements of one case at one concurrency, by round.
pub struct Row {
    name: String,
    prompt_tokens: usize,
    answer_tokens: usize,
    pub at_once: usize,
    router: Vec<Sample>,
    canned: Vec<Sample>,
    direct: Vec<Sample>,
}

/// The smallest, the middle and the largest of some values.
#[derive(Clone, Copy)]
struct Spread {
    low: f64,
    mid: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        Spread { low: sorted[0], mid: sorted[sorted.len() / 2], high: sorted[sorted.len() - 1] }
    }

    fn json(self) -> Value {
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        json!({"min": rounded(self.low), "median": rounded(self.mid), "max": rounded(self.high)})
    }
}

impl Row {
    pub fn new(case: &Case, at_once: usize) -> Row {
        let (router, canned, direct) = (Vec::new(), Vec::new(), Vec::new());
        let (prompt_tokens, answer_tokens) = (case.prompt_tokens, case.answer_tokens);
        Row { name: case.name(), prompt_tokens, answer_tokens, at_once, router, canned, direct }
    }

    pub fn add(&mut self, way: Way, sample: Sample) {
        match way {
            Way::Router => self.router.push(sample),
            Way::Canned => self.canned.push(sample),
            Way::Direct => self.direct.push(sample),
        }
    }

    fn over(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(samples.iter().map(figure))
    }

    fn percentile(samples: &[Sample], share: f64) -> Spread {
        Row::over(samples, |sample| sample.percentile(share))
    }

    /// Milliseconds that the router adds at the median, in each round.
    fn added(&self) -> Spread {
        let pairs = self.router.iter().zip(&self.direct);
        Spread::of(pairs.map(|(router, direct)| router.percentile(0.5) - direct.percentile(0.5)))
    }

    /// Microseconds of processor time for a request through the router: of the router, of the client, of the nodes.
    fn used(&self) -> [Spread; 3] {
        let each = |seconds: fn(&Sample) -> f64| Row::over(&self.router, |sample| sample.each(seconds(sample)));
        [
            each(|sample| sample.used.of(cpu::ROUTER)),
            each(|sample| sample.used.of(cpu::CLIENT)),
            each(|sample| sample.used.of_nodes()),
        ]
    }

    fn json(&self) -> Value {
        let way = |samples: &[Sample]| {
            json!({
                "per_second": Row::over(samples, Sample::per_second).json(),
                "p50_ms": Row::percentile(samples, 0.5).json(), "p90_ms": Row::percentile(samples, 0.9).json(),
                "p99_ms": Row::percentile(samples, 0.99).json(),
            })
        };
        let [router, client, nodes] = self.used().map(Spread::json);
        json!({
            "case": self.name, "prompt_tokens": self.prompt_tokens, "answer_tokens": self.answer_tokens,
            "at_once": self.at_once, "router": way(&self.router), "canned": way(&self.canned),
            "direct": way(&self.direct), "added_ms": self.added().json(),
            "processor_us": {"router": router, "client": client, "nodes": nodes},
        })
    }
}

pub fn json(arguments: &Arguments, rows: &[Row]) {
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    let seconds = arguments.time.as_secs_f64();
    println!("{}", json!({"threads": arguments.threads, "rounds": arguments.rounds, "seconds": seconds, "rows": rows}));
}

pub fn text(arguments: &Arguments, rows: &[Row]) {
    println!(
        "router on {} threads; medians of {} rounds of {:.1} s; latencies in ms, processor time in us for a request",
        arguments.threads,
        arguments.rounds,
        arguments.time.as_secs_f64()
    );
    println!(
        "{:14} {:>7} | {:>7} {:>16} {:>8} {:>8} {:>8} {:>8} | {:>9} {:>9} {:>9} | {:>8} {:>7} | {:>8} {:>7}",
        "case",
        "at once",
        "req/s",
        "(min, max)",
        "p50",
        "p90",
        "p99",
        "added",
        "router us",
        "client us",
        "nodes us",
        "canned/s",
        "p50",
        "direct/s",
        "p50"
    );
    for row in rows {
        let rate = Row::over(&row.router, Sample::per_second);
        let at = |samples: &[Sample], share: f64| Row::percentile(samples, share).mid;
        let [router, client, nodes] = row.used().map(|used| used.mid);
        println!(
            "{:14} {:>7} | {:>7.0} {:>16} {:>8.3} {:>8.3} {:>8.3} {:>8.3} | {:>9.0} {:>9.0} {:>9.0} | {:>8.0} {:>7.3} | {:>8.0} {:>7.3}",
            row.name,
            row.at_once,
            rate.mid,
            format!("({:.0}, {:.0})", rate.low, rate.high),
            at(&row.router, 0.5),
            at(&row.router, 0.9),
            at(&row.router, 0.99),
            row.added().mid,
            router,
            client,
            nodes,
            Row::over(&row.canned, Sample::per_second).mid,
            at(&row.canned, 0.5),
            Row::over(&row.direct, Sample::per_second).mid,
            at(&row.direct, 0.5)
        );
    }
    let whole = "Goal: 3000 requests a second on two cores, and less than 1 ms added at the median.";
    println!("{whole}");
}
