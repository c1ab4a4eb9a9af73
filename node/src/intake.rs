//! Limits on what callers may have in flight at a node: one set for nodes that take requests, one for nodes to which KV
//! is shipped.

use std::time::Duration;

use secateur_channel::Intake;

/// Connections open at the same time: routers, nodes of the other role, and health checks.
const CONNECTIONS: usize = 1_024;
/// Lower bound of the limit on concurrent calls per connection. A router's probes share its connection with its
/// requests, so a stream must always be left for them: the queue's limit has to refuse requests before this one does.
const STREAMS_MIN: u32 = 1_024;
/// Concurrent calls per connection for each permit of the request queue.
const STREAMS_PER_PLACE: u32 = 4;
/// Value of [`Intake::first_message_max`].
const FIRST_MESSAGE_MAX: Duration = Duration::from_secs(10);
/// Value of [`Intake::room_max`].
const ROOM_MAX: Duration = Duration::from_secs(20);

/// HTTP/2 stream window of a request: the unread bytes that it may have in flight. The windows of all streams of a
/// connection together fit the connection's window, so requests that wait for room never hold up one that has it. 64
/// KiB in flight are 500 Mbit/s for each request at 1 ms round trip.
const REQUEST_WINDOW_BYTES: u32 = 64 << 10;
/// Bytes of large requests, those that carry pictures, received at the same time: per connection, and for the whole
/// node.
const REQUESTS_BYTES: [usize; 2] = [64 << 20, 128 << 20];

/// HTTP/2 stream window of a shipment: the unread bytes that it may have in flight, enough for 25 Gb/s at 1 ms round
/// trip.
const SHIPMENT_WINDOW_BYTES: u32 = 4 << 20;
/// HTTP/2 connection window shared by all shipments of one peer. Once its manifest has been received, a shipment is
/// read as it arrives, so these bytes pass through the node and do not accumulate.
const SHIPMENTS_WINDOW_BYTES: u32 = 48 << 20;
/// Size up to which a manifest is received without waiting for room: manifests of up to 8,000 positions fit.
const MANIFEST_FREE_BYTES: usize = 16 << 10;
/// Bytes of larger manifests received at the same time: per connection, and for the whole node.
const MANIFESTS_BYTES: [usize; 2] = [16 << 20, 32 << 20];

/// Intake limits of a node whose calls are requests.
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

/// Intake limits of a node to which KV is shipped.
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

/// Largest flow-control window that HTTP/2 allows.
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
