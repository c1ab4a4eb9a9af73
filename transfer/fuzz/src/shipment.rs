//! Properties that must hold for a shipment's frames: every row is placed once and at its place, and a shipment is
//! accepted only if all of it arrived and its digests match.

use std::collections::BTreeMap;

use prost::Message;
use secateur_proto::v1::{self, ship_frame::Frame};
use secateur_transfer::{
    Codec, Extent, KvShape, LayerEntry, Manifest, Parties, Receiver, Refusal, TransferPolicy,
    codec::{KvSteps, LayerCoding, Packing, PartEncoder, Plane, Rows, steps::Notch},
    digest::Whole,
    frame,
    receive::{Expectation, KvSink},
    span::{Part, parts},
};

use crate::{input::Input, memory};

const LAYERS: [u32; 3] = [0, 2, 5];
const FIRST_TOKEN: u32 = 42;
/// Bytes that receiving a frame may take: the values of one part at a time, of at most 128 positions and 4 values.
const FRAME_BYTES_MAX: usize = 768 << 10;

/// A sink that records which rows were placed.
struct Placed {
    row_bytes: usize,
    /// For each layer, whether each of its rows was placed.
    rows: BTreeMap<u32, Vec<bool>>,
}

impl KvSink for Placed {
    type Error = Refusal;

    fn place(&mut self, layer: u32, first_row: u32, rows: Rows<'_>) -> Result<(), Refusal> {
        assert_eq!(rows.k.len(), rows.v.len());
        assert!(rows.k.len() >= self.row_bytes && rows.k.len() % self.row_bytes == 0);
        let there = self.rows.get_mut(&layer).expect("a layer of the manifest");
        for row in 0..rows.k.len() / self.row_bytes {
            let there = &mut there[first_row as usize + row];
            assert!(!*there, "row {row} of layer {layer} twice");
            *there = true;
        }
        Ok(())
    }
}

/// A shipment made by the fuzzer, with the state of an honest sender.
struct Shipment {
    expected: Expectation,
    manifest: Manifest,
    held: u32,
    encoder: PartEncoder,
    /// For each layer: its index, its parts, the next part that is due, and the coding state.
    due: Vec<(u32, Vec<Part>, usize, LayerCoding)>,
    whole: Whole,
    sequence: u64,
    /// Whether no message was changed so far.
    is_honest: bool,
}

impl Shipment {
    fn of(input: &mut Input<'_>) -> Self {
        let policy = input.pick(&[TransferPolicy::Dense, TransferPolicy::Tiered, TransferPolicy::Small]);
        let positions = input.pick(&[1, 5, 40, 130, 300]);
        let (kv_heads, head_dim) = input.pick(&[(1, 2), (2, 1), (1, 1), (2, 2)]);
        let shape = KvShape { kv_heads, head_dim, dtype: input.dtype() };
        let extent = Extent { prompt: positions, positions };
        let parties = Parties { epoch: "e".into(), attempt: 1, model_fingerprint: "f".into(), plan_id: String::new() };
        let steps = KvSteps::new(LAYERS.len(), shape.heads(), |_, _, _| Notch(128), |_, _| Notch(130));
        let manifest = Manifest::new(parties, (policy, None), extent, shape, &LAYERS).with_steps(&steps);
        let expected = Expectation {
            model_fingerprint: "f".into(),
            plan_id: String::new(),
            shape: KvShape { dtype: input.dtype(), ..shape },
            layers: LAYERS.to_vec(),
            plan: None,
            policy,
            emitted: 0,
            positions_max: positions,
        };
        assert_eq!(expected.check(&manifest), Ok(()));
        let held = 16 * (input.byte() as u32 % 4) % positions;
        let every = manifest.part_positions();
        let coding = |place: usize, entry: &LayerEntry| {
            let grain = entry.spans.iter().find_map(|coded| match coded.codec {
                Codec::Native => None,
                Codec::Steps(grain) => Some(grain),
            });
            LayerCoding::new(&manifest.steps, place, shape.heads(), grain)
        };
        let due = manifest.layers.iter().enumerate();
        let due = due.map(|(at, entry)| (entry.layer, parts(&entry.spans, every, held), 0, coding(at, entry))).collect();
        let encoder =
            PartEncoder::new(shape.layout(), shape.dtype, input.pick(&[Packing::Never, Packing::WhereSmaller]));
        let whole = Whole::new(&manifest, held);
        Self { expected, manifest, held, encoder, due, whole, sequence: 0, is_honest: true }
    }

    /// A record for all rows of the shipment, with none of them placed.
    fn nothing_placed(&self) -> Placed {
        let row_bytes = self.expected.shape.bytes_per_token() as usize / 2;
        let rows = self.manifest.layers.iter().map(|entry| (entry.layer, vec![false; entry.tokens() as usize]));
        Placed { row_bytes, rows: rows.collect() }
    }

    /// Whether exactly the rows that were not held have been placed. All policies used here ship every position.
    fn is_whole(&self, placed: &Placed) -> bool {
        let is_due = |row: usize| row >= self.held as usize;
        placed.rows.values().all(|rows| rows.iter().enumerate().all(|(row, &there)| there == is_due(row)))
    }

