//! What shipping KV costs beside a bare TCP stream: two processes on loopback, in turns through one and the other.
//!
//! ```text
//! cargo bench -p secateur-tests --bench ship -- [--rounds 5] [--kinds dense,lossless,tiered] [--json]
//! ```
//!
//! This process is prefill, one that it starts of itself is decode. Both have a pool of a Llama-3.2-1B's KV in bf16 (16
//! layers of 8 heads of 64), and no model: 1 GiB of KV goes over as 8 shipments of 4,096 positions, through the client, the
//! host, the service and the pools of real nodes. Before each such turn 1 GiB goes over a TCP stream between the same two
//! processes, written and read by a thread each in pieces of 1 MiB, the same buffer again and again.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking and prints its figures")]

mod made;
mod raw;
mod receiver;
mod sender;
mod table;
mod usage;

use secateur_transfer::{TransferPolicy, codec::Packing};

/// Of all turns: what is sent raw, and what the shipments of a turn hold before coding.
pub const TURN_BYTES: u64 = 1 << 30;

/// A way to ship.
#[derive(Clone, Copy)]
pub struct Kind {
    /// In the table.
    pub name: &'static str,
    /// What is shipped.
    pub transfer: TransferPolicy,
    /// Of native values.
    pub packing: Packing,
}

const KINDS: [Kind; 3] = [
    Kind { name: "dense", transfer: TransferPolicy::Dense, packing: Packing::Never },
    Kind { name: "lossless", transfer: TransferPolicy::Dense, packing: Packing::WhereSmaller },
    Kind { name: "tiered", transfer: TransferPolicy::Tiered, packing: Packing::Never },
];

struct Arguments {
    rounds: usize,
    kinds: Vec<Kind>,
    json: bool,
    receives: bool,
}

fn arguments() -> Arguments {
    let mut found = Arguments { rounds: 5, kinds: KINDS.to_vec(), json: false, receives: false };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().unwrap_or_else(|| panic!("{flag} needs a value"));
        let kind = |name: &str| {
            KINDS.into_iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("--kinds: unknown kind {name}"))
        };
        match flag.as_str() {
            "--rounds" => found.rounds = value().parse().unwrap(),
            "--kinds" => found.kinds = value().split(',').map(kind).collect(),
            "--json" => found.json = true,
            "--receive" => found.receives = true,
            // What cargo passes to every benchmark.
            "--bench" => {}
            other => panic!("unknown flag {other}"),
        }
    }
    assert!(found.rounds > 0, "--rounds must be at least 1");
    found
}

fn main() {
    let arguments = arguments();
    // As the nodes' own runtime.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if arguments.receives {
        return runtime.block_on(receiver::run());
    }
    let turns = runtime.block_on(sender::run(arguments.rounds, &arguments.kinds));
    table::print(&arguments.kinds, &turns, arguments.json);
}
