//! The frames of a shipment on the wire: their size, digest and encoding.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};
use secateur_proto::v1::{self, ship_frame::Frame};

use crate::digest::{Digest, Hasher};

/// Payload bytes from which on a frame is sent. Large enough that framing is negligible, small enough that buffers on
/// both sides stay small. A larger part is a frame by itself.
pub const FRAME_BYTES: usize = 1 << 20;
/// Bytes of finished KV below which no frame is made while prefill still computes.
pub const FRAME_BYTES_MIN: usize = 64 << 10;

/// Length of gRPC's message prefix: one byte of flags, four of length.
const GRPC_PREFIX_BYTES: u64 = 5;
/// Field numbers of `ShipFrame.kv` and `KvFrame.payload` in transfer.proto.
const KV_FIELD: u32 = 4;
const PAYLOAD_FIELD: u32 = 3;
/// Length of HTTP/2's frame header, before each DATA frame.
const HTTP2_HEADER_BYTES: u64 = 9;
/// Largest HTTP/2 DATA frame that a node accepts. A message's payload fits one frame, so it is passed on without a copy
/// and with one or two system calls, instead of one for each 16 KiB of HTTP/2's default frames.
pub const HTTP2_FRAME_BYTES: u32 = 4 << 20;

/// Digest of a frame, over its sequence number, its runs and its payload.
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

/// Bytes of a message on the wire: its encoding, the gRPC prefix, and an HTTP/2 frame header for each of its chunks.
pub fn wire_bytes(frame: &v1::ShipFrame) -> u64 {
    let chunks = if matches!(frame.frame, Some(Frame::Kv(_))) { 2 } else { 1 };
    GRPC_PREFIX_BYTES + frame.encoded_len() as u64 + chunks * HTTP2_HEADER_BYTES
}

/// Encodes a message with its gRPC prefix as two chunks, without copying a frame's payload, which is the second chunk.
/// Concatenated, the chunks are the encoded message; the second is empty if there is no payload.
pub fn chunks(mut message: v1::ShipFrame) -> [Bytes; 2] {
    let payload = match &mut message.frame {
        Some(Frame::Kv(frame)) => std::mem::take(&mut frame.payload),
        _ => Bytes::new(),
    };
    let mut header = BytesMut::new();
    match &message.frame {
        // Protobuf allows fields in any order, so the payload's field is put last.
        Some(Frame::Kv(frame)) if !payload.is_empty() => {
            let length = payload.len() as u64;
            let before = frame.encoded_len() + key_len(PAYLOAD_FIELD) + encoded_len_varint(length);
            let kv = (before + payload.len()) as u64;
            put_prefix(key_len(KV_FIELD) + encoded_len_varint(kv) + before + payload.len(), &mut header);
            encode_key(KV_FIELD, WireType::LengthDelimited, &mut header);
            encode_varint(kv, &mut header);
            frame.encode_raw(&mut header);
            encode_key(PAYLOAD_FIELD, WireType::LengthDelimited, &mut header);
            encode_varint(length, &mut header);
        }
        _ => {
            put_prefix(message.encoded_len(), &mut header);
            message.encode_raw(&mut header);
        }
    }
    [header.freeze(), payload]
}

/// Writes gRPC's prefix of an uncompressed message of `length` bytes.
fn put_prefix(length: usize, into: &mut BytesMut) {
    into.put_u8(0);
    into.put_u32(length as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::v1::{Closing, KvFrame, Run, ShipFrame};

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
    fn chunks_are_the_message() {
        let closing = Closing { digest: vec![3; 32].into(), first_token: 7, frames: 2 };
        let mut messages = vec![ShipFrame { frame: Some(Frame::Closing(closing)) }, ShipFrame::default()];
        let payloads = [0, 1, 127, 128, 16_384, FRAME_BYTES, FRAME_BYTES + 9].into_iter();
        messages.extend(payloads.map(|payload| ShipFrame { frame: Some(Frame::Kv(frame(300, 2, payload))) }));
        for message in messages {
            let chunks = chunks(message.clone());
            let bytes = chunks.concat();
            assert_eq!(bytes[..5], [&[0][..], &(bytes.len() as u32 - 5).to_be_bytes()].concat());
            assert_eq!(ShipFrame::decode(&bytes[5..]).unwrap(), message);
            let headers = chunks.iter().filter(|chunk| !chunk.is_empty()).count() as u64 * HTTP2_HEADER_BYTES;
            let counted = wire_bytes(&message);
            assert!(counted - headers - bytes.len() as u64 <= HTTP2_HEADER_BYTES, "{counted} {}", bytes.len());
        }
    }

    #[test]
    fn a_digest_is_of_all_that_a_frame_says() {
        let digests = [frame(0, 0, 9), frame(1, 0, 9), frame(0, 1, 9), frame(0, 0, 8)].map(|frame| digest(&frame));
        for (at, one) in digests.iter().enumerate() {
            assert!(digests[..at].iter().all(|other| other != one));
        }
    }
}
