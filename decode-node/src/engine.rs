//! The computation: one thread, in which every running answer advances by one token per step; answers join and leave
//! between steps.
//!
//! ```text
//! incoming ──▶ take in ──▶ schedule ──▶ compute ──▶ publish ──┐
//!                 ▲                                           │
//!                 └───────────────────────────────────────────┘
//! ```

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

use secateur_common::shutdown::CancellationToken;
use secateur_node::{
    Bell, Leash, Life,
    bell::RingOnDrop,
    handshake::{self, model_failure},
};
use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{DecodeDone, Tokens, decode_done::Reason, generate_event::Event},
};
use tokio::sync::mpsc;

use crate::{
    compute::{Compute, Row},
    kept::HeldKv,
    schedule::{Need, Part, turns},
    sequence::{Next, Numbered, Sequence},
    space::BlockSpace,
};

/// Channel for an answer's events. It has room for the whole answer, so that a slow client never stalls a step.
pub type Events = mpsc::Sender<Result<Event, ServiceError>>;

/// An answer in the engine, from its submission to its end.
pub struct Running {
    /// Sort key for the order of arrival: the epoch's id. Epoch ids sort by time, and a replay keeps its epoch, and so
    /// its place in this order.
    pub order: String,
    /// The answer's tokens and rules.
    pub sequence: Sequence,
    /// The answer's KV.
    pub kv: HeldKv,
    /// Rotary position of the answer's newest token.
    pub position: u32,
    /// Channel for the answer's events.
    pub events: Events,
    /// Token that is cancelled when the request ends before its answer.
    pub cancelled: CancellationToken,
    /// Time at which the prompt's KV was complete.
    pub started: Instant,
}

/// Gauges of the engine, written by its thread and read for the node's description.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Number of answers in the batch.
    pub running: AtomicU32,
    /// Number of answers whose KV is here and that wait for a place in the batch.
    pub waiting: AtomicU32,
    /// Number of preempted answers since the start.
    pub preemptions: AtomicU64,
}

/// The handle to the engine thread.
pub struct Engine {
    queue: Sender<Running>,
    // Declared after `queue`, so dropped after it: the engine thread that its drop wakes finds the queue closed.
    _wakes: RingOnDrop,
    bell: Bell,
    life: Life,
    gauges: Arc<Gauges>,
}

impl Engine {
    /// Starts the thread that owns the computation; at most `max_running` answers step at the same time.
    pub fn start(compute: impl Compute, space: Arc<BlockSpace>, max_running: u32) -> std::io::Result<Self> {
        let (queue, incoming) = channel();
        let gauges = Arc::new(Gauges::default());
        let (max_running, bell) = (max_running as usize, space.bell().clone());
        let mut core = Core { compute, incoming, answers: Vec::new(), max_running, space, gauges: gauges.clone() };
        let life = Life::begin("decode-engine", move || {
            while core.take_in() {
                let turns = core.schedule();
                let outcome = core.compute(&turns);
                core.publish(outcome);
            }
        })?;
        Ok(Self { queue, _wakes: bell.on_drop(), bell, life, gauges })
    }

    /// Hands an answer to the engine thread. The queue needs no bound of its own: every answer holds KV blocks, whose
    /// number is bounded.
    pub fn submit(&self, answer: Running) -> Result<(), ServiceError> {
        self.queue.send(answer).map_err(|_| stopped())?;
        self.bell.ring();
        Ok(())
    }

    /// A cancellation token for an answer, and the leash whose drop cancels it and wakes the engine to see that.
    pub fn leash(&self) -> (CancellationToken, Leash) {
        let cancelled = CancellationToken::new();
        (cancelled.clone(), Leash::waking(cancelled, &self.bell))
    }

    /// The life of the engine thread.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// The engine's gauges.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }
}

/// Result of a step for each answer, in order; `None` for an answer that did not step.
type Moves = Vec<Option<Result<Next, ServiceError>>>;

/// The state that the engine thread owns.
struct Core<C> {
    compute: C,
    incoming: Receiver<Running>,
    /// All answers, in order of arrival; the first `max_running` of them form the batch.
    answers: Vec<Running>,
    max_running: usize,
    space: Arc<BlockSpace>,
    gauges: Arc<Gauges>,
}

impl<C: Compute> Core<C> {
    /// Takes in new answers and drops cancelled ones; sleeps while there are none. Returns false when the engine's
    /// handle is gone and no answer is left.
    fn take_in(&mut self) -> bool {
        self.answers.retain(|answer| !answer.cancelled.is_cancelled());
        self.count();
        if self.answers.is_empty() {
            self.space.hold_off(0, || ());
            match self.incoming.recv() {
                Ok(answer) => self.join(answer),
                Err(_) => return false,
            }
        }
        while let Ok(answer) = self.incoming.try_recv() {
            self.join(answer);
        }
        self.count();
        true
    }

    fn join(&mut self, answer: Running) {
        let index = self.answers.partition_point(|other| other.order <= answer.order);
        self.answers.insert(index, answer);
    }

