//! The receiving side of a shipment, without a socket: frames in, checked layers out.
//!
//! ```text
//! open(manifest) ──▶ frame ──▶ its parts to the sink … ──▶ close(digest, first token) ──▶ Accepted
//!        │             │                                    │
//!        └───────── Refusal: nothing of the shipment is used ◀──┘
//! ```

use std::sync::Arc;

use secateur_proto::v1::{self, ship_frame::Frame};
use secateur_pruning::pdtrim::Plan;

use crate::{
    codec::{PartDecoder, Rows},
    digest::Whole,
    frame,
    manifest::{KvShape, LayerEntry, LayerParts, Manifest},
    policy::{Extent, TransferPolicy},
    refusal::Refusal,
};

/// The shipment that a receiver expects; every other one is refused.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Fingerprint of the model that decode runs.
    pub model_fingerprint: String,
    /// Id of the pruning plan that decode runs.
    pub plan_id: String,
    /// Shape of decode's KV. A shipment may come in another dtype.
    pub shape: KvShape,
    /// Blocks that decode runs, ascending.
    pub layers: Vec<u32>,
    /// The pruning plan, if any.
    pub plan: Option<Arc<Plan>>,
    /// Transfer policy that the request asked for.
    pub policy: TransferPolicy,
    /// Number of the answer's tokens that exist already; their KV follows the prompt's.
    pub emitted: u32,
    /// Most positions that were reserved for the shipment.
    pub positions_max: u32,
}

impl Expectation {
    /// Refuses a manifest that is not the expected one.
    pub fn check(&self, manifest: &Manifest) -> Result<(), Refusal> {
        if manifest.parties.model_fingerprint != self.model_fingerprint {
            return Err(Refusal::ModelMismatch);
        }
        if manifest.parties.plan_id != self.plan_id {
            return Err(Refusal::PlanMismatch);
        }
        if manifest.shape != (KvShape { dtype: manifest.shape.dtype, ..self.shape }) {
            return Err(Refusal::ShapeMismatch);
        }
        if !manifest.layers.iter().map(|entry| entry.layer).eq(self.layers.iter().copied()) {
            return Err(Refusal::LayerMismatch);
        }
        // Every layer must ship exactly the spans of policy and plan: rows that are not shipped would keep another
        // request's KV.
        let Extent { prompt, positions } = manifest.extent;
        if manifest.policy != self.policy || positions - prompt != self.emitted {
            return Err(Refusal::MalformedManifest);
        }
        let plan = self.plan.as_deref();
        let spans = |entry: &LayerEntry| manifest.policy.spans(plan, entry.layer, manifest.extent);
        let is_possible = manifest.policy.is_possible_with(plan);
        if !is_possible || manifest.layers.iter().any(|entry| entry.spans != spans(entry)) {
            return Err(Refusal::MalformedManifest);
        }
        if manifest.extent.positions > self.positions_max {
            return Err(Refusal::OverReservation);
        }
        Ok(())
    }
}

/// Destination of received rows.
pub trait KvSink {
    /// Error of placing rows.
    type Error: From<Refusal>;

    /// Places K and V, both `[rows, kv_heads, head_dim]` in the receiver's dtype. `first_row` is the index of the first
    /// row among all rows of the layer in the shipment, including those that the receiver held.
    fn place(&mut self, layer: u32, first_row: u32, rows: Rows<'_>) -> Result<(), Self::Error>;
}

/// Facts of a shipment that was received completely and matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Number of positions that the shipment fills.
    pub positions: u32,
    /// Rotary position of the token after the shipped positions.
    pub next_position: u32,
    /// The first token, drawn by prefill.
    pub first_token: u32,
    /// Bytes of all spans as values of the manifest's dtype.
    pub total_bytes: u64,
}

/// Checks the frames of one shipment as they arrive.
pub struct Receiver {
    manifest: Manifest,
    layers: Vec<LayerParts>,
    decoder: PartDecoder,
    whole: Whole,
    sequence: u64,
}

impl Receiver {
    /// Reads the manifest from a shipment's first message.
    pub fn parse_manifest(first: v1::ShipFrame) -> Result<Manifest, Refusal> {
        match first.frame {
            Some(Frame::Manifest(message)) => Manifest::from_proto(message),
            _ => Err(Refusal::OutOfOrder),
        }
    }

    /// Starts receiving under a manifest that was checked against `expectation`; the first `held` positions are there
    /// already and will not be shipped.
    pub fn new(manifest: Manifest, expectation: &Expectation, held: u32) -> Self {
        let layers = manifest.layer_parts(held);
        let decoder = PartDecoder::new(manifest.shape.layout(), expectation.shape.dtype);
        let whole = Whole::new(&manifest, held);
        Self { manifest, layers, decoder, whole, sequence: 0 }
    }

