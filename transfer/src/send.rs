//! The sending side of a shipment, without a socket: finished KV of prefill in, frames out. Keeps the counts of bytes
//! and the digests.
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

/// Bytes added to the estimate of a frame's size: form bytes of its parts, and a margin.
const FORMS_BYTES: usize = 1 << 10;

/// Source of a prompt's KV, part of which may still be computed.
pub trait KvSource {
    /// Appends K or V of some positions of a layer of the manifest, `[positions, kv_heads, head_dim]`, in the source's
    /// number format. Called only for positions that were reported as finished.
    fn copy(&self, layer: u32, positions: Range<u32>, plane: Plane, into: &mut Vec<u8>);
}

/// Error for closing a shipment before all parts of its manifest were shipped: a bug of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{missing} parts of the manifest were not shipped")]
pub struct Incomplete {
    /// Number of parts that were not shipped.
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
    /// Starts a shipment of KV that is stored as `source`; returns its first message, the manifest.
    pub fn new(manifest: Manifest, source: DType, packing: Packing) -> (Self, v1::ShipFrame) {
        let first = v1::ShipFrame { frame: Some(Frame::Manifest(manifest.to_proto())) };
        let bytes_sent = frame::wire_bytes(&first);
        let encoder = PartEncoder::new(manifest.shape.layout(), source, packing);
        let whole = Whole::new(&manifest, 0);
        (Self { manifest, layers: Vec::new(), encoder, whole, sequence: 0, bytes_sent, bytes_raw: 0 }, first)
    }

    /// Begins the frames once the receiver is ready; it has the first `held` positions already.
    pub fn ready(&mut self, held: u32) {
        self.layers = self.manifest.layer_parts(held);
        self.whole = Whole::new(&self.manifest, held);
        let left = |layer: &LayerParts| layer.parts.iter().map(|part| u64::from(part.span.len())).sum::<u64>();
        self.bytes_raw = self.layers.iter().map(left).sum::<u64>() * self.manifest.shape.bytes_per_token();
    }

    /// The next frame of finished KV; `finished(layer)` gives the position up to which a layer is finished. Returns
    /// `None` if there is less than a minimal frame, unless `all` says that no more will come.
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

    /// Estimated size of the next frame in bytes, to reserve its buffer at once.
    fn frame_bytes(&self, finished: impl Fn(u32) -> u32) -> usize {
        let part = u64::from(self.manifest.part_positions()) * self.manifest.shape.bytes_per_token();
        self.waiting_bytes(finished).min(frame::FRAME_BYTES as u64 + part) as usize + FORMS_BYTES
    }

    /// Estimated bytes of KV that is finished and not shipped yet.
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

    /// The closing message, once every part was shipped.
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

    /// The manifest of the shipment.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of all messages made so far, payload and framing.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Bytes of the shipped KV as values of the manifest's dtype, before coding, without positions that the receiver
    /// held.
    pub fn bytes_raw(&self) -> u64 {
        self.bytes_raw
    }
}
