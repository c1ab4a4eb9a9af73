//! Property tests: whatever nodes report, no figure of theirs makes pairing wrap, panic, or pair nodes that must not be
//! paired.

use std::sync::Arc;

use proptest::prelude::*;
use secateur_proto::{
    PROTOCOL_VERSION,
    v1::{Load, Role, ShipCost, VisualPolicy},
};
use tokio::time::Instant;

use super::*;
use crate::{
    cluster::{Facts, faults::Faults, links::Links, pace::Paces, wish::Bulk},
    fit::fit,
    request::MaxTokens,
};

/// Counts, mostly at the limits of 32 bits.
fn count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), 2..9u32, Just(u32::MAX), Just(u32::MAX - 1), Just(1 << 31), any::<u32>()]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), Just(-1.0), Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), any::<f64>()]
}

/// Words from a small set, so that nodes often agree.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("m".to_owned()), 1 => Just(String::new()), 1 => ".{0,4}"]
}

fn load() -> impl Strategy<Value = Load> {
    (any::<(u64, u64, u64, u64, u64)>(), prop::array::uniform6(count())).prop_map(|(wide, counts)| Load {
        running: counts[0],
        waiting: counts[1],
        queue_limit: counts[2],
        kv_bytes_used: wide.0,
        kv_bytes_total: wide.1,
        kv_blocks_used: counts[3],
        kv_blocks_total: counts[4],
        kv_block_positions: counts[5],
        preemptions: wide.2,
        prefix_queries: wide.3,
        prefix_hits: wide.4,
    })
}

fn visual() -> impl Strategy<Value = Option<VisualPolicy>> {
    prop::option::of((0..9i32, number()).prop_map(|(method, keep)| VisualPolicy { method, keep }))
}

fn cost() -> impl Strategy<Value = ShipCost> {
    (-1..5i32, number(), number()).prop_map(|(policy, fixed_bytes, bytes_per_position)| ShipCost {
        policy,
        fixed_bytes,
        bytes_per_position,
    })
}

fn description(role: Role) -> impl Strategy<Value = NodeDescription> {
    let role = prop_oneof![9 => Just(role as i32), 1 => any::<i32>()];
    let protocol = prop_oneof![9 => Just(PROTOCOL_VERSION), 1 => any::<u32>()];
    let words = prop::array::uniform4(word());
    let counts = prop::array::uniform3(count());
    let lists = (prop::collection::vec(cost(), 0..4), prop::collection::vec(any::<u32>(), 0..4));
    let flags = (prop::bool::weighted(0.1), any::<bool>());
    (role, protocol, words, counts, lists, flags, (visual(), visual()), (any::<i32>(), prop::option::of(load())))
        .prop_map(|(role, protocol_version, words, counts, lists, flags, visual, (tag, load))| {
            let [model_fingerprint, plan_id, tokenizer_digest, host_id] = words;
            let [max_positions, visual_tokens_per_image, vocab] = counts;
            NodeDescription {
                role,
                protocol_version,
                model_fingerprint,
                plan_id,
                tokenizer_digest,
                host_id,
                max_positions,
                visual_tokens_per_image,
                vocab,
                ship_costs: lists.0,
                stop_token_ids: lists.1,
                draining: flags.0,
                visual_tokens_vary: flags.1,
                recommended_visual: visual.0,
                recommended_visual_several: visual.1,
                recommended_transfer: tag,
                kv_dtype: tag,
                load,
                ..NodeDescription::default()
            }
        })
}

