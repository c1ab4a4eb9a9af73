//! What the router costs: requests per second, latencies and processor time of a real router on loopback, in front of
//! scripted nodes that answer at once.
//!
//! ```text
//! cargo bench -p secateur-router --bench throughput -- [--model FILE|DIR] [--rounds 5] [--seconds 0.5] [--at-once 1,16,64,256]
//!     [--whole 16] [--stream 64] [--prompt 2000] [--threads N] [--only WORD] [--json]
//! ```
//!
//! Answers are whole (`--whole` tokens, which decode sends in one message) or streamed (`--stream` tokens, one a message and
//! an event), behind a short prompt and one of about `--prompt` tokens. In each round each of these is measured at each
//! concurrency, over kept connections, in three ways:
//!
//! - `router`: the client asks the router, the router asks the nodes;
//! - `canned`: the same client asks a plain server that sends the bytes of the router's reply, in the same pieces. What
//!   client, server and sockets cost by themselves;
//! - `direct`: the two gRPC calls that the router makes, made by a client on as many threads. `added` is the router's
//!   median less this one.
//!
//! All of them share the machine, the nodes and the client included, so that `req/s` is a lower bound of what the router
//! does on it alone; `router us` is the processor time of the router's own threads for a request. Figures are medians over
//! the rounds; the order of the ways turns. `--model` takes a real checkpoint's tokenizer and chat template instead of the
//! fixture's.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking and prints its figures")]
#![allow(missing_docs)]

mod arguments;
mod canned;
mod case;
mod client;
mod cluster;
mod cpu;
mod direct;
mod report;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod support;

use std::time::Duration;

use arguments::Arguments;
use case::{Case, cases};
use client::Asked;
use cluster::Served;
use report::{Row, Way};
use tokio::runtime::{Builder, Runtime};

/// A runtime whose threads bear this name, by which their processor time is counted.
fn runtime(name: &str, threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build().unwrap()
}

struct Bench {
    arguments: Arguments,
    router: Runtime,
    client: Runtime,
    others: Runtime,
    served: Served,
}

impl Bench {
    fn new(arguments: Arguments) -> Bench {
        let router = runtime(cpu::ROUTER, arguments.threads);
        let served = router.block_on(Served::start(&arguments));
        Bench {
            client: runtime(cpu::CLIENT, 1),
            others: runtime(cpu::OTHERS, arguments.threads),
            router,
            served,
            arguments,
        }
    }

    /// Measures one case at every concurrency.
    fn measure(&self, case: &Case, rows: &mut [Row], round: usize) {
        self.served.answer(case);
        let asked = self.router.block_on(self.served.ask(case));
        let canned = self.others.block_on(canned::serve(&asked.pieces));
        let reply = asked.pieces.iter().map(bytes::Bytes::len).sum::<usize>();
        let through = Asked::new(self.served.address(), case.body.clone(), reply);
        let beside = Asked::new(canned, case.body.clone(), reply);
        for row in rows {
            let mut ways = [Way::Router, Way::Canned, Way::Direct];
            ways.rotate_left(round % 3);
            for way in ways {
                let sample = match way {
                    Way::Router => self.client.block_on(client::drive(&through, row.at_once, self.time())),
                    Way::Canned => self.client.block_on(client::drive(&beside, row.at_once, self.time())),
                    Way::Direct => self.others.block_on(direct::drive(&asked.calls, row.at_once, self.time())),
                };
                row.add(way, sample);
            }
        }
    }

    fn time(&self) -> Duration {
        self.arguments.time
    }
}

fn main() {
    let arguments = Arguments::read();
    let bench = Bench::new(arguments);
    let cases = cases(&bench.arguments, |text| bench.router.block_on(bench.served.count(text)));
    let at_once = bench.arguments.at_once.clone();
    let mut table: Vec<Vec<Row>> =
        cases.iter().map(|case| at_once.iter().map(|&at_once| Row::new(case, at_once)).collect()).collect();
    for round in 0..bench.arguments.rounds {
        for (case, rows) in cases.iter().zip(&mut table) {
            bench.measure(case, rows, round);
        }
        eprintln!("round {} of {}", round + 1, bench.arguments.rounds);
    }
    let rows: Vec<Row> = table.into_iter().flatten().collect();
    if bench.arguments.json { report::json(&bench.arguments, &rows) } else { report::text(&bench.arguments, &rows) }
}
