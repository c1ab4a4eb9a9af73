//! Cutting a layer's payload into frames, and what a frame weighs on the wire.

use bytes::Bytes;
use prost::Message;
use secateur_proto::v1;

/// Largest payload of one frame. Large enough that framing is a rounding error, small enough that the receiver's
/// memory per connection stays bounded, and below gRPC's default message limit of 4 MiB.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// gRPC's prefix: one byte of flags, four of length.
const GRPC_PREFIX_BYTES: u64 = 5;
/// HTTP/2's frame header, before each DATA frame.
const HTTP2_HEADER_BYTES: u64 = 9;
/// HTTP/2's default largest DATA frame, which tonic's client keeps.
const HTTP2_FRAME_BYTES: u64 = 16_384;

/// The frames of one layer. K and V are given apart, as prefill makes them, and no payload byte is copied.
pub fn layer_frames(layer: u32, k: Bytes, v: Bytes) -> impl Iterator<Item = v1::ShipFrame> {
    let v_start = k.len();
    pieces(k, 0).chain(pieces(v, v_start)).map(move |(offset, payload)| v1::ShipFrame {
        frame: Some(v1::ship_frame::Frame::Layer(v1::LayerFrame { layer, offset: offset as u64, payload })),
    })
}

fn pieces(payload: Bytes, start: usize) -> impl Iterator<Item = (usize, Bytes)> {
    (0..payload.len()).step_by(PAYLOAD_BYTES_MAX).map(move |at| {
        let end = (at + PAYLOAD_BYTES_MAX).min(payload.len());
        (start + at, payload.slice(at..end))
    })
}

/// Bytes that a message hands to the transport: encoding, gRPC prefix, HTTP/2 frame headers.
pub fn wire_bytes(frame: &v1::ShipFrame) -> u64 {
    let message = frame.encoded_len() as u64 + GRPC_PREFIX_BYTES;
    message + message.div_ceil(HTTP2_FRAME_BYTES) * HTTP2_HEADER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn frames_cover_the_payload_in_order(k_len in 0usize..3_000_000, v_len in 0usize..3_000_000) {
            let (k, v) = (Bytes::from(vec![1u8; k_len]), Bytes::from(vec![2u8; v_len]));
            let mut due = 0u64;
            for frame in layer_frames(7, k, v) {
                let Some(v1::ship_frame::Frame::Layer(piece)) = frame.frame else { panic!("a layer frame") };
                prop_assert_eq!(piece.layer, 7);
                prop_assert_eq!(piece.offset, due);
                prop_assert!(!piece.payload.is_empty() && piece.payload.len() <= PAYLOAD_BYTES_MAX);
                due += piece.payload.len() as u64;
            }
            prop_assert_eq!(due, (k_len + v_len) as u64);
        }
    }

    #[test]
    fn wire_bytes_are_a_little_more_than_the_payload() {
        let payload = Bytes::from(vec![0u8; PAYLOAD_BYTES_MAX]);
        let frame = layer_frames(0, payload, Bytes::new()).next().unwrap();
        let wire = wire_bytes(&frame);
        assert!(wire > PAYLOAD_BYTES_MAX as u64 && wire < PAYLOAD_BYTES_MAX as u64 + 1_000);
    }
}
