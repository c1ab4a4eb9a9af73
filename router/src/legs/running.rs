//! Both legs after the first token.

use std::{collections::VecDeque, time::Duration};

use secateur_proto::v1::{
    DecodeDone, FirstToken, GenerateEvent, PrefillDone, PrefillEvent, PromptScore, Role, TokenLogprob, Tokens,
    TransferReport, decode_done::Reason, generate_event, prefill_event,
};
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::{
    failure::{LegFailure, decode_failure, prefill_failure, timed_out},
    listen::{Trouble, hear},
    node_error,
    order::Order,
    so_far::SoFar,
};
use crate::cluster::{Blame, Decision, Facts, Node, Pair, Placement};

/// A token of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The token's id.
    pub id: u32,
    /// The token's log probability, present if the request asks for it.
    pub logprob: Option<TokenLogprob>,
}

/// One step of an attempt.
#[derive(Debug, PartialEq)]
pub enum Progress {
    /// The next tokens, in order.
    Tokens(Vec<Token>),
    /// The end of the attempt and its reason.
    Done(Reason),
}

/// An attempt in flight. Dropping it cancels both legs.
pub struct Legs {
    /// The first token of this attempt, with prefill's timings.
    pub first: FirstToken,
    /// Scores of the prompt's tokens; empty if they were not asked for.
    pub scores: Vec<PromptScore>,
    /// Facts that both nodes agree on.
    pub facts: Facts,
    /// The transfer policy between the nodes, and its reason.
    pub decision: Decision,
    is_first_taken: bool,
    decode: Option<Streaming<GenerateEvent>>,
    early: VecDeque<GenerateEvent>,
    /// Prefill's event stream; `None` once it has ended.
    prefill: Option<Streaming<PrefillEvent>>,
    report: Option<PrefillDone>,
    /// Report of a shipment that failed; it comes before prefill's error.
    spent: Option<TransferReport>,
    done: Option<DecodeDone>,
    /// Whether tokens have come from decode.
    has_decoded: bool,
    /// Index of the next token in the answer.
    next_index: u32,
    max_new_tokens: u32,
    asks_logprobs: bool,
    deadline: Instant,
    /// The pair of nodes, on which this request is counted while it is held.
    placement: Placement,
}

/// The nodes' final reports.
#[derive(Debug, Default)]
pub struct Reports {
    /// Prefill's report: pruning and shipment.
    pub prefill: Option<PrefillDone>,
    /// Report of a shipment that failed.
    pub spent: Option<TransferReport>,
    /// Decode's report: generation.
    pub decode: Option<DecodeDone>,
}

impl Reports {
    fn on_decode(&mut self, event: GenerateEvent) {
        if let Some(generate_event::Event::Done(done)) = event.event {
            self.decode = Some(done);
        }
    }

    fn on_prefill(&mut self, event: PrefillEvent) {
        match event.event {
            Some(prefill_event::Event::Done(done)) => self.prefill = Some(done),
            Some(prefill_event::Event::Spent(report)) => self.spent = Some(report),
            Some(prefill_event::Event::FirstToken(_) | prefill_event::Event::Scores(_)) | None => {}
        }
    }
}

enum Event {
    Decode(Result<Option<GenerateEvent>, Trouble>),
    Prefill(Result<Option<PrefillEvent>, Trouble>),
}

impl Legs {
    /// Legs that have reached the first token.
    pub fn new(
        placement: Placement,
        order: &Order,
        so_far: &SoFar,
        first: FirstToken,
        prefill: Streaming<PrefillEvent>,
        decode: Option<Streaming<GenerateEvent>>,
        early: VecDeque<GenerateEvent>,
    ) -> Self {
        Self {
            first,
            scores: Vec::new(),
            facts: placement.facts.clone(),
            decision: placement.decision.clone(),
            is_first_taken: false,
            decode,
            early,
            prefill: Some(prefill),
            report: None,
            spent: None,
            done: None,
            has_decoded: false,
            next_index: so_far.next_index(),
            max_new_tokens: order.max_new_tokens,
            asks_logprobs: order.sampling.top_logprobs.is_some(),
            deadline: order.deadline,
            placement,
        }
    }

