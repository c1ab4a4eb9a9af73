//! Why the holder of a key is refused, and when to come back. Plain data.

use std::time::Duration;

use secateur_proto::{ErrorCode, ServiceError};

/// Why a request with a known key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too many requests in a minute.
    Requests,
    /// Too many tokens in a minute.
    Tokens,
    /// Too many answers at once.
    Concurrency,
    /// The key has expired.
    Expired,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Reason; 4] = [Reason::Requests, Reason::Tokens, Reason::Concurrency, Reason::Expired];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Requests => "requests",
            Reason::Tokens => "tokens",
            Reason::Concurrency => "concurrency",
            Reason::Expired => "expired",
        }
    }
}

/// A request that is over a limit of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The limit.
    pub limit: Limit,
    /// Time after which the request would be admitted, as far as that is known.
    pub wait: Duration,
}

/// A limit that a request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many requests in a minute.
    Requests(u32),
    /// So many tokens in a minute.
    Tokens(u32),
    /// So many answers at once.
    Concurrency(u32),
    /// So many answers at once, and the request asks for more by itself.
    Never {
        /// Answers that the request asks for.
        asked: usize,
        /// The limit.
        limit: u32,
    },
}

impl Refusal {
    /// The reason that is counted.
    pub fn reason(&self) -> Reason {
        match self.limit {
            Limit::Requests(_) => Reason::Requests,
            Limit::Tokens(_) => Reason::Tokens,
            Limit::Concurrency(_) | Limit::Never { .. } => Reason::Concurrency,
        }
    }

    /// Whole seconds to wait, at least one.
    pub fn retry_after_s(&self) -> u64 {
        let begun = u64::from(self.wait.subsec_nanos() > 0);
        self.wait.as_secs().saturating_add(begun).max(1)
    }
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> ServiceError {
        let seconds = refusal.retry_after_s();
        let message = match refusal.limit {
            Limit::Requests(limit) => {
                format!("this API key may send {limit} requests a minute; try again in {seconds} s")
            }
            Limit::Tokens(limit) => format!("this API key may use {limit} tokens a minute; try again in {seconds} s"),
            Limit::Concurrency(limit) => format!("this API key may have {limit} answers at once; try again soon"),
            Limit::Never { asked, limit } => {
                let message = format!("prompts times n is {asked} answers; this API key may have {limit} at once");
                return ServiceError::new(ErrorCode::InvalidRequest, message).with_param("n");
            }
        };
        ServiceError::new(ErrorCode::RateLimited, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_in_whole_seconds() {
        let after = |wait| Refusal { limit: Limit::Requests(5), wait }.retry_after_s();
        assert_eq!(
            [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(2), Duration::from_millis(2_001)].map(after),
            [1, 1, 2, 3]
        );
        assert!(after(Duration::MAX) > 1);
    }

    #[test]
    fn what_can_never_be_is_the_requests_fault() {
        let error = |limit| ServiceError::from(Refusal { limit, wait: Duration::from_secs(7) });
        let never = error(Limit::Never { asked: 8, limit: 4 });
        assert_eq!((never.code, never.param.as_deref()), (ErrorCode::InvalidRequest, Some("n")));
        let later = error(Limit::Tokens(100));
        assert_eq!(later.code, ErrorCode::RateLimited);
        assert!(later.message.contains("100 tokens") && later.message.ends_with("in 7 s"), "{later}");
    }
}
