//! What callers may have under way with a node, by what the node's calls carry.

use std::time::Duration;

use secateur_channel::Intake;

/// Connections at the same time: routers, the other role's nodes, and whoever asks for health.
const CONNECTIONS: usize = 1_024;
/// Calls of one connection at the same time at least. A router's probes share its connection with its requests, so there must
/// always be one left: the queue's own limit is to refuse first.
const STREAMS_MIN: u32 = 1_024;
/// Calls of one connection for each request that may wait.
const STREAMS_PER_PLACE: u32 = 4;
/// As [`Intake::first_message_max`].
const FIRST_MESSAGE_MAX: Duration = Duration::from_secs(10);
/// As [`Intake::room_max`].
const ROOM_MAX: Duration = Duration::from_secs(20);

/// Unread bytes of a request. All streams of a connection together fit the connection's window, so that requests that wait
/// for room never hold up one that has it. 64 KiB in flight are 500 Mbit/s for each request at 1 ms round trip.
const REQUEST_WINDOW_BYTES: u32 = 64 << 10;
/// Large requests, which carry pictures, that are received at the same time: of one connection, and in all.
const REQUESTS_BYTES: [usize; 2] = [64 << 20, 128 << 20];

/// What a shipment may have in flight: enough for 25 Gb/s at 1 ms round trip.
const SHIPMENT_WINDOW_BYTES: u32 = 4 << 20;
/// The same of all shipments of one peer. A shipment is read as it comes from its manifest on, so what is in flight passes
/// through here and does not stay.
const SHIPMENTS_WINDOW_BYTES: u32 = 48 << 20;
/// Manifests of up to so many bytes wait for nothing: those of 8,000 positions.
const MANIFEST_FREE_BYTES: usize = 16 << 10;
/// Larger manifests that are received at the same time: of one connection, and in all.
const MANIFESTS_BYTES: [usize; 2] = [16 << 20, 32 << 20];

/// For a node whose calls are requests.
pub fn of_requests(queue_limit: u32) -> Intake {
    let streams = streams(queue_limit);
    let [connection_bytes, node_bytes] = REQUESTS_BYTES;
    Intake {
        connections: CONNECTIONS,
        streams,
        stream_window: REQUEST_WINDOW_BYTES,
        connection_window: streams.saturating_mul(REQUEST_WINDOW_BYTES).min(WINDOW_BYTES_MAX),
        free: REQUEST_WINDOW_BYTES as usize,
        connection_bytes,
        node_bytes,
        first_message_max: FIRST_MESSAGE_MAX,
        room_max: ROOM_MAX,
    }
}

/// For a node to which KV is shipped.
pub fn of_shipments(queue_limit: u32) -> Intake {
    let [connection_bytes, node_bytes] = MANIFESTS_BYTES;
    Intake {
        connections: CONNECTIONS,
        streams: streams(queue_limit),
        stream_window: SHIPMENT_WINDOW_BYTES,
        connection_window: SHIPMENTS_WINDOW_BYTES,
        free: MANIFEST_FREE_BYTES,
        connection_bytes,
        node_bytes,
        first_message_max: FIRST_MESSAGE_MAX,
        room_max: ROOM_MAX,
    }
}

/// The most that HTTP/2 has.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

fn streams(queue_limit: u32) -> u32 {
    queue_limit.saturating_mul(STREAMS_PER_PLACE).max(STREAMS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_never_hold_each_other_up() {
        for queue_limit in [1, 256, 8_000] {
            let Intake { streams, stream_window, connection_window, .. } = of_requests(queue_limit);
            assert!(streams > 2 * queue_limit);
            assert!(u64::from(streams) * u64::from(stream_window) <= u64::from(connection_window));
        }
    }
}
