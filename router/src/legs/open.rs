//! One attempt: both legs up to the first token, or why not and whose fault it was.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use secateur_proto::{
    ErrorCode, ServiceError,
    error::is_from_service,
    v1::{
        FirstToken, GenerateEvent, PrefillEvent, Role, TransferReport, decode_client::DecodeClient, generate_event,
        prefill_client::PrefillClient, prefill_event,
    },
};
use tokio::time::{timeout, timeout_at};
use tonic::{Request, Streaming, metadata::MetadataValue};

use super::{node_error, order::Order, running::Legs, so_far::SoFar};
use crate::cluster::{Node, Placement};

/// How long a failed attempt waits for prefill to say what it had sent.
const SPENT_PATIENCE: Duration = Duration::from_millis(100);

/// A failed attempt.
#[derive(Debug)]
pub struct LegFailure {
    /// What the client is told if nothing else works.
    pub error: ServiceError,
    /// Addresses of the nodes to avoid next.
    pub nodes: Vec<String>,
    /// What its shipment had sent by then, where prefill said.
    pub spent: Option<Box<TransferReport>>,
}

impl LegFailure {
    /// Nothing was shipped, as far as is known.
    pub fn new(error: ServiceError, nodes: Vec<String>) -> Self {
        Self { error, nodes, spent: None }
    }
}

/// A decode leg whose KV is reserved.
struct DecodeLeg {
    stream: Streaming<GenerateEvent>,
    /// Events that came while the first token was awaited.
    early: VecDeque<GenerateEvent>,
}

/// What a prefill leg comes to.
type PrefillLeg = (Streaming<PrefillEvent>, FirstToken);

/// Opens both legs of the attempt that `so_far` has begun on `placement`, and waits for the first token.
pub async fn open(placement: Placement, order: &Order, so_far: &SoFar) -> Result<Legs, LegFailure> {
    match timeout_at(order.deadline, open_both(&placement, order, so_far)).await {
        Ok(Ok(((prefill, first), decode))) => {
            let (stream, early) = decode.map(|leg| (leg.stream, leg.early)).unzip();
            Ok(Legs::new(placement, order, so_far, first, prefill, stream, early.unwrap_or_default()))
        }
        Ok(Err(failure)) => {
            placement.suspect(&failure.nodes);
            Err(failure)
        }
        Err(_) => Err(LegFailure::new(timed_out(), Vec::new())),
    }
}

async fn open_both(
    placement: &Placement,
    order: &Order,
    so_far: &SoFar,
) -> Result<(PrefillLeg, Option<DecodeLeg>), LegFailure> {
    let mut decode = match so_far.needs_decode(order.max_new_tokens) {
        true => Some(open_decode(placement, order, so_far).await?),
        false => None,
    };
    let opening = open_prefill(placement, order, so_far);
    tokio::pin!(opening);
    tokio::select! {
        opened = &mut opening => Ok((opened?, decode)),
        failure = watch(decode.as_mut(), &placement.decode) => {
            // Prefill hears of it too, and says what it had sent: bytes that went over the wire are never left out.
            let spent = timeout(SPENT_PATIENCE, spent(opening)).await.ok().flatten();
            Err(LegFailure { spent, ..failure })
        }
    }
}

/// What a prefill leg whose decode leg has failed had sent.
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

/// The one deadline has passed.
pub fn timed_out() -> ServiceError {
    ServiceError::new(ErrorCode::Timeout, "the request took longer than this server allows")
}

async fn open_decode(placement: &Placement, order: &Order, so_far: &SoFar) -> Result<DecodeLeg, LegFailure> {
    let node = &placement.decode;
    let failed = |error| LegFailure::new(error, vec![node.address.clone()]);
    let message = request(order.generate_request(&placement.facts, placement.decision.policy, so_far), order);
    let call = DecodeClient::new(node.channel.clone()).generate(message).await;
    let mut stream = call.map_err(|status| failed(node_error::from_status(status, Role::Decode)))?.into_inner();
    match stream.message().await {
        Ok(Some(GenerateEvent { event: Some(generate_event::Event::Opened(_)) })) => {
            Ok(DecodeLeg { stream, early: VecDeque::new() })
        }
        Ok(Some(_)) => Err(failed(node_error::confused(Role::Decode, "it did not open the epoch"))),
        Ok(None) => Err(failed(node_error::lost(Role::Decode))),
        Err(status) => Err(failed(node_error::from_status(status, Role::Decode))),
    }
}

async fn open_prefill(placement: &Placement, order: &Order, so_far: &SoFar) -> Result<PrefillLeg, LegFailure> {
    let node = &placement.prefill;
    let failed = |error| LegFailure::new(error, vec![node.address.clone()]);
    let (policy, decode) = (placement.decision.policy, &placement.decode.address);
    let mut run = order.prefill_request(&placement.facts, policy, decode, so_far);
    if !run.decode_address.is_empty() {
        run.decode_name = placement.decode.name.clone().unwrap_or_default();
    }
    let message = request(run, order);
    let call = PrefillClient::new(node.channel.clone()).run(message).await;
    let mut stream = call.map_err(|status| prefill_failure(status, placement))?.into_inner();
    let mut spent = None;
    loop {
        let failure = match stream.message().await {
            Ok(Some(PrefillEvent { event: Some(prefill_event::Event::FirstToken(first)) })) => {
                return Ok((stream, first));
            }
            Ok(Some(PrefillEvent { event: Some(prefill_event::Event::Spent(report)) })) => {
                spent = Some(Box::new(report));
                continue;
            }
            Ok(Some(_)) => failed(node_error::confused(Role::Prefill, "it did not begin with the first token")),
            Ok(None) => failed(node_error::lost(Role::Prefill)),
            Err(status) => prefill_failure(status, placement),
        };
        return Err(LegFailure { spent, ..failure });
    }
}

/// A prefill node that is alive and says "unavailable" means the way to the decode node, or that node: avoid both.
pub fn prefill_failure(status: tonic::Status, placement: &Placement) -> LegFailure {
    let (prefill, decode) = (&placement.prefill.address, &placement.decode.address);
    let is_its_own = is_from_service(&status);
    let error = node_error::from_status(status, Role::Prefill);
    let is_about_both = is_its_own && error.code != ErrorCode::Overloaded;
    let nodes = if is_about_both { vec![prefill.clone(), decode.clone()] } else { vec![prefill.clone()] };
    LegFailure::new(error, nodes)
}

/// Resolves only when the decode leg fails. Tokens may overtake the first one, which comes another way; they are kept.
async fn watch(leg: Option<&mut DecodeLeg>, node: &Arc<Node>) -> LegFailure {
    let Some(leg) = leg else { return std::future::pending().await };
    let failed = |error| LegFailure::new(error, vec![node.address.clone()]);
    loop {
        match leg.stream.message().await {
            Ok(Some(event)) => leg.early.push_back(event),
            // All it had to say came before the first token: the answer is short and the first token is on its way.
            Ok(None) if leg.is_done() => return std::future::pending().await,
            Ok(None) => return failed(node_error::lost(Role::Decode)),
            Err(status) => return failed(node_error::from_status(status, Role::Decode)),
        }
    }
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
