//! Cost of shipping KV compared with a bare TCP stream, measured alternately between two processes on loopback.
//!
//! ```text
//! cargo bench -p secateur-tests --bench ship -- [--rounds 5] [--kinds dense,lossless,tiered] [--json]
//! ```
//!
//! This process is prefill; it starts another copy of itself as decode. Both have a pool of a Llama-3.2-1B's KV in bf16
//! (16 layers of 8 heads of 64), and no model: 1 GiB of KV is sent as 8 shipments of 4,096 positions, through the
//! client, the host, the service and the pools of real nodes. Before each such turn 1 GiB is sent over a TCP stream
//! between the same two processes, written and read by one thread each in pieces of 1 MiB, always from the same buffer.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking and prints its figures")]

mod made;
mod raw;
mod receiver;
mod sender;
mod table;
mod usage;

use secateur_transfer::{TransferPolicy, codec::Packing};

/// Bytes of every turn: those of the bare stream, and those of a turn's shipments before coding.
pub const TURN_BYTES: u64 = 1 << 30;

/// A way of shipping.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Name in the table.
    pub name: &'static str,
    /// Transfer policy.
    pub transfer: TransferPolicy,
    /// Packing of native values.
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
            // Cargo passes this flag to every benchmark.
            "--bench" => {}
            other => panic!("unknown flag {other}"),
        }
    }
    assert!(found.rounds > 0, "--rounds must be at least 1");
    found
}

fn main() {
    let arguments = arguments();
    // The same kind of runtime as a node's.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if arguments.receives {
        return runtime.block_on(receiver::run());
    }
    let turns = runtime.block_on(sender::run(arguments.rounds, &arguments.kinds));
    table::print(&arguments.kinds, &turns, arguments.json);
}
