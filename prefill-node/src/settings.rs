//! Settings of a prefill node.

use clap::Args;
use secateur_node::NodeSettings;

/// Settings of a prefill node.
#[derive(Clone, Debug, Args)]
pub struct PrefillSettings {
    /// Settings of every node.
    #[command(flatten)]
    pub node: NodeSettings,
    /// Prompts that may wait; one more is refused with 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536), env = "SECATEUR_QUEUE_LIMIT")]
    pub queue_limit: u32,
}
