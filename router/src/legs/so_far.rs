//! The answer so far: the state that another attempt needs to continue where the last one ended.
//!
//! ```text
//!   Order (never changes) ┐
//!                         ├──▶ PrefillRequest, GenerateRequest of the next attempt
//!   SoFar (only grows)    ┘
//! ```
//!
//! Whatever ends an attempt, the next one is the same request with [`SoFar::emitted`] appended to its prompt. Prefill
//! then draws the answer's next token and decode the ones after it, so nothing is repeated and nothing is lost.

/// Tokens passed on and attempts begun; both only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Tokens of the answer whose text the client has received or will receive.
    pub emitted: Vec<u32>,
    /// Attempts that were begun.
    pub attempts: u32,
}

impl SoFar {
    /// Begins another attempt and returns its number; the first one is 1.
    pub fn begin_attempt(&mut self) -> u32 {
        self.attempts += 1;
        self.attempts
    }

    /// Index of the answer's next token, which is the number of tokens so far.
    pub fn next_index(&self) -> u32 {
        u32::try_from(self.emitted.len()).unwrap_or(u32::MAX)
    }

    /// Whether an answer of at most `max_new_tokens` has its last token.
    pub fn is_complete(&self, max_new_tokens: u32) -> bool {
        self.next_index() >= max_new_tokens
    }

    /// Whether an attempt needs a decode leg: more tokens are missing than the one that prefill draws.
    pub fn needs_decode(&self, max_new_tokens: u32) -> bool {
        self.next_index().saturating_add(1) < max_new_tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_is_needed_for_all_but_the_last_token() {
        let mut so_far = SoFar::default();
        assert!(!so_far.needs_decode(1) && so_far.needs_decode(2) && !so_far.is_complete(1));
        so_far.emitted = vec![7, 8, 9];
        assert_eq!(so_far.next_index(), 3);
        assert!(so_far.needs_decode(5) && !so_far.needs_decode(4));
        assert!(so_far.is_complete(3) && !so_far.is_complete(4));
        assert_eq!((so_far.begin_attempt(), so_far.begin_attempt()), (1, 2));
    }
}
