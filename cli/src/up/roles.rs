//! The command lines of a local cluster's roles (plain data).

use std::{net::SocketAddr, path::PathBuf};

/// The cluster to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Checkpoint folder.
    pub model: PathBuf,
    /// Number of prefill nodes.
    pub prefill: u32,
    /// Number of decode nodes.
    pub decode: u32,
    /// Additional flags of every node.
    pub node: Vec<String>,
    /// Additional flags of single roles.
    pub only: Only,
    /// The router's port; 0 for a free one.
    pub port: u16,
    /// Log directives of the roles.
    pub log: String,
}

/// Flags for single roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Flags of prefill nodes.
    pub prefill: Vec<String>,
    /// Flags of decode nodes.
    pub decode: Vec<String>,
    /// Flags of the router.
    pub router: Vec<String>,
}

impl Plan {
    /// The command line of every node: its subcommand and flags, except the listen address.
    pub fn nodes(&self) -> Vec<Vec<String>> {
        let roles = [("prefill", self.prefill, &self.only.prefill), ("decode", self.decode, &self.only.decode)];
        let each = roles.into_iter().flat_map(|(role, count, only)| (0..count).map(move |index| (role, index, only)));
        each.map(|(role, index, only)| self.node(role, index, only)).collect()
    }

    fn node(&self, role: &str, index: u32, only: &[String]) -> Vec<String> {
        let model = self.model.to_string_lossy();
        let id = format!("{role}-{index}");
        let own = [role, "--model", &model, "--log", &self.log, "--node-id", &id].map(str::to_owned);
        own.into_iter().chain(self.node.iter().cloned()).chain(only.iter().cloned()).collect()
    }

    /// The router's command line, for nodes at these addresses.
    pub fn router(&self, prefill: &[String], decode: &[String]) -> Vec<String> {
        let model = self.model.to_string_lossy();
        let (prefill, decode) = (prefill.join(","), decode.join(","));
        let own = ["router", "--model", &model, "--prefill", &prefill, "--decode", &decode, "--log", &self.log];
        own.map(str::to_owned).into_iter().chain(self.only.router.iter().cloned()).collect()
    }

    /// The address that the router listens on.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_gets_the_flags_that_are_its_own() {
        let flags = |flags: &[&str]| flags.iter().map(|&flag| flag.to_owned()).collect::<Vec<_>>();
        let only = Only {
            decode: flags(&["--keep-finished", "off"]),
            router: flags(&["--placement", "auto"]),
            ..Only::default()
        };
        let (model, node, log) = (PathBuf::from("/m"), flags(&["--threads", "2"]), "warn".to_owned());
        let plan = Plan { model, prefill: 2, decode: 1, node, only, port: 8080, log };
        let nodes: Vec<String> = plan.nodes().iter().map(|node| node.join(" ")).collect();
        assert_eq!(
            nodes,
            [
                "prefill --model /m --log warn --node-id prefill-0 --threads 2",
                "prefill --model /m --log warn --node-id prefill-1 --threads 2",
                "decode --model /m --log warn --node-id decode-0 --threads 2 --keep-finished off",
            ]
        );
        let router = plan.router(&flags(&["a:1", "b:2"]), &flags(&["c:3"])).join(" ");
        assert_eq!(router, "router --model /m --prefill a:1,b:2 --decode c:3 --log warn --placement auto");
    }
}
