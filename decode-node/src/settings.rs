//! Settings of a decode node.

use clap::Args;
use secateur_node::{NodeSettings, settings::parse_switch};

/// Settings of a decode node.
#[derive(Clone, Debug, Args)]
pub struct DecodeSettings {
    /// Settings of every node.
    #[command(flatten)]
    pub node: NodeSettings,
    /// Most answers that are generated at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096), env = "SECATEUR_MAX_RUNNING")]
    pub max_running: u32,
    /// Keep the KV of finished prompts until the memory is needed, so that a conversation's next turn ships only new
    /// KV: on, or off
    #[arg(long, default_value = "on", value_parser = parse_switch, action = clap::ArgAction::Set, env = "SECATEUR_KEEP_FINISHED")]
    pub keep_finished: bool,
}
