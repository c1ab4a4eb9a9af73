//! What goes over the wire in one message: how large, with which digest, and what it weighs.

use prost::Message;
use secateur_proto::v1;

use crate::digest::{Digest, Hasher};

/// A frame is sent once it has so many bytes. Large enough that framing is a rounding error, small enough that what lies
/// on both sides stays small. A part that is larger is a frame by itself.
pub const FRAME_BYTES: usize = 1 << 20;
/// While prefill computes, less than this waits for more.
pub const FRAME_BYTES_MIN: usize = 64 << 10;

/// gRPC's prefix: one byte of flags, four of length.
const GRPC_PREFIX_BYTES: u64 = 5;
/// HTTP/2's frame header, before each DATA frame.
const HTTP2_HEADER_BYTES: u64 = 9;
/// HTTP/2's default largest DATA frame, which tonic's client keeps.
const HTTP2_FRAME_BYTES: u64 = 16_384;

/// Digest of a frame: of its number, its runs and its payload.
pub fn digest(frame: &v1::KvFrame) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(&frame.sequence.to_le_bytes());
    for run in &frame.runs {
        for number in [run.layer, run.first_part, run.parts] {
            hasher.update(&number.to_le_bytes());
        }
    }
    hasher.update(&frame.payload);
    hasher.finish()
}

/// Bytes that a message hands to the transport: encoding, gRPC prefix, HTTP/2 frame headers.
pub fn wire_bytes(frame: &v1::ShipFrame) -> u64 {
    let message = frame.encoded_len() as u64 + GRPC_PREFIX_BYTES;
    message + message.div_ceil(HTTP2_FRAME_BYTES) * HTTP2_HEADER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::v1::{KvFrame, Run, ShipFrame, ship_frame::Frame};

    fn frame(sequence: u64, layer: u32, payload: usize) -> KvFrame {
        let runs = vec![Run { layer, first_part: 0, parts: 1 }];
        KvFrame { sequence, runs, payload: vec![7; payload].into(), digest: Default::default() }
    }

    #[test]
    fn wire_bytes_are_a_little_more_than_the_payload() {
        let wire = wire_bytes(&ShipFrame { frame: Some(Frame::Kv(frame(3, 1, FRAME_BYTES))) });
        assert!(wire > FRAME_BYTES as u64 && wire < FRAME_BYTES as u64 + 1_000);
    }

    #[test]
    fn a_digest_is_of_all_that_a_frame_says() {
        let digests = [frame(0, 0, 9), frame(1, 0, 9), frame(0, 1, 9), frame(0, 0, 8)].map(|frame| digest(&frame));
        for (at, one) in digests.iter().enumerate() {
            assert!(digests[..at].iter().all(|other| other != one));
        }
    }
}
