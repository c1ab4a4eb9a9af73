//! Chooses the prefill and the decode node of the next request. A pure function: plain data in, decision out, no clock,
//! no lock, no runtime.
//!
//! Nodes are paired only if both are ready, speak this router's protocol, use its tokenizer, hold the same model and
//! plan (fail closed), and are placed as the router's `--placement` allows. Among the remaining pairs with room for the
//! request, the choice goes in this order: the pair with the fewest reasons against it (attempts of the request that
//! failed there, a link that failed lately, a node whose answer is overdue), the prefill node that already has the
//! prompt, the decode node that has it, the least loaded pair. With `--placement auto` a pair on one machine is taken
//! instead where waiting for it costs less than shipping does.

use secateur_proto::{ErrorCode, ServiceError, v1::NodeDescription};
use secateur_transfer::TransferPolicy;

use super::{
    affinity::Near,
    forecast::{Outlook, offers},
    policy::Decision,
    view::NodeState,
    wish::{LINK_WEIGHT, Wish},
};
pub use super::{candidate::Candidate, view::NodeView};
use crate::config::PlacementMode;

/// How many more requests than the least loaded node a node may hold and still be preferred because it has the prompt.
const NEAR_LOAD_MAX: u32 = 4;

/// The chosen pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Index into the list of prefill nodes.
    pub prefill: usize,
    /// Index into the list of decode nodes.
    pub decode: usize,
    /// Whether the pair repeats a failed attempt of the request, chosen because there was no other.
    pub is_avoided: bool,
}

type Ranked<'a> = (Rank, Candidate<'a>);

/// The rank of a pair: smaller is better, and the first field that differs decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: Class,
    /// Sum of the requests on both nodes.
    load: u32,
    /// Whether a replay would run on another decode node than before; weighs less than a shorter queue.
    is_other_decode: bool,
}

/// The part of the rank that neither a shorter queue nor a faster link can outweigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    /// Number of reasons against the pair.
    against: u32,
    /// Whether the prefill node's prefix cache lacks the prompt.
    is_other_prefill: bool,
    /// Whether the decode node keeps no KV of the conversation's earlier turn.
    lacks_earlier_turn: bool,
}

/// Chooses a pair. `turn` rotates among equally good ones.
pub fn choose(
    prefill: &[NodeView],
    decode: &[NodeView],
    tokenizer_digest: &str,
    wish: &Wish,
    outlook: &Outlook<'_>,
    turn: usize,
) -> Result<Choice, ServiceError> {
    let mut pairs = matching(prefill, decode, tokenizer_digest, outlook);
    pairs.retain(|pair| wish.permits(pair.prefill_says));
    if pairs.is_empty() {
        return Err(why_none(prefill, decode, tokenizer_digest));
    }
    let pairs = placed(pairs, outlook.mode)?;
    let mut pairs = offering(pairs, wish.bulk.policy)?;
    let largest = pairs.iter().map(|pair| room(pair.prefill_says, pair.decode_says)).max().unwrap_or(0);
    pairs.retain(|pair| room(pair.prefill_says, pair.decode_says) >= wish.positions.min(largest));
    let ranked = ranked(pairs, wish, outlook);
    let best = best(&ranked, wish, outlook);
    match best.len() {
        0 => Err(why_none(prefill, decode, tokenizer_digest)),
        count => Ok(best[turn % count]),
    }
}

/// Most positions that a request can fill on any pair: those of the pair that [`choose`] takes for the largest request.
/// `None` where there is no pair.
pub fn room_max(
    prefill: &[NodeView],
    decode: &[NodeView],
    tokenizer_digest: &str,
    outlook: &Outlook<'_>,
) -> Option<u32> {
    let pairs = placed(matching(prefill, decode, tokenizer_digest, outlook), outlook.mode).ok()?;
    pairs.iter().map(|pair| room(pair.prefill_says, pair.decode_says)).max()
}

/// Decides the transfer policy between a chosen pair; returns the default if a node is down, which [`choose`] rules
/// out.
pub fn decision(prefill: &NodeView, decode: &NodeView, wish: &Wish, outlook: &Outlook<'_>) -> Decision {
    let (NodeState::Up(prefill_says), NodeState::Up(decode_says)) = (&prefill.state, &decode.state) else {
        return Decision::default();
    };
    let is_colocated = outlook.is_colocated(prefill_says, decode_says);
    let pair = Candidate { indices: (0, 0), prefill, prefill_says, decode, decode_says, is_colocated };
    outlook.decision(&pair, &wish.bulk)
}

