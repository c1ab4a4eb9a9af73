//! The receiving side of a shipment, without a socket: frames in, checked layers out.
//!
//! ```text
//! open(manifest) ──▶ frame … frame ──▶ layer complete ──▶ frame … ──▶ close(digests, first token) ──▶ Accepted
//!        │                 │                                                  │
//!        └────────────── Refusal: nothing of the shipment is used ◀───────────┘
//! ```

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use secateur_proto::v1::{self, ship_frame::Frame};
use secateur_pruning::pdtrim::Plan;

use crate::{
    digest::{Digest, Running},
    manifest::{KvShape, LayerEntry, Manifest},
    policy::{Extent, TransferPolicy},
    refusal::Refusal,
};

/// What a receiver agrees to.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The model that decode runs.
    pub model_fingerprint: String,
    /// The plan that decode runs.
    pub plan_id: String,
    /// Geometry of its KV.
    pub shape: KvShape,
    /// Blocks that decode runs, ascending.
    pub layers: Vec<u32>,
    /// What the plan says of layers.
    pub plan: Option<Arc<Plan>>,
    /// What was asked to be shipped.
    pub policy: TransferPolicy,
    /// Tokens of the answer that were made before, which follow the prompt.
    pub emitted: u32,
    /// Positions reserved for the prompt.
    pub positions_max: u32,
}

impl Expectation {
    /// Whether a manifest is what this receiver can place.
    pub fn check(&self, manifest: &Manifest) -> Result<(), Refusal> {
        if manifest.parties.model_fingerprint != self.model_fingerprint {
            return Err(Refusal::ModelMismatch);
        }
        if manifest.parties.plan_id != self.plan_id {
            return Err(Refusal::PlanMismatch);
        }
        if manifest.shape != self.shape {
            return Err(Refusal::ShapeMismatch);
        }
        if !manifest.layers.iter().map(|entry| entry.layer).eq(self.layers.iter().copied()) {
            return Err(Refusal::LayerMismatch);
        }
        // Exactly what policy and plan say, of every layer: what is not shipped would be left over from someone else.
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

/// One layer that has arrived whole. Its digest is checked at the close.
#[derive(Debug)]
pub struct ReceivedLayer {
    /// Index of the block in the checkpoint.
    pub layer: u32,
    /// `[tokens, kv_heads, head_dim]`.
    pub k: Bytes,
    /// `[tokens, kv_heads, head_dim]`.
    pub v: Bytes,
}

/// The end of a shipment in which everything matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Positions that the prompt fills.
    pub positions: u32,
    /// The rotary position of the token behind the prompt.
    pub next_position: u32,
    /// The token that prefill drew.
    pub first_token: u32,
    /// Payload bytes of all layers.
    pub payload_bytes: u64,
}

/// Checks the frames of one shipment as they come.
pub struct Receiver {
    manifest: Manifest,
    digests: Vec<Digest>,
    running: Running,
    /// Pieces of the layer that is under way; a payload in one piece is never copied.
    pieces: Vec<Bytes>,
    received: u64,
}

impl Receiver {
    /// Opens a shipment from its first frame.
    pub fn parse_manifest(first: v1::ShipFrame) -> Result<Manifest, Refusal> {
        match first.frame {
            Some(Frame::Manifest(message)) => Manifest::from_proto(message),
            _ => Err(Refusal::OutOfOrder),
        }
    }

    /// Starts receiving under a manifest that was checked.
    pub fn new(manifest: Manifest) -> Self {
        Self { manifest, digests: Vec::new(), running: Running::default(), pieces: Vec::new(), received: 0 }
    }

    /// Takes the next frame of a layer; returns the layer when it is complete.
    pub fn layer_frame(&mut self, frame: v1::LayerFrame) -> Result<Option<ReceivedLayer>, Refusal> {
        let entry = self.manifest.layers.get(self.digests.len()).ok_or(Refusal::FrameMismatch)?;
        let layer_bytes = self.manifest.layer_bytes(entry);
        let end = self.received.checked_add(frame.payload.len() as u64).ok_or(Refusal::FrameMismatch)?;
        let is_due = frame.layer == entry.layer && frame.offset == self.received && !frame.payload.is_empty();
        if !is_due || end > layer_bytes {
            return Err(Refusal::FrameMismatch);
        }
        self.running.update(&frame.payload);
        self.received = end;
        self.pieces.push(frame.payload);
        if end < layer_bytes {
            return Ok(None);
        }
        let layer = entry.layer;
        let payload = joined(std::mem::take(&mut self.pieces), layer_bytes as usize);
        let half = payload.len() / 2;
        self.received = 0;
        self.digests.push(self.running.finish());
        Ok(Some(ReceivedLayer { layer, k: payload.slice(..half), v: payload.slice(half..) }))
    }

    /// Checks the closing frame. Only now may the layers be used.
    pub fn close(self, closing: &v1::Closing) -> Result<Accepted, Refusal> {
        if self.digests.len() != self.manifest.layers.len() {
            return Err(Refusal::Truncated);
        }
        let same_count = closing.digests.len() == self.digests.len();
        if !same_count || !self.digests.iter().zip(&closing.digests).all(|(ours, theirs)| ours.matches(theirs)) {
            return Err(Refusal::DigestMismatch);
        }
        Ok(Accepted {
            positions: self.manifest.extent.positions,
            next_position: self.manifest.next_position,
            first_token: closing.first_token,
            payload_bytes: self.manifest.total_bytes(),
        })
    }
}

fn joined(mut pieces: Vec<Bytes>, len: usize) -> Bytes {
    if pieces.len() == 1 {
        return pieces.remove(0);
    }
    let mut whole = BytesMut::with_capacity(len);
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Sender, manifest::tests::sample};
    use proptest::prelude::*;

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

