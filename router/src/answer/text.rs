//! Turns tokens into the text that a client may see, together with its log probabilities.

use std::sync::Arc;

use super::{held::Held, piece::Piece};
use crate::{
    legs::Token,
    prompt::{Detokenizer, StopMatcher, Stopped},
    request::{ScoredToken, StopConditions, TokenEntry},
    served::ServedModel,
};

/// The growing text of one answer.
pub struct AnswerText {
    model: Arc<ServedModel>,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    /// Number of first tokens in which stop texts do not end the answer.
    min_tokens: u32,
    tokens: u32,
    style: Style,
    /// Log probabilities that wait for their text; `None` if they were not requested.
    held: Option<Held<TokenEntry>>,
}

/// How log probabilities are reported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Number of alternatives reported for each token.
    pub top: u32,
    /// Whether tokens are named by their ids.
    pub as_ids: bool,
}

impl AnswerText {
    /// An empty answer whose text continues that of the tokens `before`. Without a `style` no log probabilities are
    /// reported.
    pub fn new(model: Arc<ServedModel>, before: &[u32], stop: &StopConditions, style: Option<Style>) -> Self {
        Self {
            detokenizer: Detokenizer::after(model.clone(), before),
            model,
            stops: StopMatcher::new(stop.texts.clone(), stop.shows_stop),
            min_tokens: stop.min_tokens,
            tokens: 0,
            style: style.unwrap_or_default(),
            held: style.map(|_| Held::default()),
        }
    }

    /// An empty piece of this answer.
    pub fn piece(&self) -> Piece {
        Piece { logprobs: self.held.as_ref().map(|_| Vec::new()), ..Default::default() }
    }

    /// Adds the text that `token` makes visible to `piece`; returns whether a stop text ended the answer.
    pub fn push(&mut self, piece: &mut Piece, token: &Token) -> bool {
        self.tokens += 1;
        if self.held.is_some() {
            let entry = self.entry(token);
            self.with_held(piece, |held, _| held.token(entry));
        }
        let text = self.detokenizer.push(token.id);
        let is_unfinished = self.held.is_some() && self.detokenizer.is_unfinished();
        self.show(piece, text, is_unfinished)
    }

    /// Adds the text that was held back to `piece`; returns whether it contained a stop text.
    pub fn end(&mut self, piece: &mut Piece) -> bool {
        let rest = self.detokenizer.flush();
        if self.show(piece, rest, false) {
            return true;
        }
        piece.text.push_str(&self.stops.flush());
        self.with_held(piece, |held, out| out.extend(held.rest()));
        false
    }

    /// Adds log probabilities of a token without text to `piece`, if they were requested.
    pub fn list(&self, piece: &mut Piece, token: Option<&Token>) {
        if let (Some(entries), Some(token)) = (&mut piece.logprobs, token) {
            entries.push(self.entry(token));
        }
    }

    /// Adds what may be shown of `text`. `is_unfinished`: its last token also begins a character that is not in it.
    fn show(&mut self, piece: &mut Piece, text: String, is_unfinished: bool) -> bool {
        let written = text.len();
        let Stopped { text, stop } = if self.stops.is_idle() {
            Stopped { text, stop: None }
        } else if self.tokens <= self.min_tokens {
            Stopped { text: self.stops.pass(&text), stop: None }
        } else {
            self.stops.push(&text)
        };
        let is_stopped = stop.is_some();
        piece.stop_text = stop;
        piece.text.push_str(&text);
        self.with_held(piece, |held, out| {
            held.text(written, is_unfinished);
            out.extend(held.shown(text.len()));
            if is_stopped {
                out.extend(held.cut_off());
            }
        });
        is_stopped
    }

    fn with_held(&mut self, piece: &mut Piece, act: impl FnOnce(&mut Held<TokenEntry>, &mut Vec<TokenEntry>)) {
        if let Some(held) = &mut self.held {
            act(held, piece.logprobs.get_or_insert_default());
        }
    }

