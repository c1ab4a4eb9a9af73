//! Checks the dependency arrows of ARCHITECTURE.md against cargo's own metadata.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod circles;
mod licences;
mod paths;
mod rooms;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// The crates of this workspace that each crate may depend on (normal dependencies).
const ALLOWED: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("proto", &["common"]),
    ("channel", &["proto", "common"]),
    ("pruning", &[]),
    ("transfer", &["pruning", "proto", "common"]),
    ("kernels", &[]),
    ("gguf", &[]),
    ("grammar", &[]),
    ("model", &["kernels", "gguf", "grammar", "pruning"]),
    ("node", &["channel", "model", "gguf", "grammar", "transfer", "pruning", "proto", "common"]),
    ("prefill-node", &["node", "channel", "model", "gguf", "grammar", "transfer", "pruning", "proto", "common"]),
    ("decode-node", &["node", "channel", "model", "gguf", "grammar", "transfer", "pruning", "proto", "common"]),
    ("router", &["channel", "gguf", "grammar", "transfer", "pruning", "proto", "common"]),
];

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        // Without the filter cargo needs the crates of all other platforms too.
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &host()])
        .current_dir(secateur_tests::repository("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// Maps each package's name to the names of its normal dependencies.
fn graph(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let name_of: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let is_normal = |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
        let normal = node["deps"].as_array().unwrap().iter().filter(is_normal);
        let names = normal.map(|dep| name_of[dep["pkg"].as_str().unwrap()].to_owned());
        graph.entry(name_of[node["id"].as_str().unwrap()].to_owned()).or_default().extend(names);
    }
    graph
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(package) = open.pop() {
        for next in graph.get(&package).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn crates_use_only_what_they_may() {
    let graph = graph(&metadata());
    for (package, allowed) in ALLOWED {
        let uses = &graph[&format!("secateur-{package}")];
        for used in uses.iter().filter_map(|name| name.strip_prefix("secateur-")) {
            assert!(allowed.contains(&used), "{package} must not use {used}");
        }
    }
}

#[test]
fn only_the_model_crate_names_candle() {
    let graph = graph(&metadata());
    for (package, uses) in graph.iter().filter(|(name, _)| name.starts_with("secateur-") && *name != "secateur-model") {
        let named = uses.iter().find(|name| name.starts_with("candle") || *name == "cudarc");
        assert!(named.is_none(), "{package} names {}", named.unwrap());
    }
}

#[test]
fn the_router_and_the_wire_reach_no_tensor_code() {
    let graph = graph(&metadata());
    for package in [
        "secateur-router",
        "secateur-transfer",
        "secateur-pruning",
        "secateur-gguf",
        "secateur-grammar",
        "secateur-channel",
        "secateur-proto",
        "secateur-common",
    ] {
        let reached = reachable(&graph, package);
        let tensor = reached.iter().find(|name| name.starts_with("candle") || *name == "secateur-model");
        assert!(tensor.is_none(), "{package} reaches {}", tensor.unwrap());
    }
}

#[test]
fn the_nodes_do_not_know_each_other() {
    let graph = graph(&metadata());
    assert!(!reachable(&graph, "secateur-prefill-node").contains("secateur-decode-node"));
    assert!(!reachable(&graph, "secateur-decode-node").contains("secateur-prefill-node"));
}
