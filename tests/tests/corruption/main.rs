//! Corrupted shipments are refused with a reason, their request is told, no memory stays in use, and every later answer
//! is right. Then the same from outside: bits that flip between a real prefill and a real decode node never change an
//! answer.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod kinds;
mod node;
mod wire;

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use kinds::{Kind, are_messages, claims};
use node::{Node, Of, tokens};
use secateur_proto::{ErrorCode, ServiceError};
use secateur_tests::corruption::Random;
use secateur_transfer::{Refusal, TransferPolicy};
use tokio::time::timeout;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const SHIPMENTS: u64 = 1_000;
const CONCURRENT: usize = 4;
/// Deadline for the refusal to reach a request that must be told.
const TOLD_MAX: Duration = Duration::from_secs(10);
/// Time for which a request that must not be told is observed.
const LISTENED: Duration = Duration::from_millis(20);
/// Seed of the values of every good shipment.
const SEED: u64 = 1;
/// Keys of refused shipments: all share the same keys, so that KV wrongly kept of one would be used by the next.
const SPOILT: u64 = 1 << 20;
/// Label of shipments that do not parse.
const UNREADABLE: &str = "unreadable";

fn of(name: &str, policy: TransferPolicy, keys: u64) -> Of {
    Of { epoch: format!("{name}-{policy}"), attempt: 2, policy, seed: SEED, keys }
}

/// Ships a corrupted shipment; returns its kind and the reason of its refusal.
async fn refused(node: &Node, number: u64) -> (Kind, String) {
    let mut random = Random::new(number);
    let kind = Kind::ALL[(number % Kind::ALL.len() as u64) as usize];
    let policy = [TransferPolicy::Dense, TransferPolicy::Tiered][(random.below(2)) as usize];
    let of = of(&format!("spoilt-{number}"), policy, SPOILT);
    if kind == Kind::Finished {
        // This good shipment has keys of its own, because decode keeps its KV.
        let good = Of { keys: SPOILT + 1 + number, ..of.clone() };
        assert_eq!(node.answer(&good).await.len(), 7);
    }
    let mut events = if kind == Kind::Finished { None } else { Some(node.open(&of).await) };
    let messages = kind.spoil(node, &of, &mut random);
    let (is_readable, is_claimed) = (are_messages(&messages), claims(&messages, &of));
    let error = ServiceError::from(node.ship(messages).await.expect_err(&format!("{number}: {kind:?} was placed")));
    if let Some(events) = &mut events {
        let told = timeout(if is_claimed { TOLD_MAX } else { LISTENED }, events.message()).await;
        assert_eq!(told.is_ok(), is_claimed, "{number}: {kind:?} {told:?}");
        if let Ok(told) = told {
            let told = ServiceError::from(told.map(|event| event.map(|event| event.event)).unwrap_err());
            assert_eq!(told.code, error.code, "{number}: {kind:?} {told}");
        }
    }
    if kind == Kind::Stale {
        // The new attempt is not affected by the stale shipment.
        let good = Of { keys: SPOILT + 1 + number, ..of.clone() };
        node.ship(node.shipment(&good)).await.unwrap();
        assert_eq!(tokens(events.take().unwrap()).await.len(), 7);
    }
    if error.code != ErrorCode::KvRefused {
        assert!(!is_readable, "{number}: {kind:?} {error}");
        return (kind, UNREADABLE.to_owned());
    }
    let reason = error.param.unwrap();
    assert!(Refusal::ALL.iter().any(|refusal| refusal.as_str() == reason), "{reason}");
    (kind, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_corrupted_shipments_are_refused_and_answers_stay_right() {
    let node = Node::start(PROGRAM).await;
    let policies = [TransferPolicy::Dense, TransferPolicy::Tiered];
    let mut before = Vec::new();
    for policy in policies {
        before.push(node.answer(&of("before", policy, 0)).await);
    }
    let reasons: Vec<(Kind, String)> =
        stream::iter(0..SHIPMENTS).map(|number| refused(&node, number)).buffer_unordered(CONCURRENT).collect().await;
    assert_eq!(reasons.len() as u64, SHIPMENTS);
    let mut counts: BTreeMap<(Kind, String), u64> = BTreeMap::new();
    reasons.into_iter().for_each(|reason| *counts.entry(reason).or_default() += 1);
    eprintln!("{counts:#?}");
    for (kind, reason) in [
        (Kind::Flipped, "digest_mismatch"),
        (Kind::Truncated, "truncated"),
        (Kind::Swapped, "frame_mismatch"),
        (Kind::Dropped, "out_of_order"),
        (Kind::Repeated, "frame_mismatch"),
        (Kind::Foreign, "digest_mismatch"),
        (Kind::Stale, "stale_epoch"),
        (Kind::Renamed, "digest_mismatch"),
        (Kind::Finished, "unknown_epoch"),
    ] {
        assert!(counts.contains_key(&(kind, reason.to_owned())), "no {kind:?} was refused as {reason}");
    }
    node.frees_its_memory().await;
    for (policy, before) in policies.into_iter().zip(before) {
        assert!(!before.is_empty());
        // The keys are those of all refused shipments.
        assert_eq!(node.answer(&of("after", policy, SPOILT)).await, before, "{policy}");
    }
    node.frees_its_memory().await;
}
