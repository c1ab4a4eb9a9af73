//! Reads a body within bounds of size, memory, time and rate.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::{Instant, timeout_at};

use super::pace::Pace;
use crate::admission::{Admission, Held, Peer, Permit};

/// Time after which an incomplete body needs a permit for slow bodies. Small bodies are complete at once, so no number
/// of slow senders can keep them out.
const GRACE: Duration = Duration::from_secs(2);
/// First allocation.
const CAPACITY_MIN: usize = 4 * 1024;

/// Bounds of one body.
pub struct Bounds {
    /// Largest body.
    pub bytes_max: usize,
    /// Deadline of the request.
    pub deadline: Instant,
    /// Time from accepting the request to its deadline.
    pub timeout: Duration,
}

/// A body that is arriving.
struct Arriving<'a> {
    bounds: Bounds,
    admission: &'a Admission,
    peer: Peer,
    held: &'a Held,
    bytes: Vec<u8>,
    /// Length that the client announced, in bytes.
    declared: Option<usize>,
    pace: Pace,
    grace_ends: Instant,
    /// Permit for a slow body, if this one is slow.
    slow: Option<Permit>,
}

/// Reads the whole body, counting its bytes in `held` as they arrive.
pub async fn read(
    mut body: Body,
    bounds: Bounds,
    admission: &Admission,
    peer: Peer,
    held: &Held,
) -> Result<Vec<u8>, ServiceError> {
    let declared = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if let Some(declared) = declared {
        // A body that cannot be taken is refused before it is sent, rather than midway.
        bounds.check(declared)?;
        held.check(declared)?;
    }
    let now = Instant::now();
    let pace = Pace::new(now, bounds.timeout);
    let (bytes, grace_ends) = (Vec::new(), now + GRACE);
    let mut arriving = Arriving { bounds, admission, peer, held, bytes, declared, pace, grace_ends, slow: None };
    loop {
        match timeout_at(arriving.due(), body.frame()).await {
            Ok(None) => return Ok(arriving.bytes),
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    arriving.take(data)?;
                }
            }
            Ok(Some(Err(_))) => {
                return Err(ServiceError::new(ErrorCode::InvalidRequest, "the body could not be read to its end"));
            }
            Err(_) => arriving.judge(Instant::now())?,
        }
    }
}

impl Bounds {
    fn check(&self, bytes: usize) -> Result<(), ServiceError> {
        if bytes <= self.bytes_max { Ok(()) } else { Err(too_large(self.bytes_max)) }
    }
}

impl Arriving<'_> {
    /// Time at which to judge the body, if nothing arrives before.
    fn due(&self) -> Instant {
        let due = self.pace.due().min(self.bounds.deadline);
        if self.slow.is_some() { due } else { due.min(self.grace_ends) }
    }

    /// Judges a body of which nothing has arrived for a while: it fails, takes a permit for slow bodies, or goes on.
    fn judge(&mut self, now: Instant) -> Result<(), ServiceError> {
        if now >= self.bounds.deadline || self.pace.is_too_slow(now) {
            return Err(ServiceError::new(ErrorCode::RequestTimeout, "the body came too slowly"));
        }
        if self.slow.is_none() && now >= self.grace_ends {
            self.slow = Some(self.admission.slow_body(self.peer)?);
        }
        Ok(())
    }

    fn take(&mut self, data: &[u8]) -> Result<(), ServiceError> {
        let bytes = self.bytes.len() + data.len();
        self.bounds.check(bytes)?;
        self.held.resize(bytes)?;
        if bytes > self.bytes.capacity() {
            let capacity = capacity(self.bytes.capacity(), bytes, self.declared);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        self.pace.came(data.len(), Instant::now());
        Ok(())
    }
}

/// The new capacity for `bytes` bytes: doubled, so that a body is not copied often, but not more than was announced.
fn capacity(now: usize, bytes: usize, declared: Option<usize>) -> usize {
    let doubled = now.saturating_mul(2).max(CAPACITY_MIN);
    doubled.min(declared.unwrap_or(usize::MAX)).max(bytes)
}

/// The error of a body over `bytes_max`.
pub fn too_large(bytes_max: usize) -> ServiceError {
    ServiceError::new(ErrorCode::PayloadTooLarge, format!("the body is larger than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use bytes::Bytes;
    use futures::{StreamExt, stream};

    use super::*;

    const MIB: usize = 1024 * 1024;

    async fn read_one(body: Body, admission: &Admission, timeout: Duration) -> Result<Vec<u8>, ServiceError> {
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST).into();
        let bounds = Bounds { bytes_max: MIB, deadline: Instant::now() + timeout, timeout };
        read(body, bounds, admission, peer, &admission.holder(peer)).await
    }

    fn admission() -> Admission {
        Admission::new(1, 1, 64 * MIB)
    }

    fn dripping(first: usize) -> Body {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            Some((Bytes::from_static(b" "), ()))
        });
        let first = stream::once(async move { Bytes::from(vec![b' '; first]) });
        Body::from_stream(first.chain(drops).map(Ok::<_, std::io::Error>))
    }

    #[tokio::test]
    async fn a_body_that_is_not_whole_in_time_is_the_senders_fault() {
        let admission = admission();
        let error = read_one(dripping(MIB / 2), &admission, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::RequestTimeout);
        assert_eq!((admission.held_bytes(), admission.present()), (0, 0));
    }

    #[tokio::test]
    async fn slow_bodies_are_counted_and_quick_ones_are_not() {
        let admission = admission();
        let peer: Peer = IpAddr::from(Ipv4Addr::LOCALHOST).into();
        let slow: Vec<Permit> = std::iter::from_fn(|| admission.slow_body(peer).ok()).collect();
        assert!(!slow.is_empty());
        let begun = Instant::now();
        assert!(read_one(Body::from("{}"), &admission, Duration::from_secs(120)).await.is_ok());
        let error = read_one(dripping(1), &admission, Duration::from_secs(120)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Overloaded);
        assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_was_announced_takes_no_room_and_what_came_does() {
        assert_eq!(capacity(0, 10, Some(30 * MIB)), CAPACITY_MIN);
        assert_eq!(capacity(MIB, MIB + 1, Some(30 * MIB)), 2 * MIB);
        assert_eq!(capacity(20 * MIB, 20 * MIB + 1, Some(30 * MIB)), 30 * MIB);
        assert_eq!(capacity(0, 100, Some(10)), 100);
        let full = Admission::new(1, 1, MIB);
        let error = read_one(Body::from(vec![b' '; MIB]), &full, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PayloadTooLarge);
        assert!(read_one(Body::from(vec![b' '; MIB / 4]), &full, Duration::from_secs(1)).await.is_ok());
        let error = read_one(Body::from(vec![b' '; MIB + 1]), &admission(), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PayloadTooLarge);
    }
}