/// The pairs of usable nodes that hold the same model and plan.
fn matching<'a>(
    prefill: &'a [NodeView],
    decode: &'a [NodeView],
    tokenizer_digest: &str,
    outlook: &Outlook<'_>,
) -> Vec<Candidate<'a>> {
    let decode_ready = ready(decode, tokenizer_digest);
    let mut pairs = Vec::new();
    for (p, prefill_says) in ready(prefill, tokenizer_digest) {
        for &(d, decode_says) in &decode_ready {
            if matches(prefill_says, decode_says) {
                let is_colocated = outlook.is_colocated(prefill_says, decode_says);
                let (prefill, decode) = (&prefill[p], &decode[d]);
                pairs.push(Candidate { indices: (p, d), prefill, prefill_says, decode, decode_says, is_colocated });
            }
        }
    }
    pairs
}

/// Keeps the pairs that the placement mode allows.
fn placed(mut pairs: Vec<Candidate<'_>>, mode: PlacementMode) -> Result<Vec<Candidate<'_>>, ServiceError> {
    pairs.retain(|pair| pair.is_colocated || mode != PlacementMode::Colocated);
    if pairs.is_empty() { Err(none_on_one_machine()) } else { Ok(pairs) }
}

/// Keeps the pairs whose prefill node offers the policy that the request names.
fn offering(pairs: Vec<Candidate<'_>>, policy: Option<TransferPolicy>) -> Result<Vec<Candidate<'_>>, ServiceError> {
    let Some(policy) = policy else { return Ok(pairs) };
    let offering: Vec<Candidate<'_>> = pairs.iter().filter(|pair| offers(pair.prefill_says, policy)).copied().collect();
    if offering.is_empty() { Err(not_offered(policy, &pairs)) } else { Ok(offering) }
}

fn ranked<'a>(pairs: Vec<Candidate<'a>>, wish: &Wish, outlook: &Outlook<'_>) -> Vec<Ranked<'a>> {
    let near = wish.near.as_ref().filter(|_| wish.again.is_none());
    let at_most = |least: Option<u32>| least.unwrap_or(0).saturating_add(NEAR_LOAD_MAX);
    let prefill_load_max = at_most(pairs.iter().map(Candidate::prefill_load).min());
    let decode_load_max = at_most(pairs.iter().map(Candidate::decode_load).min());
    let rank = |pair: &Candidate<'_>| {
        let (is_other_prefill, is_other_decode) = wish.differs(pair.prefill, pair.decode);
        // A node that has the prompt but is overloaded gets no preference.
        let (prefill_is_free, decode_is_free) =
            (pair.prefill_load() <= prefill_load_max, pair.decode_load() <= decode_load_max);
        let lacks_prompt = |near: &Near| *near.prefill != *pair.prefill.address || !prefill_is_free;
        let class = Class {
            against: against(pair, wish, outlook),
            is_other_prefill: is_other_prefill || near.is_some_and(lacks_prompt),
            lacks_earlier_turn: near.is_some_and(|near| *near.decode != *pair.decode.address || !decode_is_free),
        };
        // Counts come from the nodes, so their sums saturate: a sum that wrapped would make the fullest node the
        // emptiest.
        Rank { class, load: pair.prefill_load().saturating_add(pair.decode_load()), is_other_decode }
    };
    pairs.iter().map(|pair| (rank(pair), *pair)).collect()
}

/// Number of reasons against a pair. They only rank the pair: if there is no other, it is still taken.
fn against(pair: &Candidate<'_>, wish: &Wish, outlook: &Outlook<'_>) -> u32 {
    let (prefill, decode) = (pair.prefill, pair.decode);
    let rests = wish.bulk.ships && outlook.faults.rest(&prefill.address, &decode.address, outlook.now).is_some();
    let late = u32::from(prefill.is_late) + u32::from(decode.is_late);
    wish.against(prefill, decode) + late + LINK_WEIGHT * u32::from(rests)
}

/// The equally good best pairs: those of the smallest rank, or, if a pair on one machine is worth waiting for instead,
/// the best pairs on one machine.
fn best(ranked: &[Ranked<'_>], wish: &Wish, outlook: &Outlook<'_>) -> Vec<Choice> {
    let Some(least) = ranked.iter().map(|(rank, _)| *rank).min() else { return Vec::new() };
    let colocated = || ranked.iter().filter(|(rank, pair)| pair.is_colocated && rank.class == least.class);
    let near = colocated().min_by_key(|(rank, _)| *rank);
    let is_kept = |far: &Ranked<'_>| near.is_none_or(|near| !is_worth_waiting(near, far, wish, outlook));
    let mut kept: Vec<&Ranked<'_>> = ranked.iter().filter(|pair| pair.0 == least && is_kept(pair)).collect();
    if kept.is_empty() {
        kept = colocated().filter(|(rank, _)| near.is_some_and(|near| near.0 == *rank)).collect();
    }
    let choice = |(_, pair): &Ranked<'_>| {
        let (prefill, decode) = pair.indices;
        Choice { prefill, decode, is_avoided: wish.is_failed_by(pair.prefill, pair.decode) }
    };
    kept.into_iter().map(choice).collect()
}

/// Whether a pair on one machine (`near`), where more requests may wait, answers sooner than a pair that has to ship
/// (`far`). False where a figure has not been measured yet.
fn is_worth_waiting(near: &Ranked<'_>, far: &Ranked<'_>, wish: &Wish, outlook: &Outlook<'_>) -> bool {
    if outlook.mode != PlacementMode::Auto || far.1.is_colocated {
        return false;
    }
    let waiting_s = match near.0.load.saturating_sub(far.0.load) {
        0 => Some(0.0),
        more => outlook.paces.of(&near.1.decode.address).request_s.map(|request_s| request_s * f64::from(more)),
    };
    let exposed_s = outlook.decision(&far.1, &wish.bulk).exposed_s();
    matches!((exposed_s, waiting_s), (Some(exposed_s), Some(waiting_s)) if exposed_s > waiting_s)
}

fn ready<'a>(nodes: &'a [NodeView], tokenizer_digest: &str) -> Vec<(usize, &'a NodeDescription)> {
    let usable = |(index, node): (usize, &'a NodeView)| node.usable(tokenizer_digest).ok().map(|found| (index, found));
    nodes.iter().enumerate().filter_map(usable).collect()
}

fn matches(prefill: &NodeDescription, decode: &NodeDescription) -> bool {
    prefill.model_fingerprint == decode.model_fingerprint && prefill.plan_id == decode.plan_id
}

/// Positions that one request can fill on both nodes.
pub fn room(prefill: &NodeDescription, decode: &NodeDescription) -> u32 {
    prefill.max_positions.min(decode.max_positions)
}

/// The error that says which nodes are missing. It contains no address, since it reaches clients.
fn why_none(prefill: &[NodeView], decode: &[NodeView], tokenizer_digest: &str) -> ServiceError {
    let mut missing = Vec::new();
    let mut code = ErrorCode::Unavailable;
    for (role, nodes) in [("prefill", prefill), ("decode", decode)] {
        if !ready(nodes, tokenizer_digest).is_empty() {
            continue;
        }
        if nodes.iter().any(|node| matches!(node.state, NodeState::Up(_)) && !node.is_leaving) {
            code = ErrorCode::Incompatible;
        }
        let mut reasons: Vec<String> = nodes.iter().filter_map(|node| node.usable(tokenizer_digest).err()).collect();
        reasons.sort();
        reasons.dedup();
        if nodes.is_empty() {
            reasons.push("no configured name has an address".to_owned());
        }
        missing.push(format!("no {role} node is ready ({})", reasons.join("; ")));
    }
    if missing.is_empty() {
        code = ErrorCode::Incompatible;
        missing.push("no prefill and decode node hold the model and plan that are needed".to_owned());
    }
    ServiceError::new(code, format!("{}; try again soon", missing.join(" and ")))
}

fn none_on_one_machine() -> ServiceError {
    let text = "no prefill and decode node that are ready and hold the same share a machine, and this router was told \
                to use no others (--placement colocated); try again soon";
    ServiceError::new(ErrorCode::Unavailable, text)
}

fn not_offered(policy: TransferPolicy, pairs: &[Candidate<'_>]) -> ServiceError {
    let offered: Vec<&str> = TransferPolicy::ALL
        .into_iter()
        .filter(|policy| pairs.iter().any(|pair| offers(pair.prefill_says, *policy)))
        .map(TransferPolicy::as_str)
        .collect();
    let why = match policy {
        TransferPolicy::PdTrim => "needs a plan that selects layers; this cluster runs none",
        _ => "is not offered by this cluster's prefill nodes",
    };
    let text = format!("transfer policy {policy} {why}; possible: auto, {}", offered.join(", "));
    ServiceError::new(ErrorCode::InvalidRequest, text).with_param("secateur.transfer.policy")
}

#[cfg(test)]
mod any_node;
#[cfg(test)]
mod tests;
