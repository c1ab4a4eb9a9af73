//! Opens one attempt: brings both legs up to the first token, or reports the failure and the party at fault.

use std::{collections::VecDeque, time::Duration};

use secateur_proto::{
    ErrorCode, PREFILL_REQUEST_BYTES_MAX, ServiceError,
    v1::{
        FirstToken, GenerateEvent, PrefillEvent, Role, TransferReport, decode_client::DecodeClient, generate_event,
        prefill_client::PrefillClient, prefill_event,
    },
};
use tokio::time::{timeout, timeout_at};
use tonic::{Request, Streaming, metadata::MetadataValue};

use super::{
    failure::{LegFailure, decode_failure, prefill_failure, timed_out},
    listen::{Trouble, hear},
    node_error,
    order::Order,
    running::Legs,
    so_far::SoFar,
};
use crate::cluster::{Blame, Placement};

/// How long a failed attempt waits for prefill to report the bytes it had sent.
const SPENT_PATIENCE: Duration = Duration::from_millis(100);

/// Bytes of a prefill request that are kept free for everything except pictures, mainly tokens.
const BESIDE_PICTURES_BYTES: usize = 16 << 20;

/// A decode leg whose epoch is open.
struct DecodeLeg {
    stream: Streaming<GenerateEvent>,
    /// Events that came while the first token was awaited.
    early: VecDeque<GenerateEvent>,
}

/// A prefill leg's event stream and its first token.
type PrefillLeg = (Streaming<PrefillEvent>, FirstToken);

