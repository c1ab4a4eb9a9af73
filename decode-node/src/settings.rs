//! Settings of a decode node.

use bytesize::ByteSize;
use clap::Args;
use secateur_node::NodeSettings;

/// Settings of a decode node.
#[derive(Clone, Debug, Args)]
pub struct DecodeSettings {
    /// Settings of every node.
    #[command(flatten)]
    pub node: NodeSettings,
    /// Memory for KV, such as 2GiB [default: a quarter of the memory that is free at start]
    #[arg(long, value_name = "SIZE", env = "SECATEUR_KV_MEMORY")]
    pub kv_memory: Option<ByteSize>,
    /// Answers that are generated at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096), env = "SECATEUR_MAX_RUNNING")]
    pub max_running: u32,
    /// Requests that may wait for KV memory; one more is refused with 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=65_536), env = "SECATEUR_QUEUE_LIMIT")]
    pub queue_limit: u32,
}
