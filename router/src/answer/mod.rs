//! One answer: turns tokens from the nodes into text until an end token, a stop text or the length limit ends it, and
//! then makes its receipt.

mod choices;
mod held;
mod piece;
mod reader;
mod scores;
mod sum;
mod text;
mod total;

use std::{collections::HashSet, sync::Arc, time::Duration};

use secateur_proto::{ServiceError, v1::FirstToken};
use tokio::time::Instant;

use crate::{
    legs::{Run, Step, Token},
    metrics::AnswerClock,
    request::{
        FinishReason, StopConditions, Usage,
        receipt::{Receipt, Timing},
    },
    served::ServedModel,
};
pub use choices::{Begin, Begun, Choices, Event};
pub use piece::Piece;
pub use reader::AnswerReader;
pub use scores::named;
use text::AnswerText;
pub use text::Style;
pub use total::Total;

/// What an answer needs to know about its request.
pub struct AnswerContext {
    /// The request's epoch, for the receipt.
    pub epoch: String,
    /// Last tokens of the text that the answer continues; empty where the answer starts a new text.
    pub before: Vec<u32>,
    /// Tokens of the prompt without its pictures.
    pub text_tokens: u32,
    /// Tokens of the prompt with its pictures before pruning, at most.
    pub prompt_tokens_max: u32,
    /// Stop conditions of the request, without the model's end tokens.
    pub stop: StopConditions,
    /// Tokens that end the answer and are not part of its text.
    pub stop_token_ids: HashSet<u32>,
    /// Reader of reasoning and calls in the answer's text.
    pub reader: AnswerReader,
    /// How log probabilities are reported; `None` if they were not requested.
    pub logprobs: Option<Style>,
    /// Whether an end token that prefill draws has log probabilities too, as those of a returned prompt's continuation:
    /// clients that score prompts take the last entry for the one token that they asked for.
    pub lists_end: bool,
    /// Whether only the prompt is wanted: the answer is empty, and the token that prefill draws is not used.
    pub is_empty: bool,
    /// Time spent waiting for a permit to run and, for a further choice, for the prompt's first choice.
    pub queued: Duration,
    /// When the router accepted the request.
    pub accepted: Instant,
}

/// An answer that is being generated. Dropping it cancels the work at the nodes.
pub struct Answer {
    run: Run,
    context: AnswerContext,
    text: AnswerText,
    completion_tokens: u32,
    first_at: Instant,
    last_at: Instant,
    /// Whether the last token was an end token, after which the node that drew it is done.
    has_end_token: bool,
    is_finished: bool,
    clock: AnswerClock,
}

impl Answer {
    /// An answer whose first token has just arrived.
    pub fn new(run: Run, context: AnswerContext, model: Arc<ServedModel>, mut clock: AnswerClock) -> Self {
        let now = Instant::now();
        clock.first_token(now - context.accepted);
        Self {
            text: AnswerText::new(model, &context.before, &context.stop, context.logprobs),
            run,
            context,
            completion_tokens: 0,
            first_at: now,
            last_at: now,
            has_end_token: false,
            is_finished: false,
            clock,
        }
    }

    /// The next piece; none after the last one.
    pub async fn next(&mut self) -> Result<Option<Piece>, ServiceError> {
        if self.is_finished {
            return Ok(None);
        }
        if self.context.is_empty {
            self.is_finished = true;
            return Ok(Some(Piece { finish: Some(FinishReason::Length), ..self.text.piece() }));
        }
        let piece = match self.run.next().await.inspect_err(|error| self.clock.failed(error.code))? {
            Step::Tokens(tokens) => self.on_tokens(tokens),
            Step::End(reason) => {
                let mut piece = self.text.piece();
                self.end(&mut piece, reason);
                piece
            }
        };
        let piece = self.context.reader.read(piece);
        self.is_finished = piece.finish.is_some();
        Ok(Some(piece))
    }

    /// Whether the decode node has drawn a token, and therefore has the whole prompt's KV.
    pub fn is_shipped(&self) -> bool {
        self.run.has_decoded()
    }

    /// Token counts so far.
    pub fn usage(&self) -> Usage {
        let counted = self.run.visual().map(|visual| self.context.text_tokens.saturating_add(visual.tokens_before));
        let prompt = counted.unwrap_or(self.context.prompt_tokens_max);
        Usage::new(prompt, self.completion_tokens, self.run.cached_positions())
    }

    /// Ends the request at the nodes and returns its receipt. Call after the last piece.
    pub async fn receipt(&mut self, finish: FinishReason) -> Receipt {
        let account = self.run.finish(self.has_end_token).await.clone();
        let receipt = Receipt {
            epoch: self.context.epoch.clone(),
            attempts: self.run.attempts(),
            timing: self.timing(account.first.as_ref(), account.decode_ms()),
            visual: account.visual.as_ref().and_then(sum::visual),
            transfer: account.transfer.as_ref().map(sum::transfer).unwrap_or_default(),
            decision: sum::decision(&account.decision),
            plan: account.facts.plan_id,
            prefill_node: account.facts.prefill_node,
            decode_node: account.decode_node,
            choices: Vec::new(),
        };
        self.clock.finished(finish, self.usage(), &receipt);
        receipt
    }

    /// Turns tokens into a piece. An end token is not part of the answer; prefill sends one that it drew, decode does
    /// not.
    fn on_tokens(&mut self, tokens: Vec<Token>) -> Piece {
        let end = tokens.iter().position(|token| self.context.stop_token_ids.contains(&token.id));
        let end_token = end.and_then(|end| tokens.get(end)).filter(|_| self.context.lists_end);
        let tokens = &tokens[..end.unwrap_or(tokens.len())];
        let mut piece = self.text.piece();
        let stopped = tokens.iter().position(|token| self.text.push(&mut piece, token));
        self.count(stopped.map_or(tokens.len(), |last| last + 1));
        if stopped.is_some() {
            piece.finish = Some(FinishReason::Stop);
        } else if end.is_some() {
            self.has_end_token = true;
            self.end(&mut piece, FinishReason::Stop);
            self.text.list(&mut piece, end_token);
        }
        piece
    }

    fn count(&mut self, tokens: usize) {
        // The first token's time was taken when the answer was created.
        let between = (self.completion_tokens > 0 && tokens > 0).then(|| {
            let now = Instant::now();
            now - std::mem::replace(&mut self.last_at, now)
        });
        self.clock.tokens(between, tokens);
        self.completion_tokens += u32::try_from(tokens).unwrap_or(u32::MAX);
    }

    /// Ends the answer for `reason`, unless the text that was still held back contains a stop text.
    fn end(&mut self, piece: &mut Piece, reason: FinishReason) {
        let is_stopped = self.text.end(piece);
        piece.finish = Some(if is_stopped { FinishReason::Stop } else { reason });
    }

    fn timing(&self, first: Option<&FirstToken>, decode_ms: Option<f64>) -> Timing {
        let generating = self.last_at - self.first_at;
        let later_tokens = self.completion_tokens.saturating_sub(1);
        Timing {
            queue_ms: ms(self.context.queued) + first.map_or(0.0, |first| first.queue_ms),
            prefill_ms: first.map_or(0.0, |first| first.prefill_ms),
            ttft_ms: ms(self.first_at - self.context.accepted),
            decode_ms: decode_ms.unwrap_or_else(|| ms(generating)),
            tpot_ms: if later_tokens == 0 { 0.0 } else { ms(generating) / f64::from(later_tokens) },
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
