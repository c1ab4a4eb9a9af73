//! The limits of a link measurement.

use std::time::Duration;

use secateur_proto::{ErrorCode, ServiceError, v1};

/// Most payload bytes of one measurement.
pub const BYTES_MAX: u64 = 1 << 30;
/// Longest duration of one measurement, without its pings.
pub const SEND_MAX: Duration = Duration::from_secs(10);

/// Limits of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Bounds {
    /// The limits that `request` names, if they are within those of a node.
    pub(super) fn of(request: &v1::MeasureLinkRequest) -> Result<Self, ServiceError> {
        let refused = |field: &str, limit: u128| {
            ServiceError::new(ErrorCode::InvalidRequest, format!("{field} must be 1 to {limit}")).with_param(field)
        };
        if !(1..=BYTES_MAX).contains(&request.bytes_max) {
            return Err(refused("bytes_max", BYTES_MAX.into()));
        }
        let time = Duration::from_millis(request.milliseconds_max.into());
        if time.is_zero() || time > SEND_MAX {
            return Err(refused("milliseconds_max", SEND_MAX.as_millis()));
        }
        Ok(Self { bytes: request.bytes_max, time })
    }
}
