//! Running programs: a router with all of its nodes, and nodes by themselves.

use futures::future::join_all;
use secateur_channel::Channels;
use secateur_proto::v1::{NodeDescription, Role};

use super::{
    asked::{Asked, Peer},
    check::Check,
    clock::{self, Clock},
    reach::{self, Trouble},
    router::{self, NodeView},
    versions::{self, Said},
};

/// A node's answer to this machine, and its router's view of it if there is a router.
struct Node {
    peer: Peer,
    seen: Result<reach::Seen, Trouble>,
    by_router: Option<NodeView>,
}

/// Queries every program, and adds checks for each and for all together.
pub async fn examine(asked: &Asked, channels: &Channels, checks: &mut Vec<Check>) {
    let router = match &asked.url {
        Some(base) => {
            let answer = router::ask(base).await;
            checks.push(router::verdict(base, &answer));
            answer.ok()
        }
        None => None,
    };
    let nodes = ask(asked, router.as_ref(), channels).await;
    checks.extend(nodes.iter().map(verdict));
    let said: Vec<Said> = nodes.iter().filter_map(said).collect();
    checks.extend(versions::verdict(&said, router.as_ref().map_or("", |router| &router.view.tokenizer_digest)));
    checks.extend(clock::verdict(&clocks(asked, router.as_ref(), &nodes)));
}

async fn ask(asked: &Asked, router: Option<&router::Seen>, channels: &Channels) -> Vec<Node> {
    let own = asked.nodes.iter().map(|peer| (peer.clone(), None));
    let routed = router.into_iter().flat_map(|router| &router.view.nodes);
    let routed =
        routed.map(|node| (Peer { address: node.address.clone(), role: role(&node.role) }, Some(node.clone())));
    let node = async |(peer, by_router): (Peer, Option<NodeView>)| {
        let seen = reach::node(channels, &peer.address, by_router.as_ref().and_then(|view| view.name.as_deref())).await;
        Node { peer, seen, by_router }
    };
    join_all(own.chain(routed).map(node)).await
}

fn verdict(node: &Node) -> Check {
    let address = &node.peer.address;
    let unusable = node.by_router.as_ref().and_then(|view| view.unusable.as_deref());
    match (&node.seen, &node.by_router, unusable) {
        // The router decides which nodes it uses: it may reach nodes that this machine does not.
        (Err(_), Some(view), None) => {
            Check::ok(named(address), format!("{} node, does not answer to this machine, but to the router", view.role))
        }
        (Err(trouble), _, _) => reach::verdict(address, trouble),
        (Ok(seen), _, Some(why)) => Check::failed(
            named(address),
            format!("the router does not use it: it {why}"),
            advice(&seen.description, address),
        ),
        (Ok(seen), _, None) => fits(&node.peer, &seen.description),
    }
}

fn fits(peer: &Peer, found: &NodeDescription) -> Check {
    let name = named(&peer.address);
    if peer.role != Role::Unspecified && found.role() != peer.role {
        let text = format!("it is a {} node, and is listed as a {} node", word(found.role()), word(peer.role));
        return Check::failed(name, text, "list it with --prefill or --decode, as what it is");
    }
    if found.draining {
        return Check::failed(name, "it is stopping", "start it again when it has ended");
    }
    Check::ok(name, who(found))
}

/// Advice for a node that answers to this machine but that the router does not use.
fn advice(found: &NodeDescription, address: &str) -> String {
    if found.draining {
        "it is stopping; start it again when it has ended".to_owned()
    } else {
        format!(
            "{address} answers to this machine: look at the way from the router (names, firewalls, --tls-ca, \
             --cluster-secret-file), at its role, and at versions and tokenizers below"
        )
    }
}

fn said(node: &Node) -> Option<Said> {
    let address = &node.peer.address;
    match (&node.seen, node.by_router.as_ref().and_then(|view| view.node.as_ref())) {
        (Ok(seen), _) => Some(Said::by_node(address, &seen.description)),
        (Err(_), Some(described)) => Some(Said::by_router(address, described)),
        (Err(_), None) => None,
    }
}

fn clocks(asked: &Asked, router: Option<&router::Seen>, nodes: &[Node]) -> Vec<(String, Clock)> {
    let router = router.and_then(|router| Some((asked.url.clone()?, router.clock?)));
    let nodes = nodes.iter().filter_map(|node| Some((node.peer.address.clone(), node.seen.as_ref().ok()?.clock?)));
    router.into_iter().chain(nodes).collect()
}

/// A node described in words.
pub fn who(node: &NodeDescription) -> String {
    format!("{} node {}, runs {}, version {}", word(node.role()), node.node_id, node.model_name, node.version)
}

fn named(address: &str) -> String {
    format!("node {address}")
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Prefill => "prefill",
        Role::Decode => "decode",
        Role::Unspecified => "nameless",
    }
}

fn role(word: &str) -> Role {
    match word {
        "prefill" => Role::Prefill,
        "decode" => Role::Decode,
        _ => Role::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(wanted: Role, found: Role, unusable: Option<&str>, trouble: Option<Trouble>) -> Node {
        let description = NodeDescription { role: found as i32, node_id: "n".into(), ..NodeDescription::default() };
        let by_router = unusable.map(|why| NodeView {
            name: None,
            role: "decode".into(),
            address: "d:2".into(),
            unusable: Some(why.to_owned()).filter(|why| !why.is_empty()),
            node: None,
        });
        let seen = trouble.map_or(Ok(reach::Seen { description, clock: None }), Err);
        Node { peer: Peer { address: "d:2".into(), role: wanted }, seen, by_router }
    }

    #[test]
    fn a_role_must_be_the_one_that_is_listed() {
        assert!(verdict(&node(Role::Decode, Role::Decode, None, None)).ok);
        assert!(verdict(&node(Role::Unspecified, Role::Decode, None, None)).ok);
        let other = verdict(&node(Role::Decode, Role::Prefill, None, None));
        assert!(!other.ok && other.found == "it is a prefill node, and is listed as a decode node", "{other:?}");
    }

    #[test]
    fn the_router_may_see_what_this_machine_does_not() {
        assert!(verdict(&node(Role::Decode, Role::Decode, Some(""), Some(Trouble::NoSuchName))).ok);
        let lost = verdict(&node(Role::Decode, Role::Decode, Some("cannot be reached"), Some(Trouble::Refused)));
        assert!(!lost.ok && lost.advice.contains("start the node"), "{lost:?}");
        let cut = verdict(&node(Role::Decode, Role::Decode, Some("cannot be reached"), None));
        assert!(!cut.ok && cut.advice.contains("the way from the router"), "{cut:?}");
    }
}
