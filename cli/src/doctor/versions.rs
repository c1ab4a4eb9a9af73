//! Check whether nodes are compatible: program, protocol, model, tokenizer and plan.

use std::collections::BTreeMap;

use secateur_proto::{PROTOCOL_VERSION, v1::NodeDescription};

use super::{check::Check, router};

/// The part of a node's description that must agree between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Address of the node.
    pub address: String,
    /// Program version.
    pub version: String,
    /// Protocol version.
    pub protocol: u32,
    /// Checkpoint folder's name.
    pub model: String,
    /// Identity of the checkpoint.
    pub fingerprint: String,
    /// Identity of its tokenizer; empty if unknown.
    pub tokenizer: String,
    /// Identity of the plan; empty if there is none.
    pub plan: String,
}

impl Said {
    /// Taken from the node's own description.
    pub fn by_node(address: &str, node: &NodeDescription) -> Self {
        Self {
            address: address.to_owned(),
            version: node.version.clone(),
            protocol: node.protocol_version,
            model: node.model_name.clone(),
            fingerprint: node.model_fingerprint.clone(),
            tokenizer: node.tokenizer_digest.clone(),
            plan: node.plan_id.clone(),
        }
    }

    /// Taken from the router's view of the node.
    pub fn by_router(address: &str, node: &router::Described) -> Self {
        Self {
            address: address.to_owned(),
            version: node.version.clone(),
            protocol: node.protocol,
            model: node.model.clone(),
            fingerprint: node.model_fingerprint.clone(),
            tokenizer: String::new(),
            plan: node.plan.clone(),
        }
    }
}

/// One check for each property that nodes must share. `router_tokenizer` is empty if no router was asked.
pub fn verdict(nodes: &[Said], router_tokenizer: &str) -> Vec<Check> {
    if nodes.is_empty() {
        return Vec::new();
    }
    let mut checks = vec![versions(nodes)];
    if nodes.len() > 1 {
        let model = |node: &Said| format!("{} ({})", node.model, short(&node.fingerprint));
        let advice = "give every node the same checkpoint, file for file; nodes are paired only with the same one";
        checks.push(alike("models", nodes, model, advice));
        let plan = |node: &Said| if node.plan.is_empty() { "none".to_owned() } else { short(&node.plan).to_owned() };
        checks.push(alike(
            "plans",
            nodes,
            plan,
            "give every node the same --plan, or none; nodes are paired only with the same one",
        ));
    }
    let strange =
        |node: &&Said| !node.tokenizer.is_empty() && !router_tokenizer.is_empty() && node.tokenizer != router_tokenizer;
    let strange: Vec<&str> = nodes.iter().filter(strange).map(|node| node.address.as_str()).collect();
    if !strange.is_empty() {
        let found = format!("{} has another tokenizer.json than the router", strange.join(", "));
        checks.push(Check::failed("tokenizers", found, "give router and nodes the same checkpoint folder"));
    }
    checks
}

fn versions(nodes: &[Said]) -> Check {
    let name = "versions";
    let foreign: Vec<String> = nodes
        .iter()
        .filter(|node| node.protocol != PROTOCOL_VERSION)
        .map(|node| format!("{} (version {}) speaks protocol {}", node.address, node.version, node.protocol))
        .collect();
    if !foreign.is_empty() {
        let found = format!("{}, this program {PROTOCOL_VERSION}", foreign.join(", "));
        return Check::failed(name, found, "install one version of secateur on every machine");
    }
    let own = env!("CARGO_PKG_VERSION");
    let others = groups(nodes, |node| node.version.clone());
    let is_one = others.len() == 1 && others.contains_key(own);
    let check = Check::ok(name, format!("program {}, protocol {PROTOCOL_VERSION}", list(&others)));
    if is_one {
        check
    } else {
        check.with_advice(format!(
            "this program is {own}; they work together, and one version is easier to reason about"
        ))
    }
}

fn alike(name: &str, nodes: &[Said], of: impl Fn(&Said) -> String, advice: &str) -> Check {
    let groups = groups(nodes, of);
    match groups.len() {
        1 => Check::ok(name, format!("all the same: {}", groups.keys().cloned().collect::<String>())),
        _ => Check::failed(name, list(&groups), advice),
    }
}

/// Groups the nodes' addresses by the value of one property.
fn groups(nodes: &[Said], of: impl Fn(&Said) -> String) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes {
        groups.entry(of(node)).or_default().push(node.address.clone());
    }
    groups
}

fn list(groups: &BTreeMap<String, Vec<String>>) -> String {
    let one = |(what, who): (&String, &Vec<String>)| format!("{what} on {}", who.join(", "));
    groups.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(address: &str) -> Said {
        Said {
            address: address.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL_VERSION,
            model: "demo".to_owned(),
            fingerprint: "f".repeat(64),
            tokenizer: "t".repeat(64),
            plan: String::new(),
        }
    }

    fn failed(nodes: &[Said], tokenizer: &str) -> Vec<String> {
        let checks = verdict(nodes, tokenizer).into_iter().filter(|check| !check.ok);
        checks.map(|check| format!("{}: {} -> {}", check.name, check.found, check.advice)).collect()
    }

    #[test]
    fn nodes_that_are_alike_are_well() {
        assert!(failed(&[said("p:1"), said("d:2")], &"t".repeat(64)).is_empty());
        assert!(verdict(&[], "").is_empty());
    }

    #[test]
    fn each_difference_is_named_with_who_has_it() {
        let other = |change: fn(&mut Said)| {
            let mut node = said("d:2");
            change(&mut node);
            failed(&[said("p:1"), node], "").join("\n")
        };
        let protocol = other(|node| node.protocol = 99);
        assert!(protocol.starts_with("versions: d:2") && protocol.contains("protocol 99"), "{protocol}");
        let model = other(|node| node.fingerprint = "g".repeat(64));
        assert!(model.starts_with("models: demo (ffffffffffff) on p:1; demo (gggggggggggg) on d:2"), "{model}");
        let plan = other(|node| node.plan = "h".repeat(32));
        assert!(plan.starts_with("plans: hhhhhhhhhhhh on d:2; none on p:1"), "{plan}");
        assert!(failed(&[said("p:1")], &"u".repeat(64)).join("").starts_with("tokenizers: p:1"));
    }

    #[test]
    fn another_release_of_the_same_protocol_is_only_mentioned() {
        let mut newer = said("d:2");
        newer.version = "9.9.9".to_owned();
        let checks = verdict(&[said("p:1"), newer], "");
        assert!(checks.iter().all(|check| check.ok) && checks[0].advice.contains("work together"), "{checks:?}");
    }
}