    fn entry(&self, token: &Token) -> TokenEntry {
        let scored = |id, logprob| {
            let bytes = self.detokenizer.bytes_of(id);
            let token = if bytes.is_empty() {
                ScoredToken::new(self.model.token_bytes(id), logprob).unwritten()
            } else {
                ScoredToken::new(bytes, logprob)
            };
            if self.style.as_ids { token.named_by_id(id) } else { token }
        };
        let logprob = token.logprob.clone().unwrap_or_default();
        let top = logprob.top.iter().take(self.style.top as usize);
        TokenEntry {
            token: scored(token.id, logprob.logprob),
            top_logprobs: top.map(|other| scored(other.id, other.logprob)).collect(),
        }
    }
}

#[cfg(test)]
mod streams;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use secateur_proto::v1::{TokenLogprob, TopLogprob};

    use super::*;
    use crate::served;

    fn model() -> Arc<ServedModel> {
        Arc::new(served::load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model"), None).unwrap())
    }

    /// The pieces of `text`, one for each token and one for the end, until a stop text.
    fn pieces(text: &str, stop: &[&str], min_tokens: u32, top: Option<u32>) -> Vec<Piece> {
        let model = model();
        let ids = model.tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        let texts = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let stop = StopConditions { texts, min_tokens, ..Default::default() };
        let mut answer = AnswerText::new(model, &[], &stop, top.map(|top| Style { top, as_ids: false }));
        let mut pieces = Vec::new();
        for (index, id) in ids.into_iter().enumerate() {
            let top = (0..5).map(|id| TopLogprob { id: 101 + id, logprob: -(id as f32) }).collect();
            let logprob = top_of(index, top);
            let mut piece = answer.piece();
            let is_stopped = answer.push(&mut piece, &Token { id, logprob: Some(logprob) });
            pieces.push(piece);
            if is_stopped {
                return pieces;
            }
        }
        let mut piece = answer.piece();
        answer.end(&mut piece);
        pieces.push(piece);
        pieces
    }

    fn top_of(index: usize, top: Vec<TopLogprob>) -> TokenLogprob {
        TokenLogprob { logprob: -(index as f32), top }
    }

    fn bytes(pieces: &[Piece]) -> Vec<u8> {
        let entries = pieces.iter().flat_map(|piece| piece.logprobs.as_ref().unwrap());
        let json = entries.map(|entry| serde_json::to_value(entry).unwrap());
        json.flat_map(|entry| entry["bytes"].as_array().unwrap().clone())
            .map(|byte| byte.as_u64().unwrap() as u8)
            .collect()
    }

    fn shown(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    #[test]
    fn the_entries_bytes_are_the_texts_and_come_with_it() {
        for text in ["hello world", "héllo 👩‍👧 你好", "the or is"] {
            let pieces = pieces(text, &[], 0, Some(2));
            assert_eq!(bytes(&pieces), text.as_bytes());
            for piece in &pieces {
                assert_eq!(bytes(std::slice::from_ref(piece)), piece.text.as_bytes(), "{text}");
            }
            let first = pieces[0].logprobs.as_ref().unwrap();
            assert_eq!(first[0].top_logprobs.len(), 2, "as many as were asked for");
        }
    }

    #[test]
    fn tokens_behind_a_stop_text_do_not_appear() {
        let stopped = pieces("hello world", &["o w"], 0, Some(0));
        assert_eq!(shown(&stopped), "hell");
        assert_eq!(bytes(&stopped), b"hello", "the token that is out in part is out");
        let kept = pieces("hello world", &["world!"], 0, Some(0));
        assert_eq!((shown(&kept).as_str(), bytes(&kept).as_slice()), ("hello world", b"hello world".as_slice()));
        let none = pieces("hello world", &["hello"], 0, Some(0));
        assert_eq!((shown(&none).as_str(), bytes(&none).len()), ("", 0));
    }

    #[test]
    fn stop_texts_count_only_after_the_shortest_answer() {
        let text = "hello the hello";
        let tokens = model().tokenizer.encode(text, false).unwrap().len() as u32;
        assert_eq!(shown(&pieces(text, &["hello"], 1, None)), "hello the ");
        assert_eq!(shown(&pieces(text, &["hello"], tokens, None)), text);
        assert!(pieces(text, &[], 0, None).iter().all(|piece| piece.logprobs.is_none()));
    }
}
