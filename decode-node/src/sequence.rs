//! One running answer: whether it goes on after each token. Plain data, tested without a model or a runtime.

use secateur_model::{Drawn, Sampler, TokenLogprob};
use secateur_proto::v1::decode_done::Reason;

/// The rules of one answer and its progress.
#[derive(Clone, Debug)]
pub struct Sequence {
    sampler: Sampler,
    stop_token_ids: Vec<u32>,
    max_new_tokens: u32,
    /// The newest token: the next step's input.
    last: u32,
    /// Number of the answer's tokens so far, including those generated elsewhere.
    count: u32,
    /// Number of the answer's tokens generated elsewhere: by an earlier attempt, and the first one by prefill.
    made_elsewhere: u32,
}

/// Consequence of a drawn token for its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Send the token and go on.
    Token(Numbered),
    /// Send the token and end: the answer has reached its limit.
    Last(Numbered),
    /// End without sending the token, which is a stop token.
    Stop,
}

/// A token and its place in the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    /// Index of the token in the answer, from 0.
    pub index: u32,
    /// Id of the token.
    pub id: u32,
    /// Log probabilities, if the request asks for them.
    pub logprob: Option<TokenLogprob>,
}

impl Sequence {
    /// An answer whose first `emitted` tokens the client has, followed by `first_token`, which prefill drew. `sampler`
    /// already knows the emitted tokens.
    pub fn new(
        mut sampler: Sampler,
        stop_token_ids: Vec<u32>,
        max_new_tokens: u32,
        emitted: u32,
        first_token: u32,
    ) -> Self {
        sampler.note(first_token);
        let count = emitted + 1;
        Self { sampler, stop_token_ids, max_new_tokens, last: first_token, count, made_elsewhere: count }
    }

    /// The reason why the answer ends before its first step, if it does.
    pub fn ended_at_first(&self) -> Option<Reason> {
        if self.stop_token_ids.contains(&self.last) {
            return Some(Reason::Stop);
        }
        (self.count >= self.max_new_tokens).then_some(Reason::Length)
    }

    /// The newest token: the next step's input.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// The sampler that draws the next token.
    pub fn sampler(&mut self) -> &mut Sampler {
        &mut self.sampler
    }

    /// Number of tokens generated on this node by this attempt.
    pub fn generated(&self) -> u32 {
        self.count - self.made_elsewhere
    }

    /// Appends the next token and returns its consequence.
    pub fn push(&mut self, drawn: Drawn) -> Next {
        let Drawn { token: id, logprob } = drawn;
        if self.stop_token_ids.contains(&id) {
            return Next::Stop;
        }
        let numbered = Numbered { index: self.count, id, logprob };
        self.last = id;
        self.count += 1;
        if self.count >= self.max_new_tokens { Next::Last(numbered) } else { Next::Token(numbered) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_model::Sampling;

    fn sequence(max_new_tokens: u32, emitted: u32, first: u32) -> Sequence {
        let sampler = Sampler::new(Sampling::default(), vec![2], &[], &[]);
        Sequence::new(sampler, vec![2], max_new_tokens, emitted, first)
    }

    fn push(sequence: &mut Sequence, token: u32) -> Next {
        sequence.push(Drawn { token, logprob: None })
    }

    fn numbered(index: u32, id: u32) -> Numbered {
        Numbered { index, id, logprob: None }
    }

    #[test]
    fn tokens_are_numbered_after_the_first() {
        let mut sequence = sequence(4, 0, 7);
        assert_eq!(sequence.ended_at_first(), None);
        assert_eq!(push(&mut sequence, 8), Next::Token(numbered(1, 8)));
        assert_eq!(push(&mut sequence, 9), Next::Token(numbered(2, 9)));
        assert_eq!(push(&mut sequence, 9), Next::Last(numbered(3, 9)));
        assert_eq!(sequence.generated(), 3);
    }

    #[test]
    fn a_replay_goes_on_where_the_answer_was() {
        let mut sequence = sequence(6, 3, 7);
        assert_eq!(push(&mut sequence, 8), Next::Token(numbered(4, 8)));
        assert_eq!(push(&mut sequence, 9), Next::Last(numbered(5, 9)));
        assert_eq!(sequence.generated(), 2);
    }

    #[test]
    fn stop_tokens_end_without_being_sent() {
        let mut sequence = sequence(4, 0, 7);
        assert_eq!(push(&mut sequence, 2), Next::Stop);
        assert_eq!(sequence.generated(), 0);
    }

    #[test]
    fn an_answer_can_end_at_its_first_token() {
        assert_eq!(sequence(4, 0, 2).ended_at_first(), Some(Reason::Stop));
        assert_eq!(sequence(1, 0, 7).ended_at_first(), Some(Reason::Length));
        assert_eq!(sequence(4, 3, 7).ended_at_first(), Some(Reason::Length));
    }
}