    /// Decides which answers step, and gives them the blocks that they need; answers may be preempted for them.
    fn schedule(&mut self) -> Vec<Part> {
        let need = |(index, answer): (usize, &Running)| Need {
            grows: index < self.max_running && answer.kv.len() == answer.kv.capacity(),
            holds: answer.kv.blocks(),
        };
        let needs: Vec<Need> = self.answers.iter().enumerate().map(need).collect();
        let space = self.space.clone();
        let mut turns = space.hold_off(needs.len(), || self.give_out(&needs));
        turns.truncate(self.max_running);
        turns
    }

    /// The turn of every answer that stays. Preempted answers are told so and dropped, which frees their blocks.
    fn give_out(&mut self, needs: &[Need]) -> Vec<Part> {
        let mut turns = turns(needs, self.space.available());
        let stays = turns.iter().take_while(|turn| **turn != Part::Preempt).count();
        for answer in self.answers.drain(stays..) {
            self.gauges.preemptions.fetch_add(1, Ordering::Relaxed);
            end(&answer, Reason::Preempted);
        }
        turns.truncate(stays);
        for (turn, answer) in turns.iter_mut().zip(&mut self.answers) {
            if *turn == (Part::Step { grows: true }) {
                // An arriving prompt may have taken the block in the meantime.
                match self.space.grow() {
                    Some(block) => answer.kv.grow(vec![block]),
                    None => *turn = Part::Stall,
                }
            }
        }
        turns
    }

    /// Computes one token for every answer whose turn is a step. A panic fails these answers, not the node.
    fn compute(&mut self, turns: &[Part]) -> Result<Moves, ServiceError> {
        let moves = |turn: &Part| matches!(turn, Part::Step { .. });
        let mut rows: Vec<Row<'_>> = Vec::with_capacity(turns.len());
        for (answer, _) in self.answers.iter_mut().zip(turns).filter(|(_, turn)| moves(turn)) {
            let (token, position) = (answer.sequence.last(), answer.position);
            rows.push(Row { token, position, table: &mut answer.kv, sampler: answer.sequence.sampler(), drawn: None });
        }
        if rows.is_empty() {
            // Every answer waits for a block; sleep until a block is freed, an answer joins, or one is cancelled.
            self.space.bell().wait();
            return Ok(vec![None; turns.len()]);
        }
        let compute = &mut self.compute;
        catch_unwind(AssertUnwindSafe(|| compute.step(&mut rows)))
            .unwrap_or_else(|_| panicked())
            .map_err(model_failure)?;
        let mut drawn = rows.into_iter().map(|row| row.drawn).collect::<Vec<_>>().into_iter();
        let advance = |(answer, turn): (&mut Running, &Part)| {
            let drawn = if moves(turn) { drawn.next().flatten() } else { None };
            drawn.map(|drawn| {
                answer.position += 1;
                drawn.map(|drawn| answer.sequence.push(drawn)).map_err(model_failure)
            })
        };
        Ok(self.answers.iter_mut().zip(turns).map(advance).collect())
    }

    /// Sends the results of a step. Answers that have ended are dropped, and their blocks with them.
    fn publish(&mut self, outcome: Result<Moves, ServiceError>) {
        match outcome {
            Ok(nexts) => {
                let mut nexts = nexts.into_iter();
                // Answers after the last one of the step did not step and stay.
                self.answers.retain(|answer| nexts.next().flatten().is_none_or(|next| tell(answer, next)));
            }
            Err(error) => {
                let moved = self.answers.len().min(self.max_running);
                for answer in self.answers.drain(..moved) {
                    send(&answer.events, Err(error.clone()));
                }
            }
        }
    }

    fn count(&self) {
        let running = self.answers.len().min(self.max_running);
        self.gauges.running.store(running as u32, Ordering::Relaxed);
        self.gauges.waiting.store((self.answers.len() - running) as u32, Ordering::Relaxed);
    }
}

/// The error for requests after the engine thread has ended; the node ends soon after.
pub fn stopped() -> ServiceError {
    ServiceError::new(ErrorCode::Unavailable, "the decode engine has stopped")
}

fn panicked() -> Result<(), secateur_model::ModelError> {
    Err(secateur_model::ModelError::Defect { what: "a decode step" })
}

/// Sends a token, an end or an error to the answer's request; returns false if the answer has ended.
fn tell(answer: &Running, next: Result<Next, ServiceError>) -> bool {
    let token = |Numbered { index, id, logprob }: Numbered| {
        let logprobs = logprob.map(handshake::logprob).into_iter().collect();
        Ok(Event::Tokens(Tokens { index, ids: vec![id], logprobs }))
    };
    match next {
        Ok(Next::Token(numbered)) => {
            send(&answer.events, token(numbered));
            true
        }
        Ok(Next::Last(numbered)) => {
            send(&answer.events, token(numbered));
            end(answer, Reason::Length);
            false
        }
        Ok(Next::Stop) => {
            end(answer, Reason::Stop);
            false
        }
        Err(error) => {
            send(&answer.events, Err(error));
            false
        }
    }
}

fn end(answer: &Running, reason: Reason) {
    let decode_ms = answer.started.elapsed().as_secs_f64() * 1e3;
    let done = DecodeDone { reason: reason as i32, decode_ms, tokens: answer.sequence.generated() };
    send(&answer.events, Ok(Event::Done(done)));
}

fn send(events: &Events, event: Result<Event, ServiceError>) {
    // Fails only if the request is gone; its leash then cancels the answer before the next step.
    let _ = events.try_send(event);
}

#[cfg(test)]
mod tests;
