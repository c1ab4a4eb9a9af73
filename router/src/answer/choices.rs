//! The answers to one request, side by side: each begins when it can, and whatever comes next of any of them comes next.
//!
//! ```text
//!   choice 0 (leads)   begin ▸ pieces ▸ receipt
//!   choice 1                    └▸ begin ▸ pieces ▸ receipt      begins when its leader's decode node draws: by then
//!   choice 2                    └▸ begin ▸ pieces ▸ receipt      prefill has the prompt in its prefix cache, that one its KV
//! ```
//!
//! All run on the task that reads them, so a reader that leaves drops them, which cancels the work at the nodes.

use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, SelectAll},
};
use secateur_common::shutdown::DropGuard;
use secateur_proto::ServiceError;

use super::{Answer, Piece};
use crate::{
    admission::Turn,
    openai::{
        receipt::Receipt,
        response::{FinishReason, Usage},
    },
};

/// What happened to a choice.
#[derive(Debug)]
pub enum Event {
    /// Its first token is there.
    Begun(Usage),
    /// Its next piece.
    Piece(Piece, Usage),
    /// Its pieces were all; the nodes are done.
    Ended(Usage, Box<Receipt>),
}

/// An answer whose first token is there, and its place at the nodes.
pub struct Begun {
    /// The answer.
    pub answer: Answer,
    /// Given back when the choice ends.
    pub turn: Turn,
    /// Of a leader: the others begin when it is dropped.
    pub lead: Option<DropGuard>,
}

/// How a choice begins.
pub type Begin = BoxFuture<'static, Result<Begun, ServiceError>>;

/// All choices of a request.
pub struct Choices {
    streams: SelectAll<BoxStream<'static, (usize, Result<Event, ServiceError>)>>,
}

/// Where a choice is.
enum Stage {
    Beginning(Begin),
    Running(Begun),
    Ending(Begun, FinishReason),
    Over,
}

impl Choices {
    /// Choices that begin so, numbered from 0.
    pub fn new(begins: impl IntoIterator<Item = Begin>) -> Self {
        let streams = begins.into_iter().enumerate().map(|(index, begin)| choice(index, begin).boxed());
        Self { streams: streams.collect() }
    }

    /// What happens next, and to which choice; none after the last one's end. After an error the request is lost: drop it.
    pub async fn next(&mut self) -> Option<(usize, Result<Event, ServiceError>)> {
        self.streams.next().await
    }
}

fn choice(index: usize, begin: Begin) -> impl stream::Stream<Item = (usize, Result<Event, ServiceError>)> {
    stream::unfold(Stage::Beginning(begin), move |stage| async move {
        let (event, stage) = step(stage).await?;
        Some(((index, event), stage))
    })
}

async fn step(stage: Stage) -> Option<(Result<Event, ServiceError>, Stage)> {
    match stage {
        Stage::Beginning(begin) => Some(match begin.await {
            Ok(begun) => (Ok(Event::Begun(begun.answer.usage())), Stage::Running(begun)),
            Err(error) => (Err(error), Stage::Over),
        }),
        Stage::Running(mut begun) => Some(match begun.answer.next().await {
            Ok(piece) => {
                let piece = piece.unwrap_or_default();
                let usage = begun.answer.usage();
                if begun.answer.is_shipped() {
                    begun.lead = None;
                }
                let stage = match piece.finish {
                    Some(finish) => Stage::Ending(begun, finish),
                    None => Stage::Running(begun),
                };
                (Ok(Event::Piece(piece, usage)), stage)
            }
            Err(error) => (Err(error), Stage::Over),
        }),
        Stage::Ending(mut begun, finish) => {
            let receipt = begun.answer.receipt(finish).await;
            // An answer of one token ends before its shipment; the receipt waited for that.
            begun.lead = None;
            Some((Ok(Event::Ended(begun.answer.usage(), Box::new(receipt))), Stage::Over))
        }
        Stage::Over => None,
    }
}
