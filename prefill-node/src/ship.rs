//! Pushing one prompt's KV to decode, in one call: finished rows of every layer are sent while the next rows compute.
//!
//! ```text
//! laid out ──▶ manifest ──▶ Received(0) ──▶ Ready(held) ──▶ frame … frame ──▶ closing ──▶ Placed
//!                                              ▲               │ ▲
//!                                    blocks are leased         ▼ progress of the engine; Received from decode
//! ```

mod body;
mod source;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use secateur_channel::Link;
use secateur_model::BLOCK_POSITIONS;
use secateur_node::Identity;
use secateur_proto::{
    ErrorCode, ServiceError,
    error::is_from_service,
    v1::{self, ShipFrame, ShipReply, kv_transfer_client::KvTransferClient, ship_reply::Reply},
};
use secateur_transfer::{
    BlockKeys, DType, Extent, KvShape, Manifest, Sender,
    codec::Packing,
    receipt::{Account, Flight, Timeline, dense_bytes},
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tonic::{Status, Streaming};

use self::{body::WithBody, source::Source};
use crate::{
    job::Job,
    progress::{Closed, Follower, LaidOut, Progress},
    stall::{Patience, WaitsFor},
};

/// Messages between the ship task and the transport: enough to keep the transport busy, few enough to bound memory.
const FRAMES_IN_FLIGHT: usize = 2;
/// Largest reply of decode, in bytes.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// How long a shipment whose stream broke waits for decode's reason.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(500);

/// Everything that a shipment and its account need besides the KV.
pub struct Shipment {
    /// The request.
    pub job: Arc<Job>,
    /// Identity of this node: its layers, its plan and the shape of its KV.
    pub identity: Arc<Identity>,
    /// Patience with a receiver that takes nothing.
    pub patience: Patience,
    /// Packing of losslessly shipped KV.
    pub packing: Packing,
}

/// A shipment that decode acknowledged.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// Bytes sent: payload and framing.
    pub bytes_sent: u64,
    /// Bytes of the shipped KV before coding and framing.
    pub bytes_raw: u64,
    /// Bytes before coding and framing, including KV that decode had already.
    pub bytes_planned: u64,
    /// Number of positions whose KV decode had already.
    pub positions_held: u32,
    /// Times of the shipment, on this node's clock.
    pub timeline: Timeline,
}

/// A shipment that failed.
#[derive(Debug)]
pub struct Failed {
    /// The error that ended the shipment.
    pub error: ServiceError,
    /// Bytes that had been sent by then.
    pub bytes_sent: u64,
}

/// State of a running shipment.
struct Shipping {
    /// The sender; `None` while a blocking task codes a frame with it.
    sender: Option<Sender>,
    /// Bytes of the messages that the sender has made.
    bytes_sent: u64,
    flight: Flight,
    encode: Duration,
    /// Whether decode has acknowledged the manifest.
    is_known: bool,
    /// Number of positions that decode has already; `None` until decode is ready.
    held: Option<u32>,
    /// The end of the computation; set when the closing frame is made.
    closing: Option<Closed>,
}

impl Shipment {
    /// Ships KV as `progress` reports it to be stored; returns when decode has acknowledged all of it.
    pub async fn run(&self, channel: Link, mut progress: Follower) -> Result<Shipped, Failed> {
        let Ok(laid) = progress.wait_for(|progress| progress.laid.is_some()).await.map(|found| found.laid.clone())
        else {
            return engine_stopped().await;
        };
        let Some(laid) = laid else { return engine_stopped().await };
        let (sender, first) = Sender::new(self.manifest(&laid), self.identity.kv_shape().dtype, self.packing);
        let (flight, encode) = Default::default();
        let bytes_sent = sender.bytes_sent();
        let mut shipping =
            Shipping { sender: Some(sender), bytes_sent, flight, encode, is_known: false, held: None, closing: None };
        let done = self.drive(&mut shipping, channel, first, laid, progress).await;
        let Shipping { sender, bytes_sent, flight, encode, held, closing, .. } = shipping;
        match (done, closing.zip(sender)) {
            (Ok(placed), Some((closed, sender))) if placed.bytes == sender.manifest().total_bytes() => Ok(Shipped {
                bytes_sent,
                bytes_raw: sender.bytes_raw(),
                bytes_planned: placed.bytes,
                positions_held: held.unwrap_or(0),
                timeline: Timeline { flight, compute_end: closed.compute_end, encode },
            }),
            (Ok(_), _) => {
                let text = "decode acknowledged another shipment than was sent";
                Err(Failed { error: ServiceError::new(ErrorCode::KvRefused, text), bytes_sent })
            }
            (Err(error), _) => Err(Failed { error, bytes_sent }),
        }
    }

