//! The format of chat and text replies.

use bytes::Bytes;
use secateur_proto::ServiceError;

use super::{
    response::{Completion, Head, ScoreStyle, Shape},
    stream::{self, ChunkWriter},
};
use crate::{
    answer::Piece,
    reply::{self, Content, Format, ReplyId},
    request::{Receipt, StreamOptions, Usage},
};

/// Writes replies of `/v1/chat/completions` and `/v1/completions`.
pub struct OpenAiReply {
    shape: Shape,
    scores: ScoreStyle,
    head: Head,
    chunks: ChunkWriter,
    includes_usage: bool,
    /// For each choice, the number of characters of the tokens whose log probabilities were sent.
    offsets: Vec<usize>,
}

impl OpenAiReply {
    /// A reply in the format of `shape`; `stream` has its options if it is streamed.
    pub fn new(shape: Shape, reply: ReplyId, stream: Option<StreamOptions>) -> Self {
        let head = Head {
            id: format!("{}-{}", shape.id_prefix(), reply.epoch),
            object: shape.object(stream.is_some()),
            created: reply.created,
            model: reply.model,
        };
        let options = stream.unwrap_or_default();
        Self {
            shape,
            scores: ScoreStyle::default(),
            chunks: ChunkWriter::new(head.clone(), shape, options),
            head,
            includes_usage: options.include_usage,
            offsets: Vec::new(),
        }
    }

    /// The same reply, which returns the scores of its prompts in this way.
    pub fn with_scores(self, scores: ScoreStyle) -> Self {
        Self { scores, ..self }
    }
}

impl Format for OpenAiReply {
    fn whole(&mut self, contents: Vec<Content>, usage: Usage, receipt: Receipt) -> Bytes {
        let completion = Completion::new((self.head.clone(), self.shape, self.scores), contents, usage, receipt);
        reply::body(&completion)
    }

    fn begun(&mut self, index: usize, echo: Option<String>, usage: Usage) -> Vec<Bytes> {
        self.chunks.opening(index, echo.as_deref(), usage).into_iter().collect()
    }

    fn piece(&mut self, index: usize, piece: Piece, usage: Usage) -> Vec<Bytes> {
        let Piece { text, reasoning, calls, logprobs, finish, stop_text: _ } = piece;
        let mut events = Vec::new();
        if !reasoning.is_empty() {
            events.push(self.chunks.reasoning(index, &reasoning, usage));
        }
        // Special tokens have entries but no text, so a piece may hold entries alone.
        if !text.is_empty() || logprobs.as_ref().is_some_and(|entries| !entries.is_empty()) {
            if self.offsets.len() <= index {
                self.offsets.resize(index + 1, 0);
            }
            events.push(self.chunks.text(index, &text, &mut self.offsets[index], logprobs, usage));
        }
        events.extend(calls.iter().map(|part| self.chunks.call(index, part, usage)));
        events.extend(finish.map(|finish| self.chunks.finish(index, finish, usage)));
        events
    }

    fn end(&mut self, usage: Usage, receipt: Receipt) -> Vec<Bytes> {
        let usage = self.includes_usage.then(|| self.chunks.usage(usage, &receipt));
        usage.into_iter().chain([stream::DONE]).collect()
    }

    fn failed(&mut self, failure: &ServiceError) -> Vec<Bytes> {
        vec![stream::error(failure)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::request::{ScoredToken, TokenEntry};

    #[test]
    fn a_number_is_the_same_whole_and_streamed() {
        // Not among the numbers of 64 bits: widened, it is written with more digits.
        let token = ScoredToken::new(b"a".to_vec(), -33.679_253);
        let entry = TokenEntry { token: token.clone(), top_logprobs: vec![token] };
        let said = || Piece { text: "a".into(), logprobs: Some(vec![entry.clone()]), ..Piece::default() };
        let reply = |stream| {
            let id = ReplyId { epoch: "e".into(), created: 1, model: "m".into() };
            OpenAiReply::new(Shape::Chat, id, stream)
        };
        let mut content = Content::begin(None);
        content.add(said());
        let whole = reply(None).whole(vec![content], Usage::default(), Receipt::default());
        let events = reply(Some(StreamOptions::default())).piece(0, said(), Usage::default());
        let event = events[0].strip_prefix(b"data: ").unwrap();
        let scores = |body: &[u8]| {
            let body: Value = serde_json::from_slice(body).unwrap();
            body["choices"][0]["logprobs"]["content"].clone()
        };
        assert_eq!(scores(&whole), scores(event));
        assert_eq!(scores(event)[0]["logprob"].to_string(), "-33.679253");
    }
}
