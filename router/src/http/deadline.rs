//! The time that a request may take, as its header says.

use std::time::Duration;

use axum::http::HeaderMap;
use secateur_proto::{ErrorCode, ServiceError};

/// Header with the seconds after which the answer is of no use to the client.
const HEADER: &str = "x-request-timeout";

/// The time that a request with these headers may take: what it asks for, and at most `most`.
pub fn timeout(headers: &HeaderMap, most: Duration) -> Result<Duration, ServiceError> {
    let Some(value) = headers.get(HEADER) else { return Ok(most) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    match seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0) {
        Some(seconds) => Ok(Duration::try_from_secs_f64(seconds).unwrap_or(most).min(most)),
        None => {
            let message = format!("{HEADER} must be a number of seconds above 0");
            Err(ServiceError::new(ErrorCode::InvalidRequest, message).with_param(HEADER))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const MOST: Duration = Duration::from_secs(120);

    fn read(value: &str) -> Result<Duration, ServiceError> {
        let value = HeaderValue::from_str(value).unwrap();
        timeout(&HeaderMap::from_iter([(HEADER.parse().unwrap(), value)]), MOST)
    }

    #[test]
    fn the_smaller_time_holds() {
        assert_eq!(timeout(&HeaderMap::new(), MOST).unwrap(), MOST);
        for (value, expected) in [("1.5", Duration::from_millis(1_500)), (" 2 ", Duration::from_secs(2))] {
            assert_eq!(read(value).unwrap(), expected);
        }
        assert_eq!((read("121").unwrap(), read("1e300").unwrap()), (MOST, MOST));
    }

    #[test]
    fn junk_is_refused_by_name() {
        for value in ["", "soon", "0", "-1", "nan", "inf", "1s", "1,5"] {
            let error = read(value).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidRequest, Some(HEADER)), "{value}");
        }
    }
}