    /// Returns the first token alone, then decode's tokens, then the end. A gap, a repeat, or the loss of either leg is
    /// an error. Cancel safe.
    pub async fn next(&mut self) -> Result<Progress, LegFailure> {
        if !self.is_first_taken {
            self.is_first_taken = true;
            return self.first_token();
        }
        if self.decode.is_none() {
            return Ok(Progress::Done(Reason::Length));
        }
        loop {
            if let Some(event) = self.early.pop_front() {
                return self.on_decode(event);
            }
            let receiving = receive(&mut self.decode, &mut self.prefill, &self.placement);
            let Ok(event) = tokio::time::timeout_at(self.deadline, receiving).await else {
                return Err(LegFailure::new(&self.placement, timed_out(), Blame::Nobody));
            };
            match event {
                Event::Decode(Ok(Some(event))) => return self.on_decode(event),
                Event::Decode(Ok(None)) => return Err(self.decode_failed(Trouble::Ended)),
                Event::Decode(Err(trouble)) => return Err(self.decode_failed(trouble)),
                Event::Prefill(Ok(event)) => self.on_prefill(event)?,
                Event::Prefill(Err(trouble)) => {
                    self.prefill = None;
                    return Err(prefill_failure(trouble, &self.placement));
                }
            }
        }
    }

    /// Whether there is a decode leg to wait for.
    pub fn has_decode(&self) -> bool {
        self.decode.is_some()
    }

    /// Prefill's final report, if it has arrived; without its account of the shipment once that was taken.
    pub fn report(&self) -> Option<&PrefillDone> {
        self.report.as_ref()
    }

    /// Takes prefill's account of the shipment, if it has arrived; it is given out once.
    pub fn take_shipment(&mut self) -> Option<TransferReport> {
        self.report.as_mut()?.transfer.take()
    }

    /// The nodes of this attempt.
    pub fn pair(&self) -> Pair {
        self.placement.pair()
    }

    /// Whether the decode node has drawn a token.
    pub fn has_decoded(&self) -> bool {
        self.has_decoded
    }

    /// How long this attempt has held its nodes.
    pub fn held(&self) -> Duration {
        self.placement.held()
    }

    /// Ends the attempt and gathers the nodes' reports, waiting for at most `patience`. Prefill's report is always
    /// awaited; decode's only if `expects_report` (the last token ended the answer) and that token was decode's. The
    /// decode leg is kept until then, since dropping it would break off a shipment that is about to be reported.
    pub async fn finish(mut self, patience: Duration, expects_report: bool) -> Reports {
        let awaits_decode = expects_report && self.has_decoded;
        let mut reports = Reports { prefill: self.report.take(), spent: self.spent.take(), decode: self.done.take() };
        for event in self.early.drain(..) {
            reports.on_decode(event);
        }
        let gathering = async {
            while (reports.prefill.is_none() && self.prefill.is_some())
                || (awaits_decode && reports.decode.is_none() && self.decode.is_some())
            {
                match receive(&mut self.decode, &mut self.prefill, &self.placement).await {
                    Event::Decode(Ok(Some(event))) => reports.on_decode(event),
                    Event::Decode(Ok(None) | Err(_)) => self.decode = None,
                    Event::Prefill(Ok(Some(event))) => reports.on_prefill(event),
                    Event::Prefill(Ok(None) | Err(_)) => self.prefill = None,
                }
            }
        };
        // A report that does not arrive in time is only missing from the receipt.
        let _ = timeout(patience, gathering).await;
        reports
    }

