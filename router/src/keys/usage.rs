//! What a key has used since it is known, as metrics show it. Plain data.

use super::refusal::Reason;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// With its whole answer.
    Ok,
    /// Its client left before that.
    Abort,
    /// With a status from 400 to 499.
    ClientError,
    /// With a status of 500 and more, or with an error in a stream.
    ServerError,
}

impl Outcome {
    /// All outcomes, the worse ones last: a request ends as badly as the worst of its answers.
    pub const ALL: [Outcome; 4] = [Outcome::Ok, Outcome::Abort, Outcome::ClientError, Outcome::ServerError];

    /// The value of the label `outcome`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Abort => "abort",
            Outcome::ClientError => "client_error",
            Outcome::ServerError => "server_error",
        }
    }

    /// The outcome that an HTTP status means.
    pub fn of_status(status: u16) -> Self {
        match status {
            0..=399 => Outcome::Ok,
            400..=499 => Outcome::ClientError,
            _ => Outcome::ServerError,
        }
    }
}

/// Sums of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests that have ended, by outcome in the order of [`Outcome::ALL`].
    requests: [u64; Outcome::ALL.len()],
    /// Refusals, by reason in the order of [`Reason::ALL`].
    refused: [u64; Reason::ALL.len()],
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Answers that run or wait for their turn.
    pub running: u32,
}

impl Usage {
    /// Counts a request that has ended.
    pub fn ended(&mut self, outcome: Outcome) {
        self.requests[outcome as usize] += 1;
    }

    /// Counts a refusal.
    pub fn refused(&mut self, reason: Reason) {
        self.refused[reason as usize] += 1;
    }

    /// Number of requests that ended so.
    pub fn requests(&self, outcome: Outcome) -> u64 {
        self.requests[outcome as usize]
    }

    /// Number of refusals for this reason.
    pub fn refusals(&self, reason: Reason) -> u64 {
        self.refused[reason as usize]
    }
}

/// One key's sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFigures {
    /// Name of the key.
    pub name: String,
    /// Its sums.
    pub usage: Usage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_and_reason_has_a_sum_of_its_own() {
        let mut usage = Usage::default();
        for (times, outcome) in (1..).zip(Outcome::ALL) {
            (0..times).for_each(|_| usage.ended(outcome));
        }
        assert_eq!(Outcome::ALL.map(|outcome| usage.requests(outcome)), [1, 2, 3, 4]);
        Reason::ALL.iter().for_each(|reason| usage.refused(*reason));
        assert_eq!(Reason::ALL.map(|reason| usage.refusals(reason)), [1; Reason::ALL.len()]);
        assert_eq!(
            [200, 304, 429, 504].map(Outcome::of_status),
            [Outcome::Ok, Outcome::Ok, Outcome::ClientError, Outcome::ServerError]
        );
    }
}
