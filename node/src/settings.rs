//! Settings of both node programs.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use bytesize::ByteSize;
use clap::Args;
use secateur_channel::{ExposedError, LinkSecurity, SecurityError, check_exposure};
use secateur_common::{config::Layers, telemetry::LogFormat};
use secateur_model::{DeviceKind, FloatType, LoadOptions, Stage, WeightFormat};

/// Settings of both node programs.
#[derive(Clone, Debug, Args)]
pub struct NodeSettings {
    /// Sources of the settings: configuration file, environment and command line.
    #[command(flatten)]
    pub layers: Layers,
    /// Checkpoint: a folder in the Hugging Face layout, or a GGUF file
    #[arg(long, value_name = "DIR", env = "SECATEUR_MODEL")]
    pub model: PathBuf,
    /// Pruning plan: a folder that `secateur plan` wrote, or auto for the checkpoint's own subfolder `plan`, if it has
    /// one. Every node of a cluster must run the same plan [default: none]
    #[arg(long, value_name = "DIR", env = "SECATEUR_PLAN")]
    pub plan: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", env = "SECATEUR_LISTEN")]
    pub listen: SocketAddr,
    /// Listen on an address that is not loopback although connections are not protected; use only on a trusted network
    #[arg(long, env = "SECATEUR_INSECURE", value_parser = clap::builder::BoolishValueParser::new())]
    pub insecure: bool,
    /// Protection of the connections to other programs
    #[command(flatten)]
    pub link: LinkSecurity,
    /// Name of this node in receipts and logs [default: the role and a random tail]
    #[arg(long, value_name = "NAME", env = "SECATEUR_NODE_ID")]
    pub node_id: Option<String>,
    /// Device to compute on: cpu (this version has no other)
    #[arg(long, default_value = "cpu", value_parser = parse_device, env = "SECATEUR_DEVICE")]
    pub device: DeviceKind,
    /// Format of weights and KV: f32, bf16 or f16; [default: the checkpoint's own]
    #[arg(long, value_parser = parse_dtype, env = "SECATEUR_DTYPE")]
    pub dtype: Option<FloatType>,
    /// Format of the language model's matrices in memory: native (as --dtype says), or int8 (half the memory and time
    /// of bf16, at a small loss of quality)
    #[arg(long, default_value = "native", value_parser = parse_weights, env = "SECATEUR_WEIGHTS")]
    pub weights: WeightFormat,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024), env = "SECATEUR_THREADS")]
    pub threads: Option<u32>,
    /// Memory for KV, such as 2GiB [default: a quarter of the memory that is free at start]
    #[arg(long, value_name = "SIZE", env = "SECATEUR_KV_MEMORY")]
    pub kv_memory: Option<ByteSize>,
    /// Requests that may wait; one more is refused with 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536), env = "SECATEUR_QUEUE_LIMIT")]
    pub queue_limit: u32,
    /// Log filter, as tracing directives
    #[arg(long, default_value = "info", env = "SECATEUR_LOG")]
    pub log: String,
    /// Format of log lines
    #[arg(long, value_enum, default_value = "text", env = "SECATEUR_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    pub stdin_lifeline: bool,
}

/// Reason why a node must not listen as configured. The program exits with status 2.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A certificate, a key or the shared secret is unusable.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The address is reachable from outside the machine and nothing protects it.
    #[error(transparent)]
    Exposed(#[from] ExposedError),
}

impl NodeSettings {
    /// Checks that the node may listen on its address with the protection that is configured.
    pub fn check_listen(&self) -> Result<(), ListenError> {
        Ok(check_exposure(self.listen, &self.link.guard()?, self.insecure)?)
    }

    /// Load options for the language model of one stage; the vision tower has to be requested on top.
    pub fn load_options(&self, stage: Stage) -> LoadOptions {
        LoadOptions {
            stage,
            device: self.device,
            dtype: self.dtype,
            weights: self.weights,
            threads: self.threads.map(|threads| threads as usize),
            ..LoadOptions::default()
        }
    }
}

/// Parses `on` or `off`.
pub fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}` is neither on nor off")),
    }
}

fn parse_weights(text: &str) -> Result<WeightFormat, String> {
    WeightFormat::from_name(text).ok_or_else(|| format!("`{text}` is neither native nor int8"))
}

fn parse_device(text: &str) -> Result<DeviceKind, String> {
    match text.split_once(':') {
        None if text == "cpu" => Ok(DeviceKind::Cpu),
        None if text == "cuda" => Ok(DeviceKind::Cuda(0)),
        Some(("cuda", ordinal)) => usize::from_str(ordinal)
            .map(DeviceKind::Cuda)
            .map_err(|_| format!("`{ordinal}` is not the number of a GPU")),
        _ => Err(format!("`{text}` is neither cpu nor cuda:N")),
    }
}

fn parse_dtype(text: &str) -> Result<FloatType, String> {
    FloatType::from_name(text).ok_or_else(|| format!("`{text}` is none of f32, bf16, f16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse() {
        assert_eq!(parse_device("cpu"), Ok(DeviceKind::Cpu));
        assert_eq!(parse_device("cuda:1"), Ok(DeviceKind::Cuda(1)));
        assert!(parse_device("tpu").is_err());
        assert!(parse_device("cuda:x").is_err());
    }
}
