//! Settings of a prefill node.

use bytesize::ByteSize;
use clap::Args;
use secateur_node::{NodeSettings, settings::parse_switch};
use secateur_transfer::TransferPolicy;

use crate::{lines::Lossless, recommended::NodeVisual};

/// Settings of a prefill node.
#[derive(Clone, Debug, Args)]
pub struct PrefillSettings {
    /// Settings of every node.
    #[command(flatten)]
    pub node: NodeSettings,
    /// Prompt positions computed in one step, over all prompts; a long prompt takes several steps
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536), env = "SECATEUR_STEP_TOKENS")]
    pub step_tokens: u32,
    /// Memory for the visual tokens of pictures, so that a picture that comes again skips the vision tower; 0 for none
    #[arg(long, value_name = "SIZE", default_value = "256MiB", env = "SECATEUR_PICTURE_CACHE")]
    pub picture_cache: ByteSize,
    /// Keep finished KV for prompts that begin alike: on, or off
    #[arg(long, default_value = "on", value_parser = parse_switch, action = clap::ArgAction::Set, env = "SECATEUR_PREFIX_CACHE")]
    pub prefix_cache: bool,
    /// Seconds after which a shipment for which decode has no room is given up if other prompts wait for its KV blocks;
    /// the router then retries with another pair. A shipment of which decode takes nothing although it has room is
    /// given up after twice as many seconds. Keep it below half of the router's request timeout
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600), env = "SECATEUR_SHIP_PATIENCE")]
    pub ship_patience: u64,
    /// Pack losslessly shipped KV: auto (unless the link was measured to be faster than packing), on, or off
    #[arg(long, value_enum, default_value = "auto", env = "SECATEUR_LOSSLESS")]
    pub lossless: Lossless,
    /// Transfer policy where neither request nor plan sets one: auto (by the link), dense (lossless), pdtrim, tiered or
    /// small (both lossy)
    #[arg(long, default_value = "tiered", value_parser = parse_transfer, env = "SECATEUR_TRANSFER")]
    pub transfer: NodeTransfer,
    /// Visual pruning where a request does not set it: ONE[,SEVERAL], for one picture and for several, each auto (as
    /// the checkpoint's card recommends) or METHOD[:KEEP], such as trimtokenator:0.9
    #[arg(long, value_name = "ONE[,SEVERAL]", default_value = "auto", env = "SECATEUR_VISUAL")]
    pub visual: NodeVisual,
}

/// Transfer policy of a node for requests that do not choose one; `None`: `auto`, by the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeTransfer(pub Option<TransferPolicy>);

impl std::fmt::Display for NodeTransfer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(policy) => policy.fmt(out),
            None => out.write_str("auto"),
        }
    }
}

fn parse_transfer(text: &str) -> Result<NodeTransfer, String> {
    match text {
        "auto" => Ok(NodeTransfer(None)),
        _ => text.parse().map(|policy| NodeTransfer(Some(policy))).map_err(|_| {
            let known = TransferPolicy::ALL.map(TransferPolicy::as_str).join(", ");
            format!("`{text}` is none of auto, {known}, tiered:BITS (2 to 10 in quarters)")
        }),
    }
}