    fn manifest(&self, laid: &LaidOut) -> Manifest {
        let Identity { shipped_layers, plan, kv_steps, .. } = &*self.identity;
        let extent = self.extent(laid);
        let shape = KvShape { dtype: self.wire_dtype(), ..self.identity.kv_shape() };
        let policy = self.job.transfer;
        let manifest =
            Manifest::new(self.job.parties.clone(), (policy, plan.as_deref()), extent, shape, shipped_layers);
        let keys = match policy.held_max(plan.as_deref(), extent) {
            Some(_) => BlockKeys { positions: BLOCK_POSITIONS as u32, keys: laid.keys.concat().into() },
            None => BlockKeys::default(),
        };
        manifest.with_next_position(laid.next_position).with_keys(keys).with_steps(kv_steps)
    }

    fn extent(&self, laid: &LaidOut) -> Extent {
        Extent { prompt: laid.positions - self.job.emitted.len() as u32, positions: laid.positions }
    }

    /// Number format on the wire, the narrower one of both nodes': this node narrows values that decode stores
    /// narrower; decode itself widens values that it stores wider.
    fn wire_dtype(&self) -> DType {
        let own = self.identity.kv_shape().dtype;
        self.job.decode_dtype.filter(|theirs| theirs.size_bytes() < own.size_bytes()).unwrap_or(own)
    }

    /// Runs the exchange of messages with decode until it has placed all KV.
    async fn drive(
        &self,
        shipping: &mut Shipping,
        channel: Link,
        first: ShipFrame,
        laid: Arc<LaidOut>,
        mut progress: Follower,
    ) -> Result<v1::Placed, ServiceError> {
        let held_max = self.job.transfer.held_max(self.identity.plan.as_deref(), self.extent(&laid)).unwrap_or(0);
        let source = Source { laid, identity: self.identity.clone() };
        let (frames, outgoing) = mpsc::channel(FRAMES_IN_FLIGHT);
        let mut client =
            KvTransferClient::new(WithBody::new(channel, outgoing)).max_decoding_message_size(REPLY_BYTES_MAX);
        frames.try_send(first).map_err(|_| lost())?;
        let called = self.patience.wait(client.ship(tokio_stream::empty())).await?;
        let mut replies = called.map_err(said)?.into_inner();
        let mut pending = None;
        let mut coding = None;
        let mut is_current = false;
        let mut taken = Instant::now();
        loop {
            // Coding runs beside this loop, so that replies are read while the next frame is coded and their times are
            // those of the link.
            if pending.is_none() && coding.is_none() && !is_current && shipping.may_send() {
                let now = progress.borrow_and_update().clone();
                is_current = true;
                coding = shipping.code(&source, now);
            }
            let is_idle = pending.is_none() && coding.is_none();
            let waits_for_decode = pending.is_some() || !shipping.may_send();
            let waits_for = shipping.waits_for();
            tokio::select! {
                biased;
                reply = replies.message() => {
                    taken = Instant::now();
                    if let Some(placed) = shipping.hear(reply, taken, held_max)? {
                        return Ok(placed);
                    }
                }
                coded = coded(&mut coding), if coding.is_some() => {
                    coding = None;
                    pending = shipping.take(coded?)?;
                    // After a frame, the same progress may hold enough for another one.
                    is_current = pending.is_none();
                }
                permit = frames.reserve(), if pending.is_some() => {
                    let Ok(permit) = permit else { return Err(why(replies).await) };
                    if let Some(frame) = pending.take() {
                        permit.send(frame);
                    }
                    taken = Instant::now();
                    shipping.flight.handed(taken);
                }
                changed = progress.changed(), if is_idle && !waits_for_decode => {
                    is_current = false;
                    if changed.is_err() && progress.borrow().closed.is_none() {
                        return engine_stopped().await;
                    }
                }
                error = self.patience.overdue(taken, waits_for), if waits_for_decode => return Err(error),
            }
        }
    }

    /// The report for the receipt.
    pub fn report(&self, visual: &v1::VisualReport, positions: u32, shipped: Option<&Shipped>) -> v1::TransferReport {
        let (blocks, whole) = (self.identity.kv_layers.len() as u64, self.identity.model.layers as u64);
        let shape = self.identity.kv_shape();
        let pruned = u64::from(visual.tokens_before.saturating_sub(visual.tokens_after));
        let kept = u64::from(positions);
        let account = Account {
            policy: self.job.transfer,
            bytes_sent: shipped.map_or(0, |shipped| shipped.bytes_sent),
            bytes_raw: shipped.map_or(0, |shipped| shipped.bytes_raw),
            bytes_dense: dense_bytes(kept, blocks, shape),
            bytes_unpruned: dense_bytes(kept + pruned, whole, shape),
            bytes_kept: dense_bytes(kept, whole, shape),
            bytes_planned: shipped.map_or(0, |shipped| shipped.bytes_planned),
            bits: self.job.transfer.precision(self.identity.plan.as_deref()),
            positions_held: shipped.map_or(0, |shipped| shipped.positions_held),
        };
        account.report(shipped.map(|shipped| &shipped.timeline))
    }

