//! Both legs after the first token.

use std::{collections::VecDeque, time::Duration};

use secateur_proto::{
    ServiceError,
    v1::{
        DecodeDone, FirstToken, GenerateEvent, PrefillDone, PrefillEvent, Role, Tokens, generate_event, prefill_event,
    },
};
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use super::{node_error, open::timed_out, order::Order};
use crate::cluster::{Facts, Placement};

/// What the legs brought forth.
#[derive(Debug, PartialEq)]
pub enum Progress {
    /// The next tokens, in order.
    Tokens(Vec<u32>),
    /// The decode node is done.
    Done(DecodeDone),
}

/// A request in flight. Dropping it cancels both legs.
pub struct Legs {
    /// The first token and what prefill took.
    pub first: FirstToken,
    /// What the nodes agreed on.
    pub facts: Facts,
    decode: Option<Streaming<GenerateEvent>>,
    early: VecDeque<GenerateEvent>,
    /// None: it has ended.
    prefill: Option<Streaming<PrefillEvent>>,
    report: Option<PrefillDone>,
    /// Index of the next token; the first one is 0.
    next_index: u32,
    max_new_tokens: u32,
    deadline: Instant,
    /// Counts the request on its nodes.
    placement: Placement,
}

/// What the nodes said at the end.
#[derive(Debug, Default)]
pub struct Reports {
    /// Pruning and shipment.
    pub prefill: Option<PrefillDone>,
    /// Generation.
    pub decode: Option<DecodeDone>,
}

impl Reports {
    fn on_decode(&mut self, event: GenerateEvent) {
        if let Some(generate_event::Event::Done(done)) = event.event {
            self.decode = Some(done);
        }
    }

    fn on_prefill(&mut self, event: Option<PrefillEvent>) {
        if let Some(PrefillEvent { event: Some(prefill_event::Event::Done(done)) }) = event {
            self.prefill = Some(done);
        }
    }
}

enum Event {
    Decode(Result<Option<GenerateEvent>, Status>),
    Prefill(Result<Option<PrefillEvent>, Status>),
}

impl Legs {
    /// Legs that have reached the first token.
    pub fn new(
        placement: Placement,
        order: &Order,
        first: FirstToken,
        prefill: Streaming<PrefillEvent>,
        decode: Option<Streaming<GenerateEvent>>,
        early: VecDeque<GenerateEvent>,
    ) -> Self {
        Self {
            first,
            facts: placement.facts.clone(),
            decode,
            early,
            prefill: Some(prefill),
            report: None,
            next_index: 1,
            max_new_tokens: order.max_new_tokens,
            deadline: order.deadline,
            placement,
        }
    }

    /// Tokens after the first, then the end. A gap, a repeat, or the loss of either leg is an error. Cancel safe.
    pub async fn next(&mut self) -> Result<Progress, ServiceError> {
        loop {
            if let Some(event) = self.early.pop_front() {
                return self.on_decode(event);
            }
            let event = tokio::time::timeout_at(self.deadline, receive(&mut self.decode, &mut self.prefill)).await;
            match event.map_err(|_| timed_out())? {
                Event::Decode(Ok(Some(event))) => return self.on_decode(event),
                Event::Decode(Ok(None)) => return Err(self.lost(Role::Decode)),
                Event::Decode(Err(status)) => return Err(self.failed(status, Role::Decode)),
                Event::Prefill(Ok(event)) => self.on_prefill(event)?,
                Event::Prefill(Err(status)) => return Err(self.failed(status, Role::Prefill)),
            }
        }
    }

    /// Whether there is a decode leg to wait for.
    pub fn has_decode(&self) -> bool {
        self.decode.is_some()
    }

    /// Ends the request and gathers the nodes' reports, for which it waits at most `patience`: prefill's always, decode's
    /// if it is known to be at its end. The decode leg is kept until then, since dropping it would break off a shipment
    /// that is about to be reported.
    pub async fn finish(mut self, patience: Duration, awaits_decode: bool) -> Reports {
        let mut reports = Reports { prefill: self.report.take(), decode: None };
        for event in self.early.drain(..) {
            reports.on_decode(event);
        }
        let gathering = async {
            while (reports.prefill.is_none() && self.prefill.is_some())
                || (awaits_decode && reports.decode.is_none() && self.decode.is_some())
            {
                match receive(&mut self.decode, &mut self.prefill).await {
                    Event::Decode(Ok(Some(event))) => reports.on_decode(event),
                    Event::Decode(Ok(None) | Err(_)) => self.decode = None,
                    Event::Prefill(event) => {
                        reports.on_prefill(event.ok().flatten());
                        self.prefill = None;
                    }
                }
            }
        };
        // Reports that do not come in time are missing from the receipt, no more.
        let _ = timeout(patience, gathering).await;
        reports
    }

    fn on_decode(&mut self, event: GenerateEvent) -> Result<Progress, ServiceError> {
        match event.event {
            Some(generate_event::Event::Tokens(tokens)) => self.in_order(tokens).map(Progress::Tokens),
            Some(generate_event::Event::Done(done)) => Ok(Progress::Done(done)),
            Some(generate_event::Event::Opened(_)) | None => {
                Err(node_error::confused(Role::Decode, "an event out of turn"))
            }
        }
    }

    /// A token that reached the client is never repeated or lost, so what is not next in line is never passed on.
    fn in_order(&mut self, tokens: Tokens) -> Result<Vec<u32>, ServiceError> {
        let count = u32::try_from(tokens.ids.len()).unwrap_or(u32::MAX);
        if tokens.index != self.next_index {
            return Err(node_error::confused(Role::Decode, "tokens are missing or repeated"));
        }
        if count > self.max_new_tokens - self.next_index.min(self.max_new_tokens) {
            return Err(node_error::confused(Role::Decode, "more tokens than were asked for"));
        }
        self.next_index += count;
        Ok(tokens.ids)
    }

    fn on_prefill(&mut self, event: Option<PrefillEvent>) -> Result<(), ServiceError> {
        match event.and_then(|event| event.event) {
            Some(prefill_event::Event::Done(done)) => {
                self.report = Some(done);
                self.prefill = None;
                Ok(())
            }
            Some(prefill_event::Event::FirstToken(_)) => {
                Err(node_error::confused(Role::Prefill, "a second first token"))
            }
            None => Err(self.lost(Role::Prefill)),
        }
    }

    fn lost(&self, role: Role) -> ServiceError {
        self.suspect(role);
        node_error::lost(role)
    }

    fn failed(&self, status: Status, role: Role) -> ServiceError {
        self.suspect(role);
        node_error::from_status(status, role)
    }

    fn suspect(&self, role: Role) {
        let node = if role == Role::Decode { &self.placement.decode } else { &self.placement.prefill };
        node.suspect();
    }
}

/// Whatever comes first. Reading a stream is cancel safe: an event is either returned or still in it.
async fn receive(
    decode: &mut Option<Streaming<GenerateEvent>>,
    prefill: &mut Option<Streaming<PrefillEvent>>,
) -> Event {
    tokio::select! {
        event = message(decode) => Event::Decode(event),
        event = message(prefill) => Event::Prefill(event),
    }
}

async fn message<T>(stream: &mut Option<Streaming<T>>) -> Result<Option<T>, Status> {
    match stream {
        Some(stream) => stream.message().await,
        None => std::future::pending().await,
    }
}
