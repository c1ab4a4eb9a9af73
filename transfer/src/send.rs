//! The sending side of a shipment, without a socket: layers in, frames out, bytes and digests kept.

use bytes::Bytes;
use secateur_proto::v1::{self, ship_frame::Frame};

use crate::{digest::Digest, frame, manifest::Manifest};

/// A layer was given that the manifest does not announce next, or of another size: a bug of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not the next layer of the manifest.
    #[error("layer {given} is not the next one of the manifest")]
    UnexpectedLayer {
        /// The layer that was given.
        given: u32,
    },
    /// Not as many bytes as the manifest announces.
    #[error("layer {layer} has {given} bytes where the manifest announces {announced}")]
    WrongSize {
        /// The layer.
        layer: u32,
        /// Bytes given.
        given: u64,
        /// Bytes announced.
        announced: u64,
    },
    /// Closed before every layer was given.
    #[error("{missing} layers of the manifest were not shipped")]
    Incomplete {
        /// Layers left.
        missing: usize,
    },
}

/// Makes the frames of one shipment.
pub struct Sender {
    manifest: Manifest,
    digests: Vec<Digest>,
    bytes_sent: u64,
}

impl Sender {
    /// Starts a shipment; the first frame is its manifest.
    pub fn new(manifest: Manifest) -> (Self, v1::ShipFrame) {
        let first = v1::ShipFrame { frame: Some(Frame::Manifest(manifest.to_proto())) };
        let bytes_sent = frame::wire_bytes(&first);
        (Self { manifest, digests: Vec::new(), bytes_sent }, first)
    }

    /// The frames of the next layer: K and V, each `[tokens, kv_heads, head_dim]`.
    pub fn layer(&mut self, layer: u32, k: Bytes, v: Bytes) -> Result<Vec<v1::ShipFrame>, SendError> {
        let entry = self.manifest.layers.get(self.digests.len()).filter(|entry| entry.layer == layer);
        let entry = entry.ok_or(SendError::UnexpectedLayer { given: layer })?;
        let (given, announced) = ((k.len() + v.len()) as u64, self.manifest.layer_bytes(entry));
        if given != announced {
            return Err(SendError::WrongSize { layer, given, announced });
        }
        self.digests.push(Digest::of([&k[..], &v[..]]));
        let frames: Vec<_> = frame::layer_frames(layer, k, v).collect();
        self.bytes_sent += frames.iter().map(frame::wire_bytes).sum::<u64>();
        Ok(frames)
    }

    /// The last frame, once every layer is out.
    pub fn close(&mut self, first_token: u32) -> Result<v1::ShipFrame, SendError> {
        let missing = self.manifest.layers.len() - self.digests.len();
        if missing > 0 {
            return Err(SendError::Incomplete { missing });
        }
        let digests = self.digests.iter().map(|digest| digest.to_bytes()).collect();
        let last = v1::ShipFrame { frame: Some(Frame::Closing(v1::Closing { digests, first_token })) };
        self.bytes_sent += frame::wire_bytes(&last);
        Ok(last)
    }

    /// Payload and framing of all frames made so far.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }
}
