//! `secateur up --print-config`: the effective configuration of each role that would be started, as one table per role,
//! in the role's own format.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use std::net::SocketAddr;

use anyhow::Context;

use super::{child, roles::Plan};
use crate::usage::usage;

/// Placeholder for the nodes' addresses, which are not known before they listen.
const SOMEWHERE: &str = "127.0.0.1:1";

/// Prints the tables. A setting that a role refuses ends the command as bad usage, with the role's message.
pub fn print(plan: &Plan) -> anyhow::Result<()> {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let nodes = |count: u32| vec![SOMEWHERE.to_owned(); count as usize];
    let mut tables = vec![table(&plan.router(&nodes(plan.prefill), &nodes(plan.decode)), plan.listen())?];
    let mut shown = Vec::new();
    for node in plan.nodes() {
        // Nodes of one role differ only in their names.
        let role = node.first().cloned().unwrap_or_default();
        if !shown.contains(&role) {
            tables.push(table(&node, free)?);
            shown.push(role);
        }
    }
    println!(
        "# 1 router, {} prefill, {} decode; what `up` gives a role has the source `flag`",
        plan.prefill, plan.decode
    );
    tables.iter().for_each(|table| print!("\n{table}"));
    Ok(())
}

fn table(arguments: &[String], listen: SocketAddr) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let output = child::program_of(&program, arguments, listen).arg("--print-config").output()?;
    let role = arguments.first().map_or("", String::as_str);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
        return Err(usage(format!("the {role} refuses its settings: {said}")));
    }
    let settings = String::from_utf8_lossy(&output.stdout);
    let lines = settings.lines().filter(|line| is_of_the_user(line));
    Ok(std::iter::once(format!("[{role}]")).chain(lines.map(str::to_owned)).map(|line| line + "\n").collect())
}

/// Whether a line is a setting of the user's; settings that `up` finds or arranges by itself are left out.
fn is_of_the_user(line: &str) -> bool {
    let name = line.split(" = ").next().unwrap_or_default();
    !matches!(name, "prefill" | "decode" | "node_id" | "stdin_lifeline")
        && !line.starts_with("listen = \"127.0.0.1:0\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_set_is_shown() {
        for line in
            ["model = \"/m\"  # flag", "listen = \"127.0.0.1:8080\"  # flag", "kv_memory = \"1GiB\"  # environment"]
        {
            assert!(is_of_the_user(line), "{line}");
        }
        for line in
            ["prefill = \"127.0.0.1:1\"  # flag", "listen = \"127.0.0.1:0\"  # flag", "stdin_lifeline = true  # flag"]
        {
            assert!(!is_of_the_user(line), "{line}");
        }
    }
}
