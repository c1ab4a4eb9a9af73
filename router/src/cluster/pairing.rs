//! Which prefill and decode node serve the next request: plain data in, decision out, no clock, no lock, no runtime.
//!
//! Nodes are paired only if both are ready, speak our protocol, use our tokenizer, and hold the same model and plan
//! (fail closed). Of the pairs that are left and have room for the request, the least loaded.

use secateur_proto::{
    ErrorCode, PROTOCOL_VERSION, ServiceError,
    v1::{NodeDescription, Role},
};

use super::node::NodeState;

/// One node, frozen.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// `host:port`.
    pub address: String,
    /// The role it was configured for.
    pub role: Role,
    /// What it last said of itself.
    pub state: NodeState,
    /// Requests of this router that hold it.
    pub in_flight: u32,
}

/// What a request, and its earlier attempts, say about its next pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Positions that it may fill. Smaller pairs are not taken unless all are: whether it fits after all is then for the
    /// nodes of the largest pair to say.
    pub positions: u32,
    /// Addresses of nodes that failed it: taken only if there are no others.
    pub avoid: Vec<String>,
    /// The pair that its answer was begun on.
    pub again: Option<Pair>,
}

/// Two nodes and what they hold.
///
/// An answer goes on with the model and plan that began it or not at all: the rest of another model's answer would be
/// wrong text. Within that, its prompt is in this prefill node's prefix cache, which is worth more than a shorter queue;
/// the decode node keeps nothing of it, and only breaks ties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Address of the prefill node.
    pub prefill: String,
    /// Address of the decode node.
    pub decode: String,
    /// Digest of the model.
    pub model_fingerprint: String,
    /// Plan in force; empty: none.
    pub plan_id: String,
}

/// Indices into the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Into the prefill nodes.
    pub prefill: usize,
    /// Into the decode nodes.
    pub decode: usize,
    /// One of them should have been avoided, but there was no other.
    pub is_avoided: bool,
}

impl Wish {
    /// Whether prefill and decode node are others than the ones the request was on.
    fn differs(&self, prefill: &NodeView, decode: &NodeView) -> (bool, bool) {
        self.again
            .as_ref()
            .map_or((false, false), |pair| (pair.prefill != prefill.address, pair.decode != decode.address))
    }

    /// Whether a node holds what the answer was begun with.
    fn permits(&self, node: &NodeDescription) -> bool {
        let is_same = |pair: &Pair| pair.model_fingerprint == node.model_fingerprint && pair.plan_id == node.plan_id;
        self.again.as_ref().is_none_or(is_same)
    }
}