    fn payload(layer: u32, tokens: usize, salt: u8) -> Bytes {
        (0..tokens * 32).map(|i| (i as u8).wrapping_mul(31).wrapping_add(layer as u8).wrapping_add(salt)).collect()
    }

    fn shipment(layers: &[u32], tokens: usize) -> Vec<v1::ShipFrame> {
        let (mut sender, first) = Sender::new(sample(tokens as u32, layers));
        let mut frames = vec![first];
        for &layer in layers {
            frames.extend(sender.layer(layer, payload(layer, tokens, 0), payload(layer, tokens, 9)).unwrap());
        }
        frames.push(sender.close(42).unwrap());
        assert_eq!(sender.bytes_sent(), frames.iter().map(crate::frame::wire_bytes).sum::<u64>());
        frames
    }

    /// Runs frames through a receiver as a node does.
    fn receive(
        frames: Vec<v1::ShipFrame>,
        expectation: &Expectation,
    ) -> Result<(Vec<ReceivedLayer>, Accepted), Refusal> {
        let mut frames = frames.into_iter();
        let manifest = Receiver::parse_manifest(frames.next().ok_or(Refusal::Truncated)?)?;
        expectation.check(&manifest)?;
        let mut receiver = Receiver::new(manifest);
        let mut layers = Vec::new();
        for frame in frames {
            match frame.frame {
                Some(Frame::Layer(piece)) => layers.extend(receiver.layer_frame(piece)?),
                Some(Frame::Closing(closing)) => return Ok((layers, receiver.close(&closing)?)),
                _ => return Err(Refusal::OutOfOrder),
            }
        }
        Err(Refusal::Truncated)
    }

    #[test]
    fn what_is_sent_arrives() {
        let layers = [0, 3, 4];
        let (received, accepted) = receive(shipment(&layers, 50), &expectation(&layers, 64)).unwrap();
        assert_eq!(
            accepted,
            Accepted { positions: 50, next_position: 50, first_token: 42, payload_bytes: 3 * 50 * 64 }
        );
        for (layer, &index) in received.iter().zip(&layers) {
            assert_eq!(layer.layer, index);
            assert_eq!(layer.k, payload(index, 50, 0));
            assert_eq!(layer.v, payload(index, 50, 9));
        }
    }

    #[test]
    fn layers_larger_than_a_frame_arrive() {
        let (received, _) = receive(shipment(&[1], 70_000), &expectation(&[1], 70_000)).unwrap();
        assert_eq!(received[0].k, payload(1, 70_000, 0));
        assert_eq!(received[0].v, payload(1, 70_000, 9));
    }

    #[test]
    fn what_the_receiver_does_not_expect_is_refused() {
        type Edit = fn(&mut Expectation);
        let cases: [(Edit, Refusal); 5] = [
            (|e| e.model_fingerprint = "other".into(), Refusal::ModelMismatch),
            (|e| e.plan_id = "other".into(), Refusal::PlanMismatch),
            (|e| e.shape.dtype = DType::F16, Refusal::ShapeMismatch),
            (|e| e.layers = vec![0], Refusal::LayerMismatch),
            (|e| e.positions_max = 49, Refusal::OverReservation),
        ];
        for (edit, refusal) in cases {
            let mut expectation = expectation(&[0, 1], 64);
            edit(&mut expectation);
            assert_eq!(receive(shipment(&[0, 1], 50), &expectation).unwrap_err(), refusal);
        }
    }

    proptest! {
        /// One flipped bit, one frame dropped, repeated or swapped: refused, every time.
        #[test]
        fn any_corruption_is_refused(kind in 0usize..4, pick: prop::sample::Index, byte: prop::sample::Index, bit in 0u8..8) {
            let layers = [0, 1, 2];
            let mut frames = shipment(&layers, 20);
            let at = pick.index(frames.len());
            match kind {
                0 => match frames[at].frame.as_mut().unwrap() {
                    Frame::Layer(piece) => {
                        let mut bytes = piece.payload.to_vec();
                        let byte = byte.index(bytes.len());
                        bytes[byte] ^= 1 << bit;
                        piece.payload = bytes.into();
                    }
                    Frame::Closing(closing) => closing.digests[0] = Bytes::from_static(b"no"),
                    Frame::Manifest(manifest) => manifest.total_bytes ^= 1 << bit,
                },
                1 => { frames.remove(at); }
                2 => { let copy = frames[at].clone(); frames.insert(at, copy); }
                _ => { let other = (at + 1) % frames.len(); frames.swap(at, other); }
            }
            // A second copy of the closing frame comes after the end: the receiver has stopped listening by then.
            prop_assume!(!(kind == 2 && at + 2 == frames.len()));
            prop_assert!(receive(frames, &expectation(&layers, 64)).is_err());
        }
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
        // Not what was asked for.
        refused(&of(TransferPolicy::Dense, extent), &expected);
        refused(&good, &Expectation { policy: TransferPolicy::Dense, ..expected.clone() });
        // The answer's tokens counted as the prompt's, so that the middle of them would be lost.
        refused(&of(TransferPolicy::PdTrim, Extent { prompt: 103, positions: 103 }), &expected);
        // A token less than the rule keeps, and a layer whose middle is missing without a rule.
        let mut short = good.clone();
        short.layers[1].spans[0].end -= 1;
        refused(&short, &expected);
        let mut hollow = good.clone();
        hollow.layers[0].spans = good.layers[1].spans.clone();
        refused(&hollow, &expected);
        // A rule that this node does not have.
        refused(&good, &Expectation { plan: None, ..expected });
    }
}
