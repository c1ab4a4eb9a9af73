//! One answer under way: what comes after each token. Plain data, tested without a model or a runtime.

use secateur_model::Sampling;
use secateur_proto::v1::decode_done::Reason;

/// The rules of one answer and how far it is.
#[derive(Clone, Debug)]
pub struct Sequence {
    sampling: Sampling,
    stop_token_ids: Vec<u32>,
    max_new_tokens: u32,
    /// The newest token: the next step's input.
    last: u32,
    /// Tokens of the answer so far, the first one, which prefill drew, included.
    count: u32,
}

/// What a token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send it and go on.
    Token {
        /// Its place in the answer, from 0.
        index: u32,
        /// The token.
        id: u32,
    },
    /// Send it and end: there is room for no more.
    Last {
        /// Its place in the answer, from 0.
        index: u32,
        /// The token.
        id: u32,
    },
    /// A stop token: end without sending it.
    Stop,
}

impl Sequence {
    /// An answer whose first token exists.
    pub fn new(sampling: Sampling, stop_token_ids: Vec<u32>, max_new_tokens: u32, first_token: u32) -> Self {
        Self { sampling, stop_token_ids, max_new_tokens, last: first_token, count: 1 }
    }

    /// Why the answer is over before a single step, if it is.
    pub fn ended_at_first(&self) -> Option<Reason> {
        if self.stop_token_ids.contains(&self.last) {
            return Some(Reason::Stop);
        }
        (self.max_new_tokens <= 1).then_some(Reason::Length)
    }

    /// The next step's input.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// How the next token is drawn: sampling, seed and place.
    pub fn draw(&self) -> (&Sampling, u64, u64) {
        (&self.sampling, self.sampling.seed.unwrap_or_default(), u64::from(self.count))
    }

    /// Tokens generated here, the first one excluded.
    pub fn generated(&self) -> u32 {
        self.count - 1
    }

    /// Takes the next token.
    pub fn push(&mut self, id: u32) -> Next {
        if self.stop_token_ids.contains(&id) {
            return Next::Stop;
        }
        let index = self.count;
        self.last = id;
        self.count += 1;
        if self.count >= self.max_new_tokens { Next::Last { index, id } } else { Next::Token { index, id } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(max_new_tokens: u32, first: u32) -> Sequence {
        Sequence::new(Sampling::default(), vec![2], max_new_tokens, first)
    }

    #[test]
    fn tokens_are_numbered_after_the_first() {
        let mut sequence = sequence(4, 7);
        assert_eq!(sequence.ended_at_first(), None);
        assert_eq!(sequence.push(8), Next::Token { index: 1, id: 8 });
        assert_eq!(sequence.draw().2, 2);
        assert_eq!(sequence.push(9), Next::Token { index: 2, id: 9 });
        assert_eq!(sequence.push(9), Next::Last { index: 3, id: 9 });
        assert_eq!(sequence.generated(), 3);
    }

    #[test]
    fn stop_tokens_end_without_being_sent() {
        let mut sequence = sequence(4, 7);
        assert_eq!(sequence.push(2), Next::Stop);
        assert_eq!(sequence.generated(), 0);
    }

    #[test]
    fn an_answer_can_end_at_its_first_token() {
        assert_eq!(sequence(4, 2).ended_at_first(), Some(Reason::Stop));
        assert_eq!(sequence(1, 7).ended_at_first(), Some(Reason::Length));
    }
}
