//! One attempt: both legs up to the first token, or why not and whose fault it was.

use std::{collections::VecDeque, sync::Arc};

use secateur_proto::{
    ErrorCode, ServiceError,
    error::is_from_service,
    v1::{
        FirstToken, GenerateEvent, PrefillEvent, Role, decode_client::DecodeClient, generate_event,
        prefill_client::PrefillClient, prefill_event,
    },
};
use tonic::{Request, Streaming, metadata::MetadataValue};

use super::{node_error, order::Order, running::Legs, so_far::SoFar};
use crate::cluster::{Node, Placement};

/// A failed attempt.
#[derive(Debug)]
pub struct LegFailure {
    /// What the client is told if nothing else works.
    pub error: ServiceError,
    /// Addresses of the nodes to avoid next.
    pub nodes: Vec<String>,
}

/// A decode leg whose KV is reserved.
struct DecodeLeg {
    stream: Streaming<GenerateEvent>,
    /// Events that came while the first token was awaited.
    early: VecDeque<GenerateEvent>,
}

/// Opens both legs of the attempt that `so_far` has begun on `placement`, and waits for the first token.
pub async fn open(placement: Placement, order: &Order, so_far: &SoFar) -> Result<Legs, LegFailure> {
    let opening = async {
        let mut decode = match so_far.needs_decode(order.max_new_tokens) {
            true => Some(open_decode(&placement, order, so_far).await?),
            false => None,
        };
        let (prefill, first) = tokio::select! {
            first = open_prefill(&placement, order, so_far) => first?,
            failure = watch(decode.as_mut(), &placement.decode) => return Err(failure),
        };
        Ok((prefill, first, decode))
    };
    match tokio::time::timeout_at(order.deadline, opening).await {
        Ok(Ok((prefill, first, decode))) => {
            let (stream, early) = decode.map(|leg| (leg.stream, leg.early)).unzip();
            Ok(Legs::new(placement, order, so_far, first, prefill, stream, early.unwrap_or_default()))
        }
        Ok(Err(failure)) => {
            placement.suspect(&failure.nodes);
            Err(failure)
        }
        Err(_) => Err(LegFailure { error: timed_out(), nodes: Vec::new() }),
    }
}

/// The one deadline has passed.
pub fn timed_out() -> ServiceError {
    ServiceError::new(ErrorCode::Timeout, "the request took longer than this server allows")
}

async fn open_decode(placement: &Placement, order: &Order, so_far: &SoFar) -> Result<DecodeLeg, LegFailure> {
    let node = &placement.decode;
    let failed = |error| LegFailure { error, nodes: vec![node.address.clone()] };
    let message = request(order.generate_request(&placement.facts, so_far), order);
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

async fn open_prefill(
    placement: &Placement,
    order: &Order,
    so_far: &SoFar,
) -> Result<(Streaming<PrefillEvent>, FirstToken), LegFailure> {
    let node = &placement.prefill;
    let message = request(order.prefill_request(&placement.facts, &placement.decode.address, so_far), order);
    let call = PrefillClient::new(node.channel.clone()).run(message).await;
    let mut stream = call.map_err(|status| prefill_failure(status, placement))?.into_inner();
    match stream.message().await {
        Ok(Some(PrefillEvent { event: Some(prefill_event::Event::FirstToken(first)) })) => Ok((stream, first)),
        Ok(Some(_)) => Err(LegFailure {
            error: node_error::confused(Role::Prefill, "it did not begin with the first token"),
            nodes: vec![node.address.clone()],
        }),
        Ok(None) => Err(LegFailure { error: node_error::lost(Role::Prefill), nodes: vec![node.address.clone()] }),
        Err(status) => Err(prefill_failure(status, placement)),
    }
}

/// A prefill node that is alive and says "unavailable" means the way to the decode node, or that node: avoid both.
pub fn prefill_failure(status: tonic::Status, placement: &Placement) -> LegFailure {
    let (prefill, decode) = (&placement.prefill.address, &placement.decode.address);
    let is_its_own = is_from_service(&status);
    let error = node_error::from_status(status, Role::Prefill);
    let is_about_both = is_its_own && error.code != ErrorCode::Overloaded;
    let nodes = if is_about_both { vec![prefill.clone(), decode.clone()] } else { vec![prefill.clone()] };
    LegFailure { error, nodes }
}

/// Resolves only when the decode leg fails. Tokens may overtake the first one, which comes another way; they are kept.
async fn watch(leg: Option<&mut DecodeLeg>, node: &Arc<Node>) -> LegFailure {
    let Some(leg) = leg else { return std::future::pending().await };
    let failed = |error| LegFailure { error, nodes: vec![node.address.clone()] };
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