    /// Checks the next frame and places its rows.
    pub fn frame<S: KvSink>(&mut self, frame: &v1::KvFrame, sink: &mut S) -> Result<(), S::Error> {
        if frame.sequence != self.sequence || frame.runs.is_empty() {
            return Err(Refusal::FrameMismatch.into());
        }
        let digest = frame::digest(frame);
        if !digest.matches(&frame.digest) {
            return Err(Refusal::DigestMismatch.into());
        }
        self.whole.frame(digest);
        self.sequence += 1;
        let mut payload = &frame.payload[..];
        for run in &frame.runs {
            payload = self.run(run, payload, sink)?;
        }
        if payload.is_empty() { Ok(()) } else { Err(Refusal::FrameMismatch.into()) }
    }

    /// Decodes and places the parts of a run; returns the rest of the payload.
    fn run<'a, S: KvSink>(&mut self, run: &v1::Run, mut payload: &'a [u8], sink: &mut S) -> Result<&'a [u8], S::Error> {
        let layer = self.layers.iter_mut().find(|layer| layer.layer == run.layer).ok_or(Refusal::FrameMismatch)?;
        let left = layer.parts.len() - layer.next;
        if run.parts == 0 || run.first_part as usize != layer.next || run.parts as usize > left {
            return Err(Refusal::FrameMismatch.into());
        }
        for part in &layer.parts[layer.next..][..run.parts as usize] {
            let decoded = self.decoder.decode(part.codec, &mut layer.coding, part.span.len() as usize, payload);
            let (rows, used) = decoded.map_err(|_| Refusal::FrameMismatch)?;
            sink.place(layer.layer, part.first_row, rows)?;
            payload = &payload[used..];
        }
        layer.next += run.parts as usize;
        Ok(payload)
    }

    /// Checks the closing frame. Only after this succeeds may the placed rows be used.
    pub fn close(self, closing: &v1::Closing) -> Result<Accepted, Refusal> {
        if self.layers.iter().any(|layer| layer.next < layer.parts.len()) {
            return Err(Refusal::Truncated);
        }
        let is_same = closing.frames == self.sequence;
        if !is_same || !self.whole.close(closing.first_token).matches(&closing.digest) {
            return Err(Refusal::DigestMismatch);
        }
        Ok(Accepted {
            positions: self.manifest.extent.positions,
            next_position: self.manifest.next_position,
            first_token: closing.first_token,
            total_bytes: self.manifest.total_bytes(),
        })
    }

    /// Number of frames received so far.
    pub fn frames(&self) -> u64 {
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, ops::Range};

    use super::*;
    use crate::{
        Codec, DType, Sender,
        codec::{KvSteps, Packing, Plane, steps::Notch},
        manifest::tests::sample,
        send::KvSource,
    };
    use proptest::prelude::*;
    use secateur_proto::v1::ship_frame::Frame;

    fn expectation(layers: &[u32], positions_max: u32) -> Expectation {
        Expectation {
            model_fingerprint: "f".into(),
            plan_id: String::new(),
            shape: KvShape { kv_heads: 2, head_dim: 4, dtype: DType::F32 },
            layers: layers.to_vec(),
            plan: None,
            policy: TransferPolicy::Dense,
            emitted: 0,
            positions_max,
        }
    }

    fn value(layer: u32, position: u32, channel: u32, plane: Plane) -> f32 {
        let salt = if plane == Plane::K { 1.0 } else { -2.0 };
        ((layer * 31 + position * 7 + channel * 3) % 101) as f32 / 50.0 * salt
    }

    /// A source of values that are computed from position, layer and channel.
    struct Made;

    impl KvSource for Made {
        fn copy(&self, layer: u32, positions: Range<u32>, plane: Plane, into: &mut Vec<u8>) {
            for position in positions {
                into.extend((0..8).flat_map(|channel| value(layer, position, channel, plane).to_le_bytes()));
            }
        }
    }

    /// A sink that keeps received rows, by layer and row.
    #[derive(Default)]
    struct Kept(HashMap<(u32, u32), (Vec<u8>, Vec<u8>)>);

    impl KvSink for Kept {
        type Error = Refusal;

        fn place(&mut self, layer: u32, first_row: u32, rows: Rows<'_>) -> Result<(), Refusal> {
            for (at, (k, v)) in rows.k.chunks(32).zip(rows.v.chunks(32)).enumerate() {
                let twice = self.0.insert((layer, first_row + at as u32), (k.to_vec(), v.to_vec()));
                assert!(twice.is_none());
            }
            Ok(())
        }
    }

    fn shipment(manifest: Manifest, held: u32, packing: Packing) -> Vec<v1::ShipFrame> {
        let positions = manifest.extent.positions;
        let (mut sender, first) = Sender::new(manifest, DType::F32, packing);
        let mut frames = vec![first];
        sender.ready(held);
        // As in prefill, some rows of all layers are finished, then more.
        for done in (0..=positions).step_by(150).chain([positions]) {
            frames.extend(std::iter::from_fn(|| sender.frame(&Made, |_| done, done == positions)));
        }
        frames.push(sender.close(42).unwrap());
        assert_eq!(sender.bytes_sent(), frames.iter().map(frame::wire_bytes).sum::<u64>());
        frames
    }

    /// Runs frames through a receiver in the way of a node.
    fn receive(frames: Vec<v1::ShipFrame>, expectation: &Expectation, held: u32) -> Result<(Kept, Accepted), Refusal> {
        let mut frames = frames.into_iter();
        let manifest = Receiver::parse_manifest(frames.next().ok_or(Refusal::Truncated)?)?;
        expectation.check(&manifest)?;
        let mut receiver = Receiver::new(manifest, expectation, held);
        let mut kept = Kept::default();
        for frame in frames {
            match frame.frame {
                Some(Frame::Kv(frame)) => receiver.frame(&frame, &mut kept)?,
                Some(Frame::Closing(closing)) => return Ok((kept, receiver.close(&closing)?)),
                _ => return Err(Refusal::OutOfOrder),
            }
        }
        Err(Refusal::Truncated)
    }

    fn tiered(positions: u32, layers: &[u32]) -> Manifest {
        let Manifest { parties, shape, .. } = sample(4, layers);
        let extent = Extent { prompt: positions, positions };
        let notch = |_, _| Notch::nearest(1.0);
        let steps = KvSteps::new(layers.len(), shape.heads(), |layer, head, _| notch(layer, head), notch);
        Manifest::new(parties, (TransferPolicy::Tiered, None), extent, shape, layers).with_steps(&steps)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_was_shipped_arrives(
            positions in 1u32..700, held in 0u32..40, is_tiered: bool, pack: bool,
        ) {
            let layers = [0, 2, 5];
            let held = (16 * held).min((positions - 1) / 16 * 16);
            let (manifest, policy) = if is_tiered {
                (tiered(positions, &layers), TransferPolicy::Tiered)
            } else {
                (sample(positions, &layers), TransferPolicy::Dense)
            };
            let packing = if pack { Packing::WhereSmaller } else { Packing::Never };
            let spans = manifest.layers[0].spans.clone();
            let expected = Expectation { policy, ..expectation(&layers, 700) };
            let (kept, accepted) = receive(shipment(manifest, held, packing), &expected, held).unwrap();
            prop_assert_eq!((accepted.positions, accepted.first_token), (positions, 42));
            for layer in layers {
                for position in 0..positions {
                    let Some((k, v)) = kept.0.get(&(layer, position)) else {
                        prop_assert!(position < held);
                        continue;
                    };
                    prop_assert!(position >= held);
                    let coded = spans.iter().find(|coded| (coded.span.start..coded.span.end).contains(&position)).unwrap();
                    for (plane, bytes) in [(Plane::K, k), (Plane::V, v)] {
                        for (channel, bytes) in bytes.chunks(4).enumerate() {
                            let found = f32::from_le_bytes(bytes.try_into().unwrap());
                            let given = value(layer, position, channel as u32, plane);
                            let allowed = coded.codec.bits().map_or(0.0, |bits| 0.51 * (-bits).exp2() as f32);
                            prop_assert!((found - given).abs() <= allowed, "{layer} {position} {channel}: {found} {given}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_receiver_does_not_expect_is_refused() {
        type Edit = fn(&mut Expectation);
        let cases: [(Edit, Refusal); 5] = [
            (|e| e.model_fingerprint = "other".into(), Refusal::ModelMismatch),
            (|e| e.plan_id = "other".into(), Refusal::PlanMismatch),
            (|e| e.shape.head_dim = 8, Refusal::ShapeMismatch),
            (|e| e.layers = vec![0], Refusal::LayerMismatch),
            (|e| e.positions_max = 49, Refusal::OverReservation),
        ];
        for (edit, refusal) in cases {
            let mut expectation = expectation(&[0, 1], 64);
            edit(&mut expectation);
            let frames = shipment(sample(50, &[0, 1]), 0, Packing::Never);
            assert_eq!(receive(frames, &expectation, 0).err(), Some(refusal));
        }
    }

    #[test]
    fn another_dtype_is_converted() {
        let shape = KvShape { dtype: DType::F16, ..sample(4, &[0]).shape };
        let expected = Expectation { shape, ..expectation(&[0], 64) };
        struct Halves(usize);
        impl KvSink for Halves {
            type Error = Refusal;
            fn place(&mut self, _: u32, _: u32, rows: Rows<'_>) -> Result<(), Refusal> {
                self.0 += rows.k.len() + rows.v.len();
                Ok(())
            }
        }
        let mut frames = shipment(sample(50, &[0]), 0, Packing::Never).into_iter();
        let manifest = Receiver::parse_manifest(frames.next().unwrap()).unwrap();
        assert_eq!(expected.check(&manifest), Ok(()));
        let (mut receiver, mut sink) = (Receiver::new(manifest, &expected, 0), Halves(0));
        let Some(Frame::Kv(frame)) = frames.next().unwrap().frame else { panic!("KV") };
        receiver.frame(&frame, &mut sink).unwrap();
        assert_eq!(sink.0, 50 * 8 * 2 * 2);
    }

    proptest! {
        /// A shipment is refused whenever one bit is flipped anywhere in a message, or one message is dropped, repeated
        /// or swapped.
        #[test]
        fn any_corruption_is_refused(kind in 0usize..4, pick: prop::sample::Index, byte: prop::sample::Index, bit in 0u8..8) {
            use prost::Message;
            let layers = [0, 1, 2];
            let mut frames = shipment(tiered(9_000, &layers), 0, Packing::Never);
            prop_assert!(frames.len() > 3);
            let at = pick.index(frames.len());
            match kind {
                0 => {
                    let mut bytes = frames[at].encode_to_vec();
                    let byte = byte.index(bytes.len());
                    bytes[byte] ^= 1 << bit;
                    // Bytes that do not decode as a message are refused by the transport.
                    let Ok(message) = v1::ShipFrame::decode(&bytes[..]) else { return Ok(()) };
                    frames[at] = message;
                }
                1 => { frames.remove(at); }
                2 => { let copy = frames[at].clone(); frames.insert(at, copy); }
                _ => { let other = (at + 1) % frames.len(); frames.swap(at, other); }
            }
            // A second copy of the closing frame comes after the end, when the receiver reads no more.
            prop_assume!(!(kind == 2 && at + 2 == frames.len()));
            let expected = Expectation { policy: TransferPolicy::Tiered, ..expectation(&layers, 9_000) };
            let outcome = receive(frames, &expected, 0);
            prop_assert!(outcome.is_err());
        }
    }

    #[test]
    fn a_shipment_for_another_beginning_is_refused() {
        let frames = shipment(sample(64, &[0]), 16, Packing::Never);
        assert!(receive(frames.clone(), &expectation(&[0], 64), 16).is_ok());
        assert!(receive(frames.clone(), &expectation(&[0], 64), 0).is_err());
        assert!(receive(frames, &expectation(&[0], 64), 32).is_err());
    }

    #[test]
    fn only_what_policy_and_plan_say_is_accepted() {
        let plan = crate::policy::tests::plan();
        let (layers, extent) = ([0, 2, 3], Extent { prompt: 100, positions: 103 });
        let expected = Expectation {
            plan: Some(Arc::new(plan.clone())),
            policy: TransferPolicy::PdTrim,
            emitted: 3,
            ..expectation(&layers, 200)
        };
        let of = |policy, extent| {
            let Manifest { parties, shape, .. } = sample(4, &layers);
            Manifest::new(parties, (policy, Some(&plan)), extent, shape, &layers)
        };
        let good = of(TransferPolicy::PdTrim, extent);
        assert_eq!(expected.check(&good), Ok(()));
        let refused = |manifest: &Manifest, expected: &Expectation| {
            assert_eq!(expected.check(manifest), Err(Refusal::MalformedManifest), "{manifest:?}");
        };
        // The policy is not the one that was asked for.
        refused(&of(TransferPolicy::Dense, extent), &expected);
        refused(&good, &Expectation { policy: TransferPolicy::Dense, ..expected.clone() });
        // The answer's tokens are counted as the prompt's, so that tokens in the middle would be lost.
        refused(&of(TransferPolicy::PdTrim, Extent { prompt: 103, positions: 103 }), &expected);
        // A layer has one token less than its rule keeps, and another has no middle although no rule says so.
        let mut short = good.clone();
        short.layers[1].spans[0].span.end -= 1;
        refused(&short, &expected);
        let mut hollow = good.clone();
        hollow.layers[0].spans = good.layers[1].spans.clone();
        refused(&hollow, &expected);
        // The precision is not that of the policy.
        let mut coarse = good.clone();
        coarse.layers[0].spans[0].codec = Codec::of_bits(2.0).unwrap();
        refused(&coarse, &expected);
        // The receiver has no plan with such a rule.
        refused(&good, &Expectation { plan: None, ..expected });
    }
}