    fn first_token(&mut self) -> Result<Progress, LegFailure> {
        let logprobs = Vec::from_iter(self.first.logprob.take());
        let tokens = self.scored(vec![self.first.token], logprobs, Role::Prefill)?;
        self.next_index += 1;
        Ok(Progress::Tokens(tokens))
    }

    fn on_decode(&mut self, event: GenerateEvent) -> Result<Progress, LegFailure> {
        match event.event {
            Some(generate_event::Event::Tokens(tokens)) => self.in_order(tokens).map(Progress::Tokens),
            Some(generate_event::Event::Done(done)) => {
                self.done = Some(done);
                Ok(Progress::Done(done.reason()))
            }
            Some(generate_event::Event::Opened(_)) | None => Err(self.confused(Role::Decode, "an event out of turn")),
        }
    }

    /// Returns the tokens if they continue the answer exactly; otherwise an error, so that no token is repeated or
    /// lost.
    fn in_order(&mut self, tokens: Tokens) -> Result<Vec<Token>, LegFailure> {
        let count = u32::try_from(tokens.ids.len()).unwrap_or(u32::MAX);
        if tokens.index != self.next_index {
            return Err(self.confused(Role::Decode, "tokens are missing or repeated"));
        }
        if count > self.max_new_tokens - self.next_index.min(self.max_new_tokens) {
            return Err(self.confused(Role::Decode, "more tokens than were asked for"));
        }
        self.next_index += count;
        self.has_decoded = true;
        self.scored(tokens.ids, tokens.logprobs, Role::Decode)
    }

    /// Pairs tokens with their log probabilities, which must be present for all tokens if they were requested.
    fn scored(&self, ids: Vec<u32>, logprobs: Vec<TokenLogprob>, role: Role) -> Result<Vec<Token>, LegFailure> {
        if !self.asks_logprobs {
            return Ok(ids.into_iter().map(|id| Token { id, logprob: None }).collect());
        }
        if ids.len() != logprobs.len() {
            return Err(self.confused(role, "log probabilities are missing"));
        }
        let token = |(id, logprob)| Token { id, logprob: Some(logprob) };
        Ok(ids.into_iter().zip(logprobs).map(token).collect())
    }

    fn on_prefill(&mut self, event: Option<PrefillEvent>) -> Result<(), LegFailure> {
        match event.and_then(|event| event.event) {
            Some(prefill_event::Event::Done(done)) => {
                self.report = Some(done);
                self.prefill = None;
                Ok(())
            }
            Some(prefill_event::Event::Spent(report)) => {
                self.spent = Some(report);
                Ok(())
            }
            Some(prefill_event::Event::FirstToken(_) | prefill_event::Event::Scores(_)) => {
                Err(self.confused(Role::Prefill, "an event out of turn"))
            }
            None => Err(prefill_failure(Trouble::Ended, &self.placement)),
        }
    }

    fn confused(&self, role: Role, what: &str) -> LegFailure {
        let blame = if role == Role::Decode { Blame::Decode } else { Blame::Prefill };
        LegFailure::new(&self.placement, node_error::confused(role, what), blame)
    }

    fn decode_failed(&self, trouble: Trouble) -> LegFailure {
        decode_failure(trouble, &self.placement, !self.has_decoded)
    }
}

/// The next event of either leg. Reading a stream is cancel safe: an event is either returned or still in the stream.
async fn receive(
    decode: &mut Option<Streaming<GenerateEvent>>,
    prefill: &mut Option<Streaming<PrefillEvent>>,
    placement: &Placement,
) -> Event {
    tokio::select! {
        event = message(decode, &placement.decode) => Event::Decode(event),
        event = message(prefill, &placement.prefill) => Event::Prefill(event),
    }
}

async fn message<T>(stream: &mut Option<Streaming<T>>, node: &Node) -> Result<Option<T>, Trouble> {
    match stream {
        Some(stream) => hear(node, stream.message()).await,
        None => std::future::pending().await,
    }
}