fn nodes(role: Role) -> impl Strategy<Value = Vec<NodeView>> {
    let node = (description(role), count(), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    prop::collection::vec(node, 0..4).prop_map(move |nodes| {
        let view =
            |(index, (description, in_flight, is_down, is_leaving)): (usize, (NodeDescription, u32, bool, bool))| {
                NodeView {
                    address: format!("{role:?}{index}").into(),
                    role,
                    state: if is_down { NodeState::Down("down".into()) } else { NodeState::Up(Arc::new(description)) },
                    in_flight,
                    is_leaving,
                    is_late: false,
                }
            };
        nodes.into_iter().enumerate().map(view).collect()
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    let policy = prop::option::weighted(0.3, prop::sample::select(TransferPolicy::ALL.to_vec()));
    (count(), count(), 0..4usize, policy, any::<bool>()).prop_map(
        |(positions, text_tokens, pictures, policy, ships)| Wish {
            positions,
            bulk: Bulk { text_tokens, pictures, policy, ships, ..Bulk::default() },
            ..Wish::default()
        },
    )
}

/// The load of two nodes, summed in 64 bits so that no sum wraps.
fn true_load(prefill: &NodeView, decode: &NodeView) -> u64 {
    let of = |node: &NodeView| {
        let NodeState::Up(description) = &node.state else { return 0 };
        let reported = description.load.map_or(0, |load| u64::from(load.running) + u64::from(load.waiting));
        reported.max(node.in_flight.into()).min(u32::MAX.into())
    };
    (of(prefill) + of(decode)).min(u32::MAX.into())
}

/// The pairs that a request may go to.
fn possible<'a>(
    prefill: &'a [NodeView],
    decode: &'a [NodeView],
    wish: &'a Wish,
    outlook: &'a Outlook<'a>,
) -> impl Iterator<Item = Candidate<'a>> {
    matching(prefill, decode, "m", outlook).into_iter().filter(|pair| {
        let is_placed = outlook.mode != PlacementMode::Colocated || pair.is_colocated;
        is_placed && wish.bulk.policy.is_none_or(|policy| offers(pair.prefill_says, policy))
    })
}

fn mode() -> impl Strategy<Value = PlacementMode> {
    prop::sample::select(vec![PlacementMode::Auto, PlacementMode::Disaggregated, PlacementMode::Colocated])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_chosen_may_be_paired_and_is_the_least_loaded(
        prefill in nodes(Role::Prefill),
        decode in nodes(Role::Decode),
        wish in wish(),
        mode in mode(),
        turn in any::<usize>(),
    ) {
        let (links, faults, paces) = (Links::default(), Faults::default(), Paces::default());
        let outlook = Outlook { mode, links: &links, faults: &faults, paces: &paces, now: Instant::now() };
        let Ok(choice) = choose(&prefill, &decode, "m", &wish, &outlook, turn) else { return Ok(()) };
        let (p, d) = (&prefill[choice.prefill], &decode[choice.decode]);
        let (p_says, d_says) = (p.usable("m").unwrap(), d.usable("m").unwrap());
        prop_assert!(matches(p_says, d_says) && !choice.is_avoided);
        prop_assert!(wish.bulk.policy.is_none_or(|policy| offers(p_says, policy)));

        let taken = decision(p, d, &wish, &outlook);
        prop_assert!(taken.ship_s.is_none_or(|seconds| seconds >= 0.0));

        // No other pair that could have been chosen has a lower load, summed without wrapping.
        let largest = possible(&prefill, &decode, &wish, &outlook).map(|pair| room(pair.prefill_says, pair.decode_says)).max();
        let enough = wish.positions.min(largest.unwrap_or(0));
        prop_assert!(room(p_says, d_says) >= enough);
        let others = possible(&prefill, &decode, &wish, &outlook)
            .filter(|pair| room(pair.prefill_says, pair.decode_says) >= enough)
            .map(|pair| true_load(pair.prefill, pair.decode));
        if mode != PlacementMode::Auto {
            prop_assert_eq!(Some(true_load(p, d)), others.min());
        }
    }

    #[test]
    fn the_most_positions_are_those_of_the_pair_for_the_largest_request(
        prefill in nodes(Role::Prefill),
        decode in nodes(Role::Decode),
        mode in mode(),
        turn in any::<usize>(),
    ) {
        let (links, faults, paces) = (Links::default(), Faults::default(), Paces::default());
        let outlook = Outlook { mode, links: &links, faults: &faults, paces: &paces, now: Instant::now() };
        let largest = Wish { positions: u32::MAX, ..Wish::default() };
        let choice = choose(&prefill, &decode, "m", &largest, &outlook, turn).ok();
        let facts = choice.map(|choice| Facts::of(&prefill[choice.prefill], &decode[choice.decode]));
        prop_assert_eq!(room_max(&prefill, &decode, "m", &outlook), facts.map(|facts| facts.max_positions));
    }

    #[test]
    fn what_two_nodes_say_bounds_every_request(
        prefill in nodes(Role::Prefill),
        decode in nodes(Role::Decode),
        asked in prop::option::of(count()),
        tokens in prop_oneof![0..9usize, any::<u32>().prop_map(|tokens| tokens as usize)],
    ) {
        for (p, d) in prefill.iter().zip(&decode) {
            let facts = Facts::of(p, d);
            prop_assert!(facts.stop_token_ids.is_sorted());
            let max_tokens = MaxTokens { tokens: asked, field: "max_tokens", sent: None, total: None };
            if let Ok(fitted) = fit(&max_tokens, &[], tokens, &facts, "messages") {
                prop_assert!(fitted.prompt_positions_max <= facts.max_positions);
                prop_assert!(fitted.positions_needed <= facts.max_positions);
                prop_assert!(fitted.max_new_tokens <= facts.max_positions);
                prop_assert!(fitted.text_tokens < facts.max_positions);
            }
        }
    }
}

/// A sum that wraps makes the fullest node the emptiest.
#[test]
fn a_node_with_the_highest_counts_is_never_the_emptiest() {
    let node = |index: u32, role: Role, running, waiting| NodeView {
        address: format!("{role:?}{index}").into(),
        role,
        state: NodeState::Up(Arc::new(NodeDescription {
            role: role as i32,
            protocol_version: PROTOCOL_VERSION,
            load: Some(Load { running, waiting, ..Load::default() }),
            ..NodeDescription::default()
        })),
        in_flight: 0,
        is_leaving: false,
        is_late: false,
    };
    let (links, faults, paces) = (Links::default(), Faults::default(), Paces::default());
    let outlook =
        Outlook { mode: PlacementMode::Auto, links: &links, faults: &faults, paces: &paces, now: Instant::now() };
    let busy = [node(0, Role::Prefill, u32::MAX, 1), node(1, Role::Prefill, 3, 0)];
    let decode = [node(0, Role::Decode, u32::MAX, 5), node(1, Role::Decode, 2, 0)];
    for turn in 0..4 {
        let choice = choose(&busy, &decode, "", &Wish::default(), &outlook, turn).unwrap();
        assert_eq!((choice.prefill, choice.decode), (1, 1));
    }
    // Both loads saturate, so neither sum is less than the other.
    let full = [node(0, Role::Prefill, u32::MAX, u32::MAX), node(1, Role::Prefill, u32::MAX, 0)];
    choose(&full, &decode[..1], "", &Wish::default(), &outlook, 0).unwrap();
}
