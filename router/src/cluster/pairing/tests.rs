use std::sync::Arc;

use super::*;
use secateur_proto::{
    PROTOCOL_VERSION,
    v1::{Load, Role, ShipCost, TransferReport},
};
use tokio::time::Instant;

use crate::cluster::{Blame, Bulk, Failure, Pair, faults::Faults, links::Links, pace::Paces};

/// Chooses as a router that has measured nothing.
fn choose(
    prefill: &[NodeView],
    decode: &[NodeView],
    tokenizer_digest: &str,
    wish: &Wish,
    turn: usize,
) -> Result<Choice, ServiceError> {
    choose_by(&Known::default(), PlacementMode::Auto, prefill, decode, tokenizer_digest, wish, turn)
}

#[derive(Default)]
struct Known {
    links: Links,
    faults: Faults,
    paces: Paces,
}

fn choose_by(
    known: &Known,
    mode: PlacementMode,
    prefill: &[NodeView],
    decode: &[NodeView],
    tokenizer_digest: &str,
    wish: &Wish,
    turn: usize,
) -> Result<Choice, ServiceError> {
    let Known { links, faults, paces } = known;
    let outlook = Outlook { mode, links, faults, paces, now: Instant::now() };
    super::choose(prefill, decode, tokenizer_digest, wish, &outlook, turn)
}

fn node(name: &str, role: Role) -> NodeView {
    let description = NodeDescription {
        node_id: name.into(),
        role: role as i32,
        protocol_version: PROTOCOL_VERSION,
        model_fingerprint: "m".into(),
        tokenizer_digest: "t".into(),
        ..Default::default()
    };
    NodeView {
        address: name.into(),
        role,
        state: NodeState::Up(Arc::new(description)),
        in_flight: 0,
        is_leaving: false,
        is_late: false,
    }
}

fn prefill(name: &str) -> NodeView {
    node(name, Role::Prefill)
}

fn decode(name: &str) -> NodeView {
    node(name, Role::Decode)
}

fn with(mut node: NodeView, change: impl FnOnce(&mut NodeDescription)) -> NodeView {
    if let NodeState::Up(description) = &mut node.state {
        change(Arc::make_mut(description));
    }
    node
}

fn pair(prefill: &str, decode: &str, model: &str) -> Pair {
    let (prefill, decode) = (prefill.into(), decode.into());
    Pair { prefill, decode, model_fingerprint: model.into(), plan_id: String::new() }
}

/// A failed attempt on this pair.
fn failure(prefill: &str, decode: &str, blame: Blame) -> Failure {
    Failure { prefill: prefill.into(), decode: decode.into(), blame }
}

/// A wish in which each of the named nodes failed an attempt.
fn avoiding(names: &[&str]) -> Wish {
    let failure = |name: &&str| {
        if name.starts_with('p') { failure(name, "", Blame::Prefill) } else { failure("", name, Blame::Decode) }
    };
    Wish { failures: names.iter().map(failure).collect(), ..Wish::default() }
}

fn chosen(prefill: &[NodeView], decode: &[NodeView], avoid: &[&str], turn: usize) -> (usize, usize) {
    let choice = choose(prefill, decode, "t", &avoiding(avoid), turn).unwrap();
    (choice.prefill, choice.decode)
}

