//! The prefill process: runs the turns, and records both processes' usage in each.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use secateur_channel::{Channels, Link};
use secateur_node::link;
use secateur_prefill_node::rehearsal::{Part, Rehearsal};
use secateur_proto::v1;

use crate::{
    Kind, TURN_BYTES,
    made::{self, POSITIONS, SHIPMENT_BYTES},
    raw,
    usage::Usage,
};

/// Measurements of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Index of the kind; `None` for the bare stream.
    pub kind: Option<usize>,
    /// Time from the first byte until the receiver has confirmed that everything arrived.
    pub wall: Duration,
    /// Processor time of prefill and of decode.
    pub processor: [Duration; 2],
    /// Peak memory of each process beyond its memory before the first turn, in bytes.
    pub extra: [u64; 2],
    /// Bytes sent, from the receipts.
    pub bytes_sent: u64,
}

/// The decode process.
struct Decode {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Decode {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child =
            Command::new(program).arg("--receive").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the decode process has ended");
        line.trim().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        self.hear()
    }
}

impl Drop for Decode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `rounds` rounds of turns: the bare stream before each kind, and once at the end. One more round is run first
/// and not counted.
pub async fn run(rounds: usize, kinds: &[Kind]) -> Vec<Turn> {
    let mut decode = Decode::start();
    let pool = made::pool();
    let rehearsal = Rehearsal::new(made::identity(v1::Role::Prefill), &pool, POSITIONS, made::plane).unwrap();
    let addresses = decode.hear();
    let (service, sink) = addresses.split_once(' ').unwrap();
    let sink = sink.parse().unwrap();
    let link = link::open(&Channels::default(), service).unwrap();
    let before = [Usage::now(), Usage::of_line(&decode.ask("usage"))].map(|usage| usage.resident);
    let mut turns = Vec::new();
    let mut shipments = 0;
    for _ in 0..=rounds {
        for (at, kind) in kinds.iter().enumerate() {
            turns.push(turn(&mut decode, before, None, async |_| raw_turn(sink)).await);
            let ship = async |decode: &mut Decode| ship_turn(&rehearsal, &link, decode, *kind, &mut shipments).await;
            turns.push(turn(&mut decode, before, Some(at), ship).await);
        }
    }
    turns.push(turn(&mut decode, before, None, async |_| raw_turn(sink)).await);
    turns.split_off(2 * kinds.len())
}

async fn turn(
    decode: &mut Decode,
    before: [u64; 2],
    kind: Option<usize>,
    work: impl AsyncFnOnce(&mut Decode) -> u64,
) -> Turn {
    Usage::forget_peak();
    decode.ask("forget");
    let start = [Usage::now(), Usage::of_line(&decode.ask("usage"))];
    let started = Instant::now();
    let bytes_sent = work(decode).await;
    let wall = started.elapsed();
    let end = [Usage::now(), Usage::of_line(&decode.ask("usage"))];
    let processor = [0, 1].map(|side| end[side].processor - start[side].processor);
    let extra = [0, 1].map(|side| end[side].peak.saturating_sub(before[side]));
    Turn { kind, wall, processor, extra, bytes_sent }
}

fn raw_turn(sink: SocketAddr) -> u64 {
    tokio::task::block_in_place(|| raw::send(sink, TURN_BYTES));
    TURN_BYTES
}

async fn ship_turn(rehearsal: &Rehearsal, link: &Link, decode: &mut Decode, kind: Kind, shipments: &mut u32) -> u64 {
    let mut bytes = 0;
    for _ in 0..TURN_BYTES / SHIPMENT_BYTES {
        *shipments += 1;
        let epoch = format!("shipment-{shipments}");
        assert_eq!(decode.ask(&format!("open {epoch} {}", kind.transfer)), "open");
        let part = Part { epoch: &epoch, transfer: kind.transfer, packing: kind.packing };
        let sent = rehearsal.ship(link.clone(), part).await.unwrap();
        assert_eq!(sent.bytes_raw, SHIPMENT_BYTES);
        bytes += sent.bytes_sent;
    }
    bytes
}
