//! The answers (choices) to one request, run concurrently; their events are merged in the order in which they occur.
//!
//! ```text
//!   choice 0 (leads)   begin ▸ pieces ▸ receipt
//!   choice 1                    └▸ begin ▸ pieces ▸ receipt      begins when its leader's decode node draws a token:
//!   choice 2                    └▸ begin ▸ pieces ▸ receipt      by then both nodes hold the prompt's KV
//! ```
//!
//! All choices run on the task that reads them: when the reader goes away they are dropped, which cancels the work at
//! the nodes.

use std::sync::Arc;

use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, SelectAll},
};
use secateur_common::shutdown::DropGuard;
use secateur_proto::ServiceError;

use super::{Answer, Piece};
use crate::{
    admission::RunPermit,
    request::{FinishReason, PromptScores, Usage, receipt::Receipt},
};

/// An event of one choice.
#[derive(Debug)]
pub enum Event {
    /// The first token has arrived; usage so far, and the scores of the prompt if this choice brings them.
    Begun(Usage, Option<Arc<PromptScores>>),
    /// The next piece, and usage so far.
    Piece(Piece, Usage),
    /// The answer has ended and the nodes are done; final usage and receipt.
    Ended(Usage, Box<Receipt>),
}

/// An answer whose first token has arrived, and its permit to run at the nodes.
pub struct Begun {
    /// The answer.
    pub answer: Answer,
    /// The permit to run at the nodes, released when the choice ends.
    pub permit: RunPermit,
    /// Scores of the prompt's tokens, if this choice brings them.
    pub scores: Option<Arc<PromptScores>>,
    /// Guard of the prompt's first choice (the leader): the other choices begin when it is dropped.
    pub lead: Option<DropGuard>,
}

/// A future that starts a choice and waits for its first token.
pub type Begin = BoxFuture<'static, Result<Begun, ServiceError>>;

/// All choices of a request.
pub struct Choices {
    streams: SelectAll<BoxStream<'static, (usize, Result<Event, ServiceError>)>>,
}

/// The stage that a choice has reached.
enum Phase {
    Beginning(Begin),
    Running(Begun),
    Ending(Begun, FinishReason),
    Over,
}

impl Choices {
    /// Choices started by `begins`, numbered from 0.
    pub fn new(begins: impl IntoIterator<Item = Begin>) -> Self {
        let streams = begins.into_iter().enumerate().map(|(index, begin)| choice(index, begin).boxed());
        Self { streams: streams.collect() }
    }

    /// The next event and the number of its choice; `None` after the last choice has ended. After an error the whole
    /// request has failed: drop it.
    pub async fn next(&mut self) -> Option<(usize, Result<Event, ServiceError>)> {
        self.streams.next().await
    }
}

fn choice(index: usize, begin: Begin) -> impl stream::Stream<Item = (usize, Result<Event, ServiceError>)> {
    stream::unfold(Phase::Beginning(begin), move |stage| async move {
        let (event, stage) = step(stage).await?;
        Some(((index, event), stage))
    })
}

async fn step(stage: Phase) -> Option<(Result<Event, ServiceError>, Phase)> {
    match stage {
        Phase::Beginning(begin) => Some(match begin.await {
            Ok(mut begun) => {
                let scores = begun.scores.take();
                (Ok(Event::Begun(begun.answer.usage(), scores)), Phase::Running(begun))
            }
            Err(error) => (Err(error), Phase::Over),
        }),
        Phase::Running(mut begun) => Some(match begun.answer.next().await {
            Ok(piece) => {
                let piece = piece.unwrap_or_default();
                let usage = begun.answer.usage();
                if begun.answer.is_shipped() {
                    begun.lead = None;
                }
                let stage = match piece.finish {
                    Some(finish) => Phase::Ending(begun, finish),
                    None => Phase::Running(begun),
                };
                (Ok(Event::Piece(piece, usage)), stage)
            }
            Err(error) => (Err(error), Phase::Over),
        }),
        Phase::Ending(mut begun, finish) => {
            let receipt = begun.answer.receipt(finish).await;
            // An answer of one token ends before its shipment; the receipt has waited for the shipment.
            begun.lead = None;
            Some((Ok(Event::Ended(begun.answer.usage(), Box::new(receipt))), Phase::Over))
        }
        Phase::Over => None,
    }
}
