//! Nodes that are found by name: who comes and goes while the router runs, and what becomes of requests meanwhile.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use secateur_channel::Channels;
use secateur_proto::v1::Role;
use secateur_router::{
    cluster::{Bulk, Cluster, Sites, Wish},
    lookup::Lookup,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{
    nodes::FakeNode,
    router::{Cluster as Served, until},
};

/// What the resolver knows: none, it fails.
type Zone = Arc<Mutex<Option<Vec<SocketAddr>>>>;

/// A resolver that answers for `decode:1`, hangs for `hangs:1` and fails for every other name.
fn resolver(zone: &Zone) -> Lookup {
    let zone = zone.clone();
    Arc::new(move |name| {
        let found = zone.lock().unwrap().clone();
        Box::pin(async move {
            match (name.as_str(), found) {
                ("decode:1", Some(addresses)) => Ok(addresses),
                ("hangs:1", _) => std::future::pending().await,
                _ => Err(io::Error::other("no such name")),
            }
        })
    })
}

fn start(prefill: &[String], decode: &[&str], zone: &Zone) -> (Cluster, DropGuard) {
    let shutdown = CancellationToken::new();
    let decode: Vec<String> = decode.iter().map(|name| (*name).to_owned()).collect();
    let sites = Sites { prefill, decode: &decode, lookup: resolver(zone) };
    let cluster = Cluster::start(&sites, &Channels::default(), String::new(), Default::default(), &shutdown).unwrap();
    (cluster, shutdown.drop_guard())
}

fn decode_nodes(cluster: &Cluster) -> Vec<String> {
    cluster.nodes().decode.iter().map(|node| node.address.to_string()).collect()
}

fn wish() -> Wish {
    Wish { bulk: Bulk { ships: true, ..Bulk::default() }, ..Wish::default() }
}

/// Waits until `holds`. Two seconds are promised; the machine that tests may be busy with other things.
async fn soon(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    until(what, async || holds()).await;
    assert!(since.elapsed() < Duration::from_secs(4), "{what}: {:?}", since.elapsed());
}

#[tokio::test]
async fn nodes_come_and_go_with_their_name_and_requests_in_flight_go_on() {
    let prefill = FakeNode::start(Role::Prefill, "p");
    let (first, second) = (FakeNode::start(Role::Decode, "a"), FakeNode::start(Role::Decode, "b"));
    let zone = Zone::default();
    let (cluster, _stop) = start(&[prefill.address.to_string()], &["decode:1", "hangs:1"], &zone);
    let why = cluster.place(&wish()).err().unwrap().message;
    assert!(why.contains("no decode node is ready"), "a name without an address is no error at start: {why}");

    *zone.lock().unwrap() = Some(vec![first.address]);
    soon("the first node serves", || cluster.place(&wish()).is_ok()).await;
    let held = cluster.place(&wish()).unwrap();
    assert_eq!(
        (held.decode.address.to_string(), held.decode.name.as_deref()),
        (first.address.to_string(), Some("decode"))
    );

    *zone.lock().unwrap() = Some(vec![second.address]);
    let second_serves =
        || cluster.place(&wish()).is_ok_and(|other| *other.decode.address == *second.address.to_string());
    soon("the second serves, and the first no more", second_serves).await;
    assert_eq!(cluster.nodes().decode.len(), 2, "the first has a request and is shown");
    assert!(held.decode.view().usable("").is_err() && held.decode.view().is_leaving);
    cluster.served(&held.pair(), Duration::from_secs(1));
    assert!(cluster.measured().1.of(&held.decode.address).request_s.is_some());
    let pair = held.pair();
    drop(held);
    soon("the first is gone", || decode_nodes(&cluster) == [second.address.to_string()]).await;
    assert_eq!(cluster.measured().1.of(&pair.decode).request_s, None, "what left is forgotten");
    cluster.served(&pair, Duration::from_secs(1));
    assert_eq!(cluster.measured().1.of(&pair.decode).request_s, None, "and stays so");

    *zone.lock().unwrap() = None;
    until("the resolver's failure is known", async || cluster.nodes().names.iter().all(|name| name.failure.is_some()))
        .await;
    assert!(second_serves(), "a resolver that fails takes nobody away");
}

#[tokio::test]
async fn one_process_behind_two_addresses_is_taken_once() {
    let prefill = FakeNode::start(Role::Prefill, "p");
    let (a, b) = (FakeNode::start(Role::Decode, "a"), FakeNode::start(Role::Decode, "a"));
    for node in [&a, &b] {
        node.script.description.lock().unwrap().instance_id = "one".into();
    }
    let zone: Zone = Arc::new(Mutex::new(Some(vec![a.address, b.address])));
    let (cluster, _stop) = start(&[prefill.address.to_string()], &["decode:1"], &zone);
    soon("one node is left", || decode_nodes(&cluster).len() == 1 && cluster.place(&wish()).is_ok()).await;
    b.script.description.lock().unwrap().instance_id = "other".into();
    soon("they are two", || decode_nodes(&cluster).len() == 2).await;
}

#[tokio::test]
async fn a_router_finds_its_nodes_by_name_through_the_systems_resolver() {
    let cluster = Served::by_name("localhost").await;
    let reply = cluster.ask(serde_json::json!({})).await;
    assert_eq!(reply["choices"][0]["message"]["content"], "hello world");
    let view: serde_json::Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    assert_eq!(view["nodes"].as_array().unwrap().len(), 2, "no ghost of the family that nobody listens on: {view}");
    assert!(view["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "up" && node["name"] == "localhost"));
    assert_eq!(view["names"][0]["role"], "prefill");
    let told = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    assert_eq!(told.decode_name, "localhost");
    assert_eq!(told.decode_address.parse::<SocketAddr>().unwrap().port(), cluster.decode[0].address.port());
}