    /// The report on a failed shipment, whose bytes went over the wire nevertheless.
    pub fn report_failed(&self, bytes_sent: u64) -> v1::TransferReport {
        v1::TransferReport { policy: self.job.transfer.to_proto(), bytes_sent, ..Default::default() }
    }
}

impl Shipping {
    /// Whether decode is ready for frames and the closing frame is not made yet.
    fn may_send(&self) -> bool {
        self.held.is_some() && self.closing.is_none()
    }

    /// The reply that decode owes this shipment.
    fn waits_for(&self) -> WaitsFor {
        if self.is_known && self.held.is_none() { WaitsFor::Room } else { WaitsFor::Progress }
    }

    /// Starts coding the next frame, if there is enough KV for one. Coding takes milliseconds, so it runs on a blocking
    /// thread, not on the runtime. `None` if no sender is free.
    fn code(&mut self, source: &Source, progress: Progress) -> Option<JoinHandle<Coded>> {
        let mut sender = self.sender.take()?;
        let source = source.clone();
        Some(tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let finished = |layer| progress.in_block(source.slot(layer));
            let frame = sender.frame(&source, finished, progress.closed.is_some());
            Coded { sender, frame, closed: progress.closed, took: started.elapsed() }
        }))
    }

    /// Takes the sender back and returns the message to send: the coded frame, or the closing frame once everything is
    /// sent. `None` if there is not enough KV for a frame yet.
    fn take(&mut self, coded: Coded) -> Result<Option<ShipFrame>, ServiceError> {
        let Coded { mut sender, frame, closed, took } = coded;
        self.encode += took;
        let message = match (frame, closed) {
            (None, Some(closed)) => {
                self.closing = Some(closed);
                Some(sender.close(closed.first_token).map_err(internal)?)
            }
            (frame, _) => frame,
        };
        self.bytes_sent = sender.bytes_sent();
        self.sender = Some(sender);
        Ok(message)
    }

    /// Handles a reply of decode; returns `Placed` if it is the final one.
    fn hear(
        &mut self,
        reply: Result<Option<ShipReply>, Status>,
        at: Instant,
        held_max: u32,
    ) -> Result<Option<v1::Placed>, ServiceError> {
        let reply = reply.map_err(said)?.ok_or_else(lost)?.reply;
        match (reply, &mut self.sender) {
            (Some(Reply::Ready(ready)), Some(sender)) if self.held.is_none() && ready.held <= held_max => {
                sender.ready(ready.held);
                self.held = Some(ready.held);
                Ok(None)
            }
            (Some(Reply::Received(received)), _) => {
                self.is_known = true;
                self.flight.acknowledged(received.frames, at);
                Ok(None)
            }
            (Some(Reply::Placed(placed)), _) if self.closing.is_some() => {
                self.flight.acknowledged(u64::MAX, at);
                Ok(Some(placed))
            }
            _ => Err(ServiceError::new(ErrorCode::KvRefused, "decode answered out of turn")),
        }
    }
}

/// A coded frame, with the sender that coded it.
struct Coded {
    sender: Sender,
    frame: Option<ShipFrame>,
    closed: Option<Closed>,
    took: Duration,
}

/// Waits for the frame that is being coded; for ever if there is none.
async fn coded(coding: &mut Option<JoinHandle<Coded>>) -> Result<Coded, ServiceError> {
    let failed = |_| ServiceError::new(ErrorCode::Internal, "coding KV failed; the node's log says why");
    match coding {
        Some(coding) => coding.await.map_err(failed),
        None => std::future::pending().await,
    }
}

/// The error for a failed call: decode's own, or "lost" if the status is the transport's and not decode's.
fn said(status: Status) -> ServiceError {
    if !is_from_service(&status) {
        return lost();
    }
    let error = ServiceError::from(status);
    if error.code == ErrorCode::Unavailable { error.at_peer() } else { error }
}

/// The reason why decode takes no more frames: its own error if it sends one in time, else that the connection was
/// lost.
async fn why(mut replies: Streaming<ShipReply>) -> ServiceError {
    let refusal = async {
        loop {
            match replies.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(refused) => return Some(refused),
            }
        }
    };
    match timeout(REFUSAL_PATIENCE, refusal).await {
        Ok(Some(refused)) => said(refused),
        _ => lost(),
    }
}

fn lost() -> ServiceError {
    ServiceError::new(ErrorCode::Unavailable, "the connection to decode was lost").at_peer()
}

/// Never resolves, for use after the engine stopped before the prompt was done. The engine's own error reaches the
/// response another way, and the response then drops this future; an error from here could only hide that one.
async fn engine_stopped<T>() -> T {
    std::future::pending().await
}

fn internal(error: secateur_transfer::send::Incomplete) -> ServiceError {
    tracing::error!(%error, "the shipment does not fit its manifest");
    ServiceError::new(ErrorCode::Internal, "the shipment does not fit its manifest")
}

#[cfg(test)]
mod tests;
