//! Opens one attempt: brings both legs up to the first token, or reports the failure and the party at fault.

use std::{collections::VecDeque, time::Duration};

use secateur_proto::{
    ErrorCode, PREFILL_REQUEST_BYTES_MAX, ServiceError,
    v1::{
        FirstToken, GenerateEvent, PrefillEvent, PromptScore, PromptScores, Role, TransferReport,
        decode_client::DecodeClient, generate_event, prefill_client::PrefillClient, prefill_event,
    },
};
use tokio::time::{timeout, timeout_at};
use tonic::Streaming;

use super::{
    call::request,
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

/// A prefill leg that has drawn its first token.
struct PrefillLeg {
    stream: Streaming<PrefillEvent>,
    first: FirstToken,
    /// Scores of the prompt's tokens; empty if they were not asked for.
    scores: Vec<PromptScore>,
}

/// Opens both legs of the attempt that `so_far` has begun on `placement`, and waits for the first token.
pub async fn open(placement: Placement, order: &Order, so_far: &SoFar) -> Result<Legs, LegFailure> {
    match timeout_at(order.deadline, open_both(&placement, order, so_far)).await {
        Ok(Ok((PrefillLeg { stream: prefill, first, scores }, decode))) => {
            let (stream, early) = decode.map(|leg| (leg.stream, leg.early)).unzip();
            let mut legs = Legs::new(placement, order, so_far, first, prefill, stream, early.unwrap_or_default());
            legs.scores = scores;
            Ok(legs)
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
    let mut stream = match opening.await {
        Ok(leg) => leg.stream,
        Err(failure) => return failure.spent,
    };
    while let Ok(Some(PrefillEvent { event: Some(event) })) = stream.message().await {
        match event {
            prefill_event::Event::Spent(report) => return Some(Box::new(report)),
            prefill_event::Event::Done(done) => return done.transfer.map(Box::new),
            prefill_event::Event::FirstToken(_) | prefill_event::Event::Scores(_) => {}
        }
    }
    None
}

async fn open_decode(placement: &Placement, order: &Order, so_far: &SoFar) -> Result<DecodeLeg, LegFailure> {
    let node = &placement.decode;
    let message = request(order.generate_request(&placement.facts, placement.decision.policy, so_far), &order.ids);
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
    let message = request(run, &order.ids);
    let mut client = PrefillClient::new(node.channel.clone());
    let call = hear(node, client.run(message)).await;
    let mut stream = call.map_err(|trouble| prefill_failure(trouble, placement))?.into_inner();
    let (mut spent, mut scores) = (None, Vec::new());
    let expected = order.scores(so_far);
    loop {
        let failure = match hear(node, stream.message()).await {
            Ok(Some(PrefillEvent { event: Some(prefill_event::Event::FirstToken(first)) })) => {
                match check_scores(scores.len(), expected) {
                    Ok(()) => return Ok(PrefillLeg { stream, first, scores }),
                    Err(error) => LegFailure::new(placement, error, Blame::Prefill),
                }
            }
            Ok(Some(PrefillEvent { event: Some(prefill_event::Event::Scores(part)) }))
                if goes_on(&part, scores.len(), expected) =>
            {
                scores.extend(part.scores);
                continue;
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

/// Whether scores follow the `so_far` ones before them, and are no more than the `expected` ones.
fn goes_on(part: &PromptScores, so_far: usize, expected: usize) -> bool {
    part.start as usize == so_far && !part.scores.is_empty() && part.scores.len() <= expected - so_far
}

/// An error if scores are missing in front of the first token. A node that sends none is of a version that does not
/// score prompts.
fn check_scores(found: usize, expected: usize) -> Result<(), ServiceError> {
    match found {
        _ if found == expected => Ok(()),
        0 => Err(ServiceError::new(ErrorCode::Incompatible, "the prefill node does not score prompts")),
        _ => Err(node_error::confused(Role::Prefill, "scores of the prompt are missing")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_in_order_without_gaps_and_all_of_them() {
        let part = |start, count| PromptScores { start, scores: vec![PromptScore::default(); count] };
        assert!(goes_on(&part(0, 3), 0, 5) && goes_on(&part(3, 2), 3, 5));
        for (part, so_far) in [(part(1, 2), 0), (part(0, 6), 0), (part(3, 3), 3), (part(2, 1), 3), (part(3, 0), 3)] {
            assert!(!goes_on(&part, so_far, 5), "{} after {so_far}", part.start);
        }
        assert!(!goes_on(&part(0, 1), 0, 0), "none were asked for");
        let code = |found, expected| check_scores(found, expected).err().map(|error| error.code);
        assert_eq!((code(0, 0), code(5, 5)), (None, None));
        assert_eq!((code(0, 5), code(4, 5)), (Some(ErrorCode::Incompatible), Some(ErrorCode::Internal)));
    }
}
