//! The sending side of a shipment, without a socket: what prefill has finished in, frames out, bytes and digests kept.
//!
//! ```text
//! new(manifest) ──▶ ready(held) ──▶ frame(finished) … frame(finished) ──▶ close(first token)
//! ```

use std::ops::Range;

use secateur_proto::v1::{self, ship_frame::Frame};

use crate::{
    DType,
    codec::{Packing, PartEncoder, Plane},
    digest::Whole,
    frame,
    manifest::{LayerParts, Manifest},
    span::Part,
};

/// Forms of a frame's parts, and what its estimate is too small by, bytes.
const FORMS_BYTES: usize = 1 << 10;

/// KV that is computed, or will be.
pub trait KvSource {
    /// Appends K or V of some positions of a layer of the manifest, `[positions, kv_heads, head_dim]`, as the source
    /// stores it. Only of what was said to be finished.
    fn copy(&self, layer: u32, positions: Range<u32>, plane: Plane, into: &mut Vec<u8>);
}

/// The manifest is not what its own parts say: a bug of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{missing} parts of the manifest were not shipped")]
pub struct Incomplete {
    /// Parts left.
    pub missing: usize,
}

/// Makes the frames of one shipment.
pub struct Sender {
    manifest: Manifest,
    layers: Vec<LayerParts>,
    encoder: PartEncoder,
    whole: Whole,
    sequence: u64,
    bytes_sent: u64,
    bytes_raw: u64,
}

impl Sender {
    /// Starts a shipment of KV that is stored as `source`; the first message is its manifest.
    pub fn new(manifest: Manifest, source: DType, packing: Packing) -> (Self, v1::ShipFrame) {
        let first = v1::ShipFrame { frame: Some(Frame::Manifest(manifest.to_proto())) };
        let bytes_sent = frame::wire_bytes(&first);
        let encoder = PartEncoder::new(manifest.shape.layout(), source, packing);
        let whole = Whole::new(&manifest, 0);
        (Self { manifest, layers: Vec::new(), encoder, whole, sequence: 0, bytes_sent, bytes_raw: 0 }, first)
    }

    /// The receiver is ready, and has the first `held` positions already.
    pub fn ready(&mut self, held: u32) {
        self.layers = self.manifest.layer_parts(held);
        self.whole = Whole::new(&self.manifest, held);
        let left = |layer: &LayerParts| layer.parts.iter().map(|part| u64::from(part.span.len())).sum::<u64>();
        self.bytes_raw = self.layers.iter().map(left).sum::<u64>() * self.manifest.shape.bytes_per_token();
    }

    /// The next frame of what is finished; `finished(layer)` says up to which position a layer is. Less than
    /// a frame's worth waits for more, unless `all`.
    pub fn frame(&mut self, source: &impl KvSource, finished: impl Fn(u32) -> u32, all: bool) -> Option<v1::ShipFrame> {
        if !all && self.waiting_bytes(&finished) < frame::FRAME_BYTES_MIN as u64 {
            return None;
        }
        let (mut runs, mut payload) = (Vec::new(), Vec::with_capacity(self.frame_bytes(&finished)));
        for layer in &mut self.layers {
            let first_part = layer.next;
            while let Some(part) = layer.parts.get(layer.next).filter(|part| part.span.end <= finished(layer.layer)) {
                if payload.len() >= frame::FRAME_BYTES {
                    break;
                }
                let copy = |plane, into: &mut Vec<u8>| {
                    source.copy(layer.layer, part.span.start..part.span.end, plane, into);
                };
                self.encoder.encode(part.codec, &mut layer.coding, copy, &mut payload);
                layer.next += 1;
            }
            if layer.next > first_part {
                let parts = (layer.next - first_part) as u32;
                runs.push(v1::Run { layer: layer.layer, first_part: first_part as u32, parts });
            }
        }
        if runs.is_empty() {
            return None;
        }
        let mut frame = v1::KvFrame { sequence: self.sequence, runs, payload: payload.into(), ..Default::default() };
        let digest = frame::digest(&frame);
        frame.digest = digest.to_bytes();
        self.whole.frame(digest);
        self.sequence += 1;
        Some(self.counted(Frame::Kv(frame)))
    }

    /// About how much the next frame has, so that its bytes are not moved while they become more.
    fn frame_bytes(&self, finished: impl Fn(u32) -> u32) -> usize {
        let part = u64::from(self.manifest.part_positions()) * self.manifest.shape.bytes_per_token();
        self.waiting_bytes(finished).min(frame::FRAME_BYTES as u64 + part) as usize + FORMS_BYTES
    }

    /// About how much is finished and not shipped.
    fn waiting_bytes(&self, finished: impl Fn(u32) -> u32) -> u64 {
        let bytes = |part: &Part| {
            let raw = u64::from(part.span.len()) * self.manifest.shape.bytes_per_token();
            let bits = 8 * self.manifest.shape.dtype.size_bytes() as u64;
            part.codec.bits().map_or(raw, |coded| (raw as f64 * coded / bits as f64) as u64)
        };
        let of = |layer: &LayerParts| {
            let end = finished(layer.layer);
            layer.parts[layer.next..].iter().take_while(|part| part.span.end <= end).map(bytes).sum::<u64>()
        };
        self.layers.iter().map(of).sum()
    }

    /// The last message, once every part is out.
    pub fn close(&mut self, first_token: u32) -> Result<v1::ShipFrame, Incomplete> {
        let missing = self.layers.iter().map(|layer| layer.parts.len() - layer.next).sum();
        if missing > 0 {
            return Err(Incomplete { missing });
        }
        let digest = self.whole.close(first_token).to_bytes();
        Ok(self.counted(Frame::Closing(v1::Closing { digest, first_token, frames: self.sequence })))
    }

    fn counted(&mut self, frame: Frame) -> v1::ShipFrame {
        let message = v1::ShipFrame { frame: Some(frame) };
        self.bytes_sent += frame::wire_bytes(&message);
        message
    }

    /// What is shipped.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Payload and framing of all messages made so far.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Bytes of what is shipped as values of the manifest's dtype, before coding; what is held left out.
    pub fn bytes_raw(&self) -> u64 {
        self.bytes_raw
    }
}
