//! Settings of a prefill node.

use clap::Args;
use secateur_node::NodeSettings;

/// Settings of a prefill node.
#[derive(Clone, Debug, Args)]
pub struct PrefillSettings {
    /// Settings of every node.
    #[command(flatten)]
    pub node: NodeSettings,
}