impl NodeView {
    /// What the node says of itself, if it is usable by a router with this tokenizer; otherwise why not.
    pub fn usable(&self, tokenizer_digest: &str) -> Result<&NodeDescription, String> {
        let description = match &self.state {
            NodeState::Down(why) => return Err(why.clone()),
            NodeState::Up(description) => description,
        };
        if description.role() != self.role {
            return Err("is configured for another role".to_owned());
        }
        if description.protocol_version != PROTOCOL_VERSION {
            return Err(format!("speaks protocol {}, the router {PROTOCOL_VERSION}", description.protocol_version));
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
        let reported = description.load.as_ref().map_or(0, |load| load.running + load.waiting);
        self.in_flight.max(reported)
    }
}

/// Chooses a pair. `turn` rotates among equally loaded pairs.
pub fn choose(
    prefill: &[NodeView],
    decode: &[NodeView],
    tokenizer_digest: &str,
    wish: &Wish,
    turn: usize,
) -> Result<Choice, ServiceError> {
    let prefill_ready = ready(prefill, tokenizer_digest);
    let decode_ready = ready(decode, tokenizer_digest);
    let mut permitted = Vec::new();
    for &(p, p_description) in &prefill_ready {
        for &(d, d_description) in &decode_ready {
            if matches(p_description, d_description) && wish.permits(p_description) {
                permitted.push((p, p_description, d, d_description));
            }
        }
    }
    let largest = permitted.iter().map(|&(_, prefill, _, decode)| room(prefill, decode)).max().unwrap_or(0);
    let needed = wish.positions.min(largest);
    let mut pairs = Vec::new();
    for (p, p_description, d, d_description) in permitted {
        if room(p_description, d_description) < needed {
            continue;
        }
        let (prefill, decode) = (&prefill[p], &decode[d]);
        // Where one of the two cannot be helped, at least not both.
        let avoided = [prefill, decode].into_iter().filter(|node| wish.avoid.contains(&node.address)).count();
        let (is_other_prefill, is_other_decode) = wish.differs(prefill, decode);
        let load = prefill.load(p_description) + decode.load(d_description);
        let rank = (avoided, is_other_prefill, load, is_other_decode);
        pairs.push((rank, Choice { prefill: p, decode: d, is_avoided: avoided > 0 }));
    }
    let best = pairs.iter().map(|(rank, _)| *rank).min();
    let best: Vec<Choice> = pairs.into_iter().filter(|(rank, _)| Some(*rank) == best).map(|pair| pair.1).collect();
    match best.len() {
        0 => Err(why_none(prefill, decode, tokenizer_digest, prefill_ready.len(), decode_ready.len())),
        count => Ok(best[turn % count]),
    }
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
fn why_none(
    prefill: &[NodeView],
    decode: &[NodeView],
    tokenizer_digest: &str,
    prefill_ready: usize,
    decode_ready: usize,
) -> ServiceError {
    let mut missing = Vec::new();
    let mut code = ErrorCode::Unavailable;
    for (role, nodes, ready) in [("prefill", prefill, prefill_ready), ("decode", decode, decode_ready)] {
        if ready > 0 {
            continue;
        }
        if nodes.iter().any(|node| matches!(node.state, NodeState::Up(_))) {
            code = ErrorCode::Incompatible;
        }
        let mut reasons: Vec<String> = nodes.iter().filter_map(|node| node.usable(tokenizer_digest).err()).collect();
        reasons.sort();
        reasons.dedup();
        missing.push(format!("no {role} node is ready ({})", reasons.join("; ")));
    }
    if missing.is_empty() {
        code = ErrorCode::Incompatible;
        missing.push("no prefill and decode node hold the model and plan that are needed".to_owned());
    }
    ServiceError::new(code, format!("{}; try again soon", missing.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::v1::Load;

    fn node(name: &str, role: Role) -> NodeView {
        let description = NodeDescription {
            node_id: name.into(),
            role: role as i32,
            protocol_version: PROTOCOL_VERSION,
            model_fingerprint: "m".into(),
            tokenizer_digest: "t".into(),
            ..Default::default()
        };
        NodeView { address: name.into(), role, state: NodeState::Up(Box::new(description)), in_flight: 0 }
    }

    fn prefill(name: &str) -> NodeView {
        node(name, Role::Prefill)
    }

    fn decode(name: &str) -> NodeView {
        node(name, Role::Decode)
    }

    fn with(mut node: NodeView, change: impl FnOnce(&mut NodeDescription)) -> NodeView {
        if let NodeState::Up(description) = &mut node.state {
            change(description);
        }
        node
    }

    fn pair(prefill: &str, decode: &str, model: &str) -> Pair {
        let (prefill, decode) = (prefill.into(), decode.into());
        Pair { prefill, decode, model_fingerprint: model.into(), plan_id: String::new() }
    }

    fn avoiding(names: &[&str]) -> Wish {
        Wish { avoid: names.iter().map(|name| (*name).to_owned()).collect(), ..Wish::default() }
    }

    fn chosen(prefill: &[NodeView], decode: &[NodeView], avoid: &[&str], turn: usize) -> (usize, usize) {
        let choice = choose(prefill, decode, "t", &avoiding(avoid), turn).unwrap();
        (choice.prefill, choice.decode)
    }

    #[test]
    fn the_least_loaded_pair_wins() {
        let mut busy = prefill("p0");
        busy.in_flight = 3;
        let reported =
            with(decode("d0"), |node| node.load = Some(Load { running: 1, waiting: 1, ..Default::default() }));
        assert_eq!(chosen(&[busy, prefill("p1")], &[reported, decode("d1")], &[], 0), (1, 1));
    }

    #[test]
    fn equal_pairs_take_turns() {
        let (p, d) = ([prefill("p0"), prefill("p1")], [decode("d0")]);
        assert_eq!(chosen(&p, &d, &[], 0), (0, 0));
        assert_eq!(chosen(&p, &d, &[], 1), (1, 0));
        assert_eq!(chosen(&p, &d, &[], 2), (0, 0));
    }

    #[test]
    fn failed_nodes_are_avoided_while_there_are_others() {
        let (p, d) = ([prefill("p0"), prefill("p1")], [decode("d0")]);
        assert_eq!(chosen(&p, &d, &["p0"], 0), (1, 0));
        let choice = choose(&p[..1], &d, "t", &avoiding(&["p0"]), 0).unwrap();
        assert!(choice.is_avoided);
    }

    #[test]
    fn a_prefill_node_without_another_goes_on_with_another_decode_node() {
        let (p, mut d) = ([prefill("p0")], [decode("d0"), decode("d1")]);
        d[1].in_flight = 5;
        let wish = Wish { again: Some(pair("p0", "d0", "m")), ..avoiding(&["p0", "d0"]) };
        let choice = choose(&p, &d, "t", &wish, 0).unwrap();
        assert_eq!((choice.prefill, choice.decode, choice.is_avoided), (0, 1, true));
    }

    #[test]
    fn a_replay_returns_to_its_prefix_cache_unless_that_node_failed_it() {
        let (mut busy, full) = (
            prefill("p0"),
            with(decode("d0"), |node| {
                node.load = Some(Load { running: 9, ..Default::default() });
            }),
        );
        busy.in_flight = 3;
        let (p, d) = ([busy, prefill("p1")], [full, decode("d1"), decode("d2")]);
        let pair = |prefill, decode| Some(pair(prefill, decode, "m"));
        let choice = |wish: &Wish| choose(&p, &d, "t", wish, 1).map(|choice| (choice.prefill, choice.decode)).unwrap();
        assert_eq!(choice(&Wish { again: pair("p0", "d1"), ..Default::default() }), (0, 1), "idle ones: the same");
        assert_eq!(choice(&Wish { again: pair("p0", "d2"), ..Default::default() }), (0, 2));
        assert_ne!(choice(&Wish { again: pair("p0", "d0"), ..Default::default() }).1, 0, "a full one is left");
        assert_eq!(choice(&Wish { again: pair("p0", "d1"), ..avoiding(&["p0"]) }), (1, 1));
    }

    #[test]
    fn an_answer_never_goes_on_with_another_model() {
        let newer = |node| with(node, |node| node.model_fingerprint = "newer".into());
        let (p, d) = ([newer(prefill("p0")), prefill("p1")], [newer(decode("d0")), decode("d1")]);
        let wish = Wish { again: Some(pair("p1", "d1", "m")), ..avoiding(&["p1", "d1"]) };
        let choice = choose(&p, &d, "t", &wish, 0).unwrap();
        assert_eq!((choice.prefill, choice.decode, choice.is_avoided), (1, 1, true));
        let error = choose(&p[..1], &d[..1], "t", &wish, 0).unwrap_err();
        assert_eq!(error.code, ErrorCode::Incompatible);
    }

    #[test]
    fn a_pair_has_room_for_the_request_however_busy_it_is() {
        let holding = |node, positions| with(node, |node| node.max_positions = positions);
        let mut large = holding(decode("d1"), 400);
        large.in_flight = 9;
        let (p, d) = ([holding(prefill("p0"), 500)], [holding(decode("d0"), 64), large, holding(decode("d2"), 300)]);
        let chosen = |positions| {
            let wish = Wish { positions, ..Wish::default() };
            choose(&p, &d, "t", &wish, 0).unwrap().decode
        };
        assert_eq!([64, 65, 300, 301, 400].map(chosen), [0, 2, 2, 1, 1]);
        assert_eq!([401, u32::MAX].map(chosen), [1, 1], "what fits nowhere is judged by the largest");
        let wish = Wish { positions: 301, ..avoiding(&["d1"]) };
        let choice = choose(&p, &d, "t", &wish, 0).unwrap();
        assert_eq!((choice.decode, choice.is_avoided), (1, true), "another one could not hold it");
    }

    #[test]
    fn nodes_of_different_model_or_plan_are_never_paired() {
        for change in
            [(|node| node.model_fingerprint = "x".into()) as fn(&mut NodeDescription), |node| node.plan_id = "x".into()]
        {
            let other = with(decode("d0"), change);
            let error = choose(&[prefill("p0")], std::slice::from_ref(&other), "t", &Wish::default(), 0).unwrap_err();
            assert_eq!(error.code, ErrorCode::Incompatible);
            assert_eq!(chosen(&[prefill("p0")], &[other, decode("d1")], &[], 0), (0, 1));
        }
    }

    #[test]
    fn unusable_nodes_say_why() {
        let down = NodeView { state: NodeState::Down("cannot be reached".into()), ..prefill("p0") };
        let draining = with(prefill("p0"), |node| node.draining = true);
        let old = with(prefill("p0"), |node| node.protocol_version = 0);
        let tokenizer = with(prefill("p0"), |node| node.tokenizer_digest = "x".into());
        let role = with(prefill("p0"), |node| node.role = Role::Decode as i32);
        for (node, code, reason) in [
            (down, ErrorCode::Unavailable, "cannot be reached"),
            (draining, ErrorCode::Incompatible, "draining"),
            (old, ErrorCode::Incompatible, "protocol"),
            (tokenizer, ErrorCode::Incompatible, "tokenizer"),
            (role, ErrorCode::Incompatible, "role"),
        ] {
            let error = choose(&[node], &[decode("d0")], "t", &Wish::default(), 0).unwrap_err();
            assert_eq!(error.code, code);
            assert!(error.message.contains("no prefill node is ready"), "{error}");
            assert!(error.message.contains(reason), "{error}");
            assert!(!error.message.contains("p0"), "no address: {error}");
        }
    }

    #[test]
    fn an_unknown_tokenizer_is_not_held_against_a_node() {
        let silent = with(prefill("p0"), |node| node.tokenizer_digest.clear());
        assert_eq!(chosen(&[silent], &[decode("d0")], &[], 0), (0, 0));
    }
}