/// Opens both legs of the attempt that `so_far` has begun on `placement`, and waits for the first token.
pub async fn open(placement: Placement, order: &Order, so_far: &SoFar) -> Result<Legs, LegFailure> {
    match timeout_at(order.deadline, open_both(&placement, order, so_far)).await {
        Ok(Ok(((prefill, first), decode))) => {
            let (stream, early) = decode.map(|leg| (leg.stream, leg.early)).unzip();
            Ok(Legs::new(placement, order, so_far, first, prefill, stream, early.unwrap_or_default()))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(LegFailure::new(&placement, timed_out(), Blame::Nobody)),
    }
}

async fn open_both(
    placement: &Placement,
    order: &Order,
    so_far: &SoFar,
) -> Result<(PrefillLeg, Option<DecodeLeg>), LegFailure> {
    let mut decode = if so_far.needs_decode(order.max_new_tokens) {
        Some(open_decode(placement, order, so_far).await?)
    } else {
        None
    };
    let opening = open_prefill(placement, order, so_far);
    tokio::pin!(opening);
    tokio::select! {
        opened = &mut opening => Ok((opened?, decode)),
        failure = watch(decode.as_mut(), placement) => {
            // Prefill also notices that decode failed and reports what it had sent, so that all bytes on the wire are
            // counted.
            let spent = timeout(SPENT_PATIENCE, spent(opening)).await.ok().flatten();
            Err(LegFailure { spent, ..failure })
        }
    }
}

/// The bytes that a prefill leg had sent when its decode leg failed.
async fn spent(opening: impl Future<Output = Result<PrefillLeg, LegFailure>>) -> Option<Box<TransferReport>> {
    let (mut stream, _) = match opening.await {
        Ok(leg) => leg,
        Err(failure) => return failure.spent,
    };
    while let Ok(Some(PrefillEvent { event: Some(event) })) = stream.message().await {
        match event {
            prefill_event::Event::Spent(report) => return Some(Box::new(report)),
            prefill_event::Event::Done(done) => return done.transfer.map(Box::new),
            prefill_event::Event::FirstToken(_) => {}
        }
    }
    None
}

async fn open_decode(placement: &Placement, order: &Order, so_far: &SoFar) -> Result<DecodeLeg, LegFailure> {
    let node = &placement.decode;
    let message = request(order.generate_request(&placement.facts, placement.decision.policy, so_far), order);
    let mut client = DecodeClient::new(node.channel.clone());
    let call = hear(node, client.generate(message)).await;
    let mut stream = call.map_err(|trouble| decode_failure(trouble, placement, false))?.into_inner();
    match hear(node, stream.message()).await {
        Ok(Some(GenerateEvent { event: Some(generate_event::Event::Opened(_)) })) => {
            Ok(DecodeLeg { stream, early: VecDeque::new() })
        }
        Ok(Some(_)) => {
            let error = node_error::confused(Role::Decode, "it did not open the epoch");
            Err(LegFailure::new(placement, error, Blame::Decode))
        }
        Ok(None) => Err(decode_failure(Trouble::Ended, placement, false)),
        Err(trouble) => Err(decode_failure(trouble, placement, false)),
    }
}

async fn open_prefill(placement: &Placement, order: &Order, so_far: &SoFar) -> Result<PrefillLeg, LegFailure> {
    let node = &placement.prefill;
    if order.picture_bytes() > PREFILL_REQUEST_BYTES_MAX - BESIDE_PICTURES_BYTES {
        return Err(LegFailure::new(placement, too_many_bytes(), Blame::Nobody));
    }
    let (policy, decode) = (placement.decision.policy, &placement.decode.address);
    let mut run = order.prefill_request(&placement.facts, policy, decode, so_far);
    if !run.decode_address.is_empty() {
        run.decode_name = placement.decode.name.clone().unwrap_or_default();
    }
    let message = request(run, order);
    let mut client = PrefillClient::new(node.channel.clone());
    let call = hear(node, client.run(message)).await;
    let mut stream = call.map_err(|trouble| prefill_failure(trouble, placement))?.into_inner();
    let mut spent = None;
    loop {
        let failure = match hear(node, stream.message()).await {
            Ok(Some(PrefillEvent { event: Some(prefill_event::Event::FirstToken(first)) })) => {
                return Ok((stream, first));
            }
            Ok(Some(PrefillEvent { event: Some(prefill_event::Event::Spent(report)) })) => {
                spent = Some(Box::new(report));
                continue;
            }
            Ok(Some(_)) => {
                let error = node_error::confused(Role::Prefill, "it did not begin with the first token");
                LegFailure::new(placement, error, Blame::Prefill)
            }
            Ok(None) => prefill_failure(Trouble::Ended, placement),
            Err(trouble) => prefill_failure(trouble, placement),
        };
        return Err(LegFailure { spent, ..failure });
    }
}

/// Resolves only when the decode leg fails. Decode's tokens may arrive before the first token, which prefill sends;
/// they are kept in `early`.
async fn watch(leg: Option<&mut DecodeLeg>, placement: &Placement) -> LegFailure {
    let Some(leg) = leg else { return std::future::pending().await };
    loop {
        match hear(&placement.decode, leg.stream.message()).await {
            Ok(Some(event)) => leg.early.push_back(event),
            // Decode finished before the first token arrived: the answer is short and its first token is on the way.
            Ok(None) if leg.is_done() => return std::future::pending().await,
            Ok(None) => return decode_failure(Trouble::Ended, placement, true),
            Err(trouble) => return decode_failure(trouble, placement, true),
        }
    }
}

fn too_many_bytes() -> ServiceError {
    let limit = (PREFILL_REQUEST_BYTES_MAX - BESIDE_PICTURES_BYTES) >> 20;
    let text = format!("the pictures have more than {limit} MiB together, which is the most that a node takes");
    ServiceError::new(ErrorCode::PayloadTooLarge, text)
}

impl DecodeLeg {
    fn is_done(&self) -> bool {
        matches!(self.early.back(), Some(GenerateEvent { event: Some(generate_event::Event::Done(_)) }))
    }
}

fn request<T>(message: T, order: &Order) -> Request<T> {
    let mut request = Request::new(message);
    for (key, value) in [("x-request-id", Some(&order.ids.request_id)), ("traceparent", order.ids.traceparent.as_ref())]
    {
        // Both were checked to be plain ASCII when they were taken from the client.
        if let Some(value) = value.and_then(|value| MetadataValue::try_from(value.as_str()).ok()) {
            request.metadata_mut().insert(key, value);
        }
    }
    request
}