    /// The next frame of an honest sender, with a number of parts chosen by the fuzzer.
    fn honest(&mut self, input: &mut Input<'_>) -> v1::KvFrame {
        let (mut runs, mut payload) = (Vec::new(), Vec::new());
        for _ in 0..1 + input.below(3) {
            let at = input.below(self.due.len());
            let (layer, parts, next, coding) = &mut self.due[at];
            let of: Vec<Part> = parts[*next..].iter().take(1 + input.below(3)).copied().collect();
            if of.is_empty() {
                continue;
            }
            runs.push(v1::Run { layer: *layer, first_part: *next as u32, parts: of.len() as u32 });
            *next += of.len();
            for part in of {
                let plane_bytes = self.manifest.shape.layout().plane_bytes(part.span.len() as usize);
                let (k, v) = (input.take(16), input.take(16));
                let copy = |plane, into: &mut Vec<u8>| {
                    let of = if plane == Plane::K { k } else { v };
                    let end = into.len() + plane_bytes;
                    into.extend(of.iter().copied().cycle().take(plane_bytes));
                    into.resize(end, 0);
                };
                self.encoder.encode(part.codec, coding, copy, &mut payload);
            }
        }
        v1::KvFrame { sequence: self.sequence, runs, payload: payload.into(), ..Default::default() }
    }

    /// Changes a frame before its digest is made.
    fn spoil(&mut self, frame: &mut v1::KvFrame, input: &mut Input<'_>) {
        let before = frame.clone();
        let mut payload = frame.payload.to_vec();
        let at = input.number() as usize % payload.len().max(1);
        let run = input.below(frame.runs.len());
        match input.below(9) {
            0 => frame.sequence = u64::from(input.byte()),
            1 => payload.truncate(at),
            2 => payload.extend_from_slice(input.take(8)),
            3 => payload = input.take(200).to_vec(),
            4 => frame.runs.push(v1::Run { layer: input.number(), first_part: input.number(), parts: input.number() }),
            5 => frame.runs.clear(),
            6 => frame.runs.iter_mut().skip(run).take(1).for_each(|run| run.parts = input.number()),
            7 => frame.runs.iter_mut().skip(run).take(1).for_each(|run| run.first_part = input.number()),
            _ => payload.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= input.byte()),
        }
        frame.payload = payload.into();
        self.is_honest &= *frame == before;
    }

    /// The next message: a frame, a closing frame, or arbitrary bytes.
    fn next(&mut self, input: &mut Input<'_>) -> Option<Frame> {
        match input.below(16) {
            0 => {
                self.is_honest = false;
                let len = usize::from(input.byte());
                v1::ShipFrame::decode(input.take(len)).ok()?.frame
            }
            1..4 => Some(Frame::Closing(self.closing(input))),
            kind => {
                let mut frame = self.honest(input);
                self.is_honest &= !frame.runs.is_empty();
                if kind > 11 {
                    self.spoil(&mut frame, input);
                }
                let digest = frame::digest(&frame);
                self.whole.frame(digest);
                self.sequence += 1;
                frame.digest = digest.to_bytes();
                if kind == 15 {
                    self.is_honest = false;
                    frame.digest = input.take(32).to_vec().into();
                }
                Some(Frame::Kv(frame))
            }
        }
    }

    fn closing(&mut self, input: &mut Input<'_>) -> v1::Closing {
        let digest = self.whole.close(FIRST_TOKEN).to_bytes();
        let mut closing = v1::Closing { digest, first_token: FIRST_TOKEN, frames: self.sequence };
        let before = closing.clone();
        match input.below(8) {
            0 => closing.first_token = input.number(),
            1 => closing.frames = u64::from(input.byte()),
            2 => closing.digest = input.take(32).to_vec().into(),
            _ => {}
        }
        self.is_honest &= closing == before;
        closing
    }
}

/// Sends a shipment made by the fuzzer until it is refused or accepted, or the fuzzer's bytes end.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut shipment = Shipment::of(&mut input);
    let mut placed = shipment.nothing_placed();
    let mut receiver = Receiver::new(shipment.manifest.clone(), &shipment.expected, shipment.held);
    let (mut taken, mut whole) = (0, Whole::new(&shipment.manifest, shipment.held));
    while !input.is_empty() {
        match shipment.next(&mut input) {
            Some(Frame::Kv(frame)) => {
                let received = memory::within(FRAME_BYTES_MAX, || receiver.frame(&frame, &mut placed));
                if received.is_err() {
                    return assert!(!shipment.is_honest, "an honest frame is refused: {received:?}");
                }
                assert_eq!(frame.sequence, taken);
                let digest = frame::digest(&frame);
                assert!(digest.matches(&frame.digest));
                whole.frame(digest);
                taken += 1;
                assert_eq!(receiver.frames(), taken);
            }
            Some(Frame::Closing(closing)) => {
                let is_whole = shipment.is_whole(&placed);
                let accepted = receiver.close(&closing);
                let is_right = closing.frames == taken && whole.close(closing.first_token).matches(&closing.digest);
                assert_eq!(accepted.is_ok(), is_whole && is_right, "{accepted:?}");
                assert!(!(shipment.is_honest && is_whole) || accepted.is_ok());
                let Ok(accepted) = accepted else { return };
                assert_eq!(accepted.positions, shipment.manifest.extent.positions);
                assert_eq!(accepted.first_token, closing.first_token);
                return assert_eq!(accepted.total_bytes, shipment.manifest.total_bytes());
            }
            // As on a node, any other message ends the shipment.
            Some(Frame::Manifest(_)) | None => return,
        }
    }
}
