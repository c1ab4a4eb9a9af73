//! Which prefill and decode node serve the next request: plain data in, decision out, no clock, no lock, no runtime.
//!
//! Nodes are paired only if both are ready, speak our protocol, use our tokenizer, hold the same model and plan (fail
//! closed), and are placed as the router's `--placement` says. Of the pairs that are left and have room for the request,
//! in this order: those that least speaks against (attempts of the request that failed there, a link that failed lately, a
//! node whose answer is overdue), the prefill node that has its prompt already, the decode node that has it, the least
//! loaded. With `--placement auto` a pair on one machine is taken instead where waiting for it costs less
//! than shipping does.

use std::sync::Arc;

use secateur_proto::{
    ErrorCode, PROTOCOL_VERSION, ServiceError,
    v1::{NodeDescription, Role},
};
use secateur_transfer::TransferPolicy;

use super::{
    affinity::Near,
    forecast::{Outlook, offers},
    node::NodeState,
    policy::Decision,
    wish::{LINK_WEIGHT, Wish},
};
use crate::config::PlacementMode;

/// Requests that a node may hold more than the least loaded one and still be taken because it has the prompt already.
const NEAR_LOAD_MAX: u32 = 4;

/// One node, frozen. A clone copies no description.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// `host:port`.
    pub address: Arc<str>,
    /// The role it was configured for.
    pub role: Role,
    /// What it last said of itself.
    pub state: NodeState,
    /// Requests of this router that hold it.
    pub in_flight: u32,
    /// No configured name leads to it any more.
    pub is_leaving: bool,
    /// Its answer to a probe is overdue.
    pub is_late: bool,
}

/// Indices into the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Into the prefill nodes.
    pub prefill: usize,
    /// Into the decode nodes.
    pub decode: usize,
    /// It would do again what failed, but there was no other.
    pub is_avoided: bool,
}

/// Two nodes that may serve together.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    indices: (usize, usize),
    /// The prefill node.
    pub prefill: &'a NodeView,
    /// What it says of itself.
    pub prefill_says: &'a NodeDescription,
    /// The decode node.
    pub decode: &'a NodeView,
    /// What it says of itself.
    pub decode_says: &'a NodeDescription,
    /// KV crosses no network between them.
    pub is_colocated: bool,
}

type Ranked<'a> = (Rank, Candidate<'a>);

/// Smaller is better, the first difference decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: Class,
    /// Requests on both nodes.
    load: u32,
    /// Of a replay: worth less than a shorter queue.
    is_other_decode: bool,
}

/// What no shorter queue and no faster link make good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    /// Reasons against the pair: where one cannot be helped, at least not several.
    against: u32,
    /// Its prefix cache does not hold the prompt.
    is_other_prefill: bool,
    /// It keeps no KV of the conversation's earlier turn.
    lacks_earlier_turn: bool,
}

impl NodeView {
    /// What the node says of itself, if it is usable by a router with this tokenizer; otherwise why not.
    pub fn usable(&self, tokenizer_digest: &str) -> Result<&NodeDescription, String> {
        let description = match &self.state {
            NodeState::Down(why) => return Err(why.to_string()),
            NodeState::Up(description) => description,
        };
        if description.role() != self.role {
            return Err("is configured for another role".to_owned());
        }
        if description.protocol_version != PROTOCOL_VERSION {
            return Err(format!("speaks protocol {}, the router {PROTOCOL_VERSION}", description.protocol_version));
        }
        if self.is_leaving {
            return Err("is no longer behind the name that led to it".to_owned());
        }
        if description.draining {
            return Err("is draining".to_owned());
        }
        let digest = &description.tokenizer_digest;
        if !digest.is_empty() && !tokenizer_digest.is_empty() && digest != tokenizer_digest {
            return Err("has another tokenizer than the router".to_owned());
        }
        Ok(description)
    }

    /// The node's own figure is up to a probe interval old; ours lacks other routers' requests. The larger one counts.
    fn load(&self, description: &NodeDescription) -> u32 {
        let reported = description.load.as_ref().map_or(0, |load| load.running.saturating_add(load.waiting));
        self.in_flight.max(reported)
    }
}

impl Candidate<'_> {
    fn prefill_load(&self) -> u32 {
        self.prefill.load(self.prefill_says)
    }

    fn decode_load(&self) -> u32 {
        self.decode.load(self.decode_says)
    }
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

/// What is shipped between a chosen pair; the default where a node is down, which [`choose`] rules out.
pub fn decision(prefill: &NodeView, decode: &NodeView, wish: &Wish, outlook: &Outlook<'_>) -> Decision {
    let (NodeState::Up(prefill_says), NodeState::Up(decode_says)) = (&prefill.state, &decode.state) else {
        return Decision::default();
    };
    let is_colocated = outlook.is_colocated(prefill_says, decode_says);
    let pair = Candidate { indices: (0, 0), prefill, prefill_says, decode, decode_says, is_colocated };
    outlook.decision(&pair, &wish.bulk)
}

/// The pairs of usable nodes that hold the same.
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

/// Those that the mode allows.
fn placed(mut pairs: Vec<Candidate<'_>>, mode: PlacementMode) -> Result<Vec<Candidate<'_>>, ServiceError> {
    pairs.retain(|pair| pair.is_colocated || mode != PlacementMode::Colocated);
    if pairs.is_empty() { Err(none_on_one_machine()) } else { Ok(pairs) }
}

/// Those that ship under the policy that the request names.
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
        // A node that has the prompt and too much to do is as good as any other, no better.
        let (prefill_is_free, decode_is_free) =
            (pair.prefill_load() <= prefill_load_max, pair.decode_load() <= decode_load_max);
        let lacks_prompt = |near: &Near| *near.prefill != *pair.prefill.address || !prefill_is_free;
        let class = Class {
            against: against(pair, wish, outlook),
            is_other_prefill: is_other_prefill || near.is_some_and(lacks_prompt),
            lacks_earlier_turn: near.is_some_and(|near| *near.decode != *pair.decode.address || !decode_is_free),
        };
        // Counts come from the nodes, so no sum of them may wrap: a node with the highest count is never the emptiest.
        Rank { class, load: pair.prefill_load().saturating_add(pair.decode_load()), is_other_decode }
    };
    pairs.iter().map(|pair| (rank(pair), *pair)).collect()
}

/// Number of reasons against a pair. They only rank it: where there is no other, it is taken all the same.
fn against(pair: &Candidate<'_>, wish: &Wish, outlook: &Outlook<'_>) -> u32 {
    let (prefill, decode) = (pair.prefill, pair.decode);
    let rests = wish.bulk.ships && outlook.faults.rest(&prefill.address, &decode.address, outlook.now).is_some();
    let late = u32::from(prefill.is_late) + u32::from(decode.is_late);
    wish.against(prefill, decode) + late + LINK_WEIGHT * u32::from(rests)
}

/// The best pairs, equally good: those of the smallest rank, or else those on one machine that are worth waiting for.
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

/// Whether a pair on one machine, where more requests may wait, answers sooner than one that has to ship. What is not
/// measured yet decides nothing.
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

/// Positions that one request can fill on both.
pub fn room(prefill: &NodeDescription, decode: &NodeDescription) -> u32 {
    prefill.max_positions.min(decode.max_positions)
}

/// Says what is missing, without addresses: this reaches clients.
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
