//! Rooms, the top-level modules of a crate, import each other in one direction only.

use std::collections::{BTreeMap, BTreeSet};

use super::circles::Crate;

/// Crates whose rooms form layers. In `model` and `kernels`, rooms share types both ways, file by file without circles.
const LAYERED: [&str; 11] = [
    "common",
    "proto",
    "channel",
    "transfer",
    "gguf",
    "grammar",
    "node",
    "prefill-node",
    "decode-node",
    "router",
    "cli",
];

/// The router's rooms, from the ground up: a room imports only from those before its line.
const ROUTER: &[&[&str]] = &[
    &["tools", "reasoning", "dashboard", "listen", "lookup"],
    &["request"],
    &["admission", "template", "keys"],
    &["served", "fetch"],
    &["config", "prompt", "metrics"],
    &["cluster"],
    &["fit", "legs", "app"],
    &["answer"],
    &["reply"],
    &["openai"],
    &["anthropic", "responses"],
    &["http"],
    &["serve"],
    &["program"],
    &["process"],
];

/// The rooms that each room imports from.
fn rooms(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let edges = Crate::read(&secateur_tests::repository(name).join("src")).edges();
    for (module, targets) in edges {
        let Some(room) = module.first() else { continue };
        let others = targets.iter().filter_map(|target| target.first()).filter(|other| *other != room);
        rooms.entry(room.clone()).or_default().extend(others.cloned());
    }
    rooms
}

fn reached(rooms: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(room) = open.pop() {
        let next = rooms.get(&room).into_iter().flatten();
        open.extend(next.filter(|room| seen.insert((*room).clone())).cloned().collect::<Vec<_>>());
    }
    seen
}

#[test]
fn rooms_do_not_import_each_other_in_circles() {
    let mut circles = Vec::new();
    for name in LAYERED {
        let rooms = rooms(name);
        circles.extend(
            rooms.keys().filter(|room| reached(&rooms, room).contains(*room)).map(|room| format!("{name}: {room}")),
        );
    }
    assert!(circles.is_empty(), "rooms that reach themselves: {circles:?}");
}

#[test]
fn the_routers_rooms_stand_on_each_other() {
    let level = |room: &str| ROUTER.iter().position(|level| level.contains(&room));
    let mut wrong = Vec::new();
    for (room, others) in rooms("router") {
        let Some(own) = level(&room) else {
            wrong.push(format!("{room} has no level"));
            continue;
        };
        let up = others.iter().filter(|other| level(other).is_none_or(|other| other >= own));
        wrong.extend(up.map(|other| format!("{room} imports from {other}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