#[test]
fn the_least_loaded_pair_wins() {
    let mut busy = prefill("p0");
    busy.in_flight = 3;
    let reported = with(decode("d0"), |node| node.load = Some(Load { running: 1, waiting: 1, ..Default::default() }));
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
fn the_pair_that_just_failed_is_not_the_next_choice() {
    let (p, d) = ([prefill("p0"), prefill("p1")], [decode("d0"), decode("d1")]);
    let link = |p: &[NodeView], d: &[NodeView], turn| {
        let wish = Wish { failures: vec![failure("p0", "d0", Blame::Link)], ..ten_positions() };
        let choice = choose(p, d, "t", &wish, turn).unwrap();
        (choice.prefill, choice.decode, choice.is_avoided)
    };
    for turn in 0..4 {
        assert_eq!(link(&p, &d, turn), (1, 1, false), "whoever of the two it was");
        assert_eq!(link(&p[..1], &d, turn), (0, 1, false), "a prefill node without another may be well");
        assert_eq!(link(&p, &d[..1], turn), (1, 0, false));
        assert_eq!(link(&p[..1], &d[..1], turn), (0, 0, true));
    }
    // A replay prefers the node with its prefix cache, but not over the link that failed.
    let wish = Wish {
        again: Some(pair("p0", "d0", "m")),
        failures: vec![failure("p0", "d0", Blame::Link)],
        ..ten_positions()
    };
    let choice = choose(&p[..1], &d, "t", &wish, 0).unwrap();
    assert_eq!((choice.prefill, choice.decode), (0, 1));
}

#[test]
fn a_link_that_failed_another_request_lately_is_the_last_choice() {
    let mut known = Known::default();
    known.faults.failed("p0", "d0", Instant::now());
    let (p, d) = ([prefill("p0"), prefill("p1")], [decode("d0"), decode("d1")]);
    let chosen = |p: &[NodeView], d: &[NodeView], wish: &Wish, turn| {
        let choice = choose_by(&known, PlacementMode::Auto, p, d, "t", wish, turn).unwrap();
        assert!(!choice.is_avoided, "this request has not failed there");
        (choice.prefill, choice.decode)
    };
    for turn in 0..4 {
        assert_ne!(chosen(&p, &d, &ten_positions(), turn), (0, 0));
        let busy = [busy(d[1].clone(), 50)];
        assert_eq!(chosen(&p[..1], &[d[0].clone(), busy[0].clone()], &ten_positions(), turn), (0, 1), "however busy");
    }
    assert_eq!(chosen(&p[..1], &d[..1], &ten_positions(), 0), (0, 0), "there is no other");
    let unshipped = Wish::default();
    let used: Vec<_> = (0..4).map(|turn| chosen(&p, &d, &unshipped, turn)).collect();
    assert!(used.contains(&(0, 0)), "what ships nothing needs no link");
}

#[test]
fn a_late_node_is_used_only_where_there_is_no_other() {
    let late = |node: NodeView| NodeView { is_late: true, ..node };
    let (p, d) = ([prefill("p0")], [late(decode("d0")), busy(decode("d1"), 50)]);
    assert_eq!(chosen(&p, &d, &[], 0), (0, 1));
    assert_eq!(chosen(&p, &d[..1], &[], 0), (0, 0));
    let wish = Wish { again: Some(pair("p0", "d0", "m")), ..Wish::default() };
    assert_eq!(choose(&p, &d, "t", &wish, 0).unwrap().decode, 1);
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

/// A node on a machine; a prefill node ships 1 MB dense and a quarter of that tiered, for each position.
fn on(host: &str, node: NodeView) -> NodeView {
    let cost = |policy: TransferPolicy, bytes_per_position| ShipCost {
        policy: policy.to_proto(),
        bytes_per_position,
        ..Default::default()
    };
    with(node, |node| {
        node.host_id = host.into();
        node.ship_costs = vec![cost(TransferPolicy::Dense, 1e6), cost(TransferPolicy::Tiered, 0.25e6)];
    })
}

fn busy(node: NodeView, in_flight: u32) -> NodeView {
    NodeView { in_flight, ..node }
}

/// A prompt of ten positions.
fn ten_positions() -> Wish {
    Wish { bulk: Bulk { text_tokens: 10, ships: true, ..Bulk::default() }, ..Wish::default() }
}

/// `p0` ships to `d1` at 1 MB/s (2.5 s for ten positions), and a request takes a second.
fn slow_link() -> Known {
    let mut known = Known::default();
    let report = TransferReport { bytes_sent: 1 << 20, link_mbit_s: 8.0, ..Default::default() };
    known.links.observe("p0", "d1", &report, Instant::now());
    known.paces.served("d0", 1.0);
    known
}

#[test]
fn a_pair_on_one_machine_is_taken_where_waiting_costs_less_than_shipping() {
    let p = [on("a", prefill("p0"))];
    let chosen = |known: &Known, waiting: u32, mode, turn| {
        let d = [on("a", busy(decode("d0"), waiting)), on("b", decode("d1"))];
        choose_by(known, mode, &p, &d, "t", &ten_positions(), turn).unwrap().decode
    };
    let auto = |known: &Known, waiting| chosen(known, waiting, PlacementMode::Auto, 1);
    assert_eq!([0, 1, 2].map(|waiting| auto(&slow_link(), waiting)), [0, 0, 0]);
    assert_eq!([3, 9].map(|waiting| auto(&slow_link(), waiting)), [1, 1], "3 s of waiting for 2.5 s of shipping");
    let unpaced = Known { paces: Paces::default(), ..slow_link() };
    assert_eq!([0, 1].map(|waiting| auto(&unpaced, waiting)), [0, 1], "only no waiting is known to cost nothing");
    assert_eq!([0, 1].map(|waiting| auto(&Known::default(), waiting)), [1, 1], "nothing measured: by load and turn");
    let apart = |waiting, turn| chosen(&slow_link(), waiting, PlacementMode::Disaggregated, turn);
    assert_eq!([apart(0, 0), apart(0, 1), apart(1, 0)], [0, 1, 1], "the machine does not count");
    assert_eq!(chosen(&slow_link(), 9, PlacementMode::Colocated, 0), 0, "however long it takes");
}

#[test]
fn what_hides_behind_prefill_is_not_waited_for() {
    let mut known = slow_link();
    let hidden = TransferReport { bytes_sent: 1 << 20, link_mbit_s: 8.0, overlap: 1.0, ..Default::default() };
    (0..20).for_each(|_| known.links.observe("p0", "d1", &hidden, Instant::now()));
    let (p, d) = ([on("a", prefill("p0"))], [on("a", busy(decode("d0"), 1)), on("b", decode("d1"))]);
    let choice = choose_by(&known, PlacementMode::Auto, &p, &d, "t", &ten_positions(), 0).unwrap();
    assert_eq!(choice.decode, 1);
}

#[test]
fn one_machine_never_makes_a_failed_node_good() {
    let (p, d) = ([on("a", prefill("p0"))], [on("a", decode("d0")), on("b", decode("d1"))]);
    let wish = Wish { bulk: ten_positions().bulk, ..avoiding(&["d0"]) };
    assert_eq!(choose_by(&slow_link(), PlacementMode::Auto, &p, &d, "t", &wish, 0).unwrap().decode, 1);
    let small = with(d[0].clone(), |node| node.max_positions = 5);
    let (p, d) = (
        [with(p[0].clone(), |node| node.max_positions = 9)],
        [small, with(d[1].clone(), |node| node.max_positions = 9)],
    );
    let wish = Wish { positions: 7, ..ten_positions() };
    assert_eq!(choose_by(&slow_link(), PlacementMode::Auto, &p, &d, "t", &wish, 0).unwrap().decode, 1);
}

#[test]
fn colocated_alone_refuses_what_would_cross_the_network() {
    for (p, d) in [("a", "b"), ("", "")] {
        let (p, d) = ([on(p, prefill("p0"))], [on(d, decode("d0"))]);
        let choose = |mode| choose_by(&Known::default(), mode, &p, &d, "t", &ten_positions(), 0);
        let error = choose(PlacementMode::Colocated).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.contains("--placement colocated"), "{error}");
        choose(PlacementMode::Auto).unwrap();
    }
}

#[test]
fn a_follow_up_goes_where_its_earlier_turn_was_unless_that_is_too_busy() {
    let near = Some(Near { prefill: "p0".into(), decode: "d0".into() });
    let wish = Wish { near, ..ten_positions() };
    let chosen = |prefill_load, decode_load, wish: &Wish| {
        let (p, d) =
            ([busy(prefill("p0"), prefill_load), prefill("p1")], [busy(decode("d0"), decode_load), decode("d1")]);
        let choice = choose(&p, &d, "t", wish, 1).unwrap();
        (choice.prefill, choice.decode)
    };
    assert_eq!(chosen(0, 0, &wish), (0, 0));
    assert_eq!(chosen(4, 4, &wish), (0, 0), "four more are not too many");
    assert_eq!(chosen(5, 4, &wish), (1, 0));
    assert_eq!(chosen(4, 5, &wish), (0, 1));
    assert_eq!(chosen(0, 0, &Wish { failures: avoiding(&["d0"]).failures, ..wish.clone() }), (0, 1));
    let again = Wish { again: Some(pair("p1", "d1", "m")), ..wish.clone() };
    assert_eq!(chosen(0, 0, &again), (1, 1), "a replay knows better");
    let gone = Wish { near: Some(Near { prefill: "p9".into(), decode: "d0".into() }), ..wish };
    assert_eq!(chosen(0, 0, &gone).1, 0);
}

#[test]
fn a_policy_that_no_prefill_node_offers_is_the_clients_error() {
    let wish = |policy| Wish { bulk: Bulk { policy: Some(policy), ..ten_positions().bulk }, ..Wish::default() };
    let dense_only = with(on("a", prefill("p0")), |node| node.ship_costs.truncate(1));
    let (p, d) = ([dense_only, on("a", prefill("p1"))], [decode("d0")]);
    assert_eq!([0, 1].map(|turn| choose(&p, &d, "t", &wish(TransferPolicy::Dense), turn).unwrap().prefill), [0, 1]);
    assert_eq!([0, 1].map(|turn| choose(&p, &d, "t", &wish(TransferPolicy::Tiered), turn).unwrap().prefill), [1, 1]);
    let error = choose(&p, &d, "t", &wish(TransferPolicy::PdTrim), 0).unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidRequest, Some("secateur.transfer.policy")));
    assert!(error.message.contains("pdtrim needs a plan") && error.message.contains("auto, dense, tiered"), "{error}");
    choose(&[prefill("p0")], &d, "t", &wish(TransferPolicy::PdTrim), 0).unwrap();
}
