//! The router's settings.

mod origin;

use std::path::PathBuf;

use clap::{Args, Command, ValueEnum};
use secateur_channel::{AddressError, LinkSecurity, check_address};
use secateur_common::{config::Layers, telemetry::LogFormat};

use crate::{
    fetch::{HostRule, HostRuleError},
    tools::Dialect,
};

pub use origin::{Origin, OriginError};

/// Default of `--max-held-bytes`, in multiples of the largest body. One peer may hold half of all memory, and large
/// requests three quarters of that, so the largest body may take six times its size once it is parsed.
const HELD_BODIES: u64 = 16;
const HELD_BYTES_LEAST: u64 = 512 * 1024 * 1024;

/// The router's settings, from flags, environment and file.
#[derive(Clone, Debug, Args)]
pub struct RouterSettings {
    /// Where the settings come from
    #[command(flatten)]
    pub layers: Layers,

    /// Address to serve HTTP on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080", env = "SECATEUR_ROUTER_LISTEN")]
    pub listen: String,

    /// Checkpoint: a folder in the Hugging Face layout, or a GGUF file; only its tokenizer, chat template and
    /// configuration are read
    #[arg(long, value_name = "DIR", env = "SECATEUR_MODEL")]
    pub model: PathBuf,

    /// The model's name towards clients [default: the folder's name; of a snapshot in a Hugging Face cache, its
    /// repository]
    #[arg(long, value_name = "NAME", env = "SECATEUR_SERVED_MODEL_NAME")]
    pub served_model_name: Option<String>,

    /// Prefill nodes. Names are looked up every second, and each address behind one is a node of its own
    #[arg(
        long, value_name = "HOST:PORT,...", env = "SECATEUR_PREFILL", required = true, value_delimiter = ',',
        value_parser = node_address
    )]
    pub prefill: Vec<String>,

    /// Decode nodes, found in the same way; prefill nodes must reach them under the same addresses
    #[arg(
        long, value_name = "HOST:PORT,...", env = "SECATEUR_DECODE", required = true, value_delimiter = ',',
        value_parser = node_address
    )]
    pub decode: Vec<String>,

    /// Which pairs of nodes may serve a request
    #[arg(long, value_enum, default_value_t = PlacementMode::Auto, env = "SECATEUR_PLACEMENT")]
    pub placement: PlacementMode,

    /// Requests at the nodes at once
    #[arg(
        long, value_name = "N", default_value_t = 64, env = "SECATEUR_ROUTER_MAX_CONCURRENT",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub max_concurrent: u32,

    /// Requests that may wait for their turn; beyond that the answer is 429
    #[arg(
        long, value_name = "N", default_value_t = 256, env = "SECATEUR_ROUTER_MAX_WAITING",
        value_parser = clap::value_parser!(u32).range(0..=100_000)
    )]
    pub max_waiting: u32,

    /// Seconds after which a request is given up
    #[arg(
        long, value_name = "SECONDS", default_value_t = 120, env = "SECATEUR_ROUTER_REQUEST_TIMEOUT",
        value_parser = clap::value_parser!(u64).range(1..=3_600)
    )]
    pub request_timeout: u64,

    /// Largest request body, also once it is inflated
    #[arg(
        long, value_name = "BYTES", default_value_t = 32 * 1024 * 1024, env = "SECATEUR_ROUTER_MAX_BODY_BYTES",
        value_parser = clap::value_parser!(u64).range(1_024..=1024 * 1024 * 1024)
    )]
    pub max_body_bytes: u64,

    /// Memory for bodies, what is read from them, and pictures, of all requests together; beyond that the answer is
    /// 429. One client address has at most half [default: 16 times --max-body-bytes, at least 512 MiB]
    #[arg(
        long, value_name = "BYTES", env = "SECATEUR_ROUTER_MAX_HELD_BYTES",
        value_parser = clap::value_parser!(u64).range(65_536..=1 << 40)
    )]
    pub max_held_bytes: Option<u64>,

    /// Connections of clients, and requests on those of HTTP/2. One address has at most half of either. Where there are
    /// more connections, those that have waited longest for their client's next words are closed
    #[arg(
        long, value_name = "N", default_value_t = 4_096, env = "SECATEUR_ROUTER_MAX_CONNECTIONS",
        value_parser = clap::value_parser!(u32).range(2..=1_000_000)
    )]
    pub max_connections: u32,

    /// Most pictures in one request
    #[arg(
        long, value_name = "N", default_value_t = 16, env = "SECATEUR_ROUTER_MAX_IMAGES",
        value_parser = clap::value_parser!(u32).range(0..=1_000)
    )]
    pub max_images: u32,

    /// How the model writes calls of tools [default: what its chat template asks for]
    #[arg(long, value_enum, value_name = "DIALECT", env = "SECATEUR_ROUTER_TOOL_DIALECT")]
    pub tool_dialect: Option<Dialect>,

    /// Hosts that pictures given by URL (image_url) are fetched from: names, *.NAME for all below a name, * for every
    /// public host, each on ports 80 and 443 or with a port of its own. HOST:PORT!private may have private addresses,
    /// for a store of pictures inside the network. None: pictures come in the request alone
    #[arg(
        long, value_name = "HOST,...", env = "SECATEUR_ROUTER_IMAGE_URL_HOST", value_delimiter = ',',
        value_parser = image_host
    )]
    pub image_url_host: Vec<String>,

    /// Seconds after which the download of a picture is given up, redirects included
    #[arg(
        long, value_name = "SECONDS", default_value_t = 5, env = "SECATEUR_ROUTER_IMAGE_URL_TIMEOUT",
        value_parser = clap::value_parser!(u64).range(1..=600)
    )]
    pub image_url_timeout: u64,

    /// Memory for fetched pictures, so that the next turn of a conversation does not fetch them again; 0 for none
    #[arg(
        long, value_name = "BYTES", default_value_t = 64 * 1024 * 1024, env = "SECATEUR_ROUTER_IMAGE_URL_CACHE_BYTES",
        value_parser = clap::value_parser!(u64).range(0..=1 << 40)
    )]
    pub image_url_cache_bytes: u64,

    /// Pictures that are fetched at once; others wait
    #[arg(
        long, value_name = "N", default_value_t = 16, env = "SECATEUR_ROUTER_IMAGE_URL_CONCURRENCY",
        value_parser = clap::value_parser!(u32).range(1..=1_024)
    )]
    pub image_url_concurrency: u32,

    /// Certificate for HTTPS, PEM with its chain; needs --http-tls-key. Clients are then served over TLS alone. New files
    /// are taken within seconds, without a restart
    #[arg(long, value_name = "FILE", env = "SECATEUR_ROUTER_HTTP_TLS_CERT")]
    pub http_tls_cert: Option<PathBuf>,

    /// Private key of --http-tls-cert, PEM
    #[arg(long, value_name = "FILE", env = "SECATEUR_ROUTER_HTTP_TLS_KEY")]
    pub http_tls_key: Option<PathBuf>,

    /// Origins of the web pages whose scripts may call this router (CORS), such as https://app.example; * for any
    /// [default: none]
    #[arg(
        long, value_name = "ORIGIN,...", env = "SECATEUR_ROUTER_CORS_ORIGIN", value_delimiter = ',',
        value_parser = clap::value_parser!(Origin)
    )]
    pub cors_origin: Vec<Origin>,

    /// Keys that clients must send as bearer tokens; none: everybody is served
    #[arg(long, value_name = "KEY,...", env = "SECATEUR_API_KEY", hide_env_values = true, value_delimiter = ',')]
    pub api_key: Vec<String>,

    /// TOML file of keys with names, limits and classes, read again when it changes; they are valid beside those of
    /// --api-key
    #[arg(long, value_name = "FILE", env = "SECATEUR_ROUTER_API_KEYS_FILE")]
    pub api_keys_file: Option<PathBuf>,

    /// What protects the connections to the nodes
    #[command(flatten)]
    pub link: LinkSecurity,

    /// Log filter, such as info or info,secateur_router=debug
    #[arg(long, value_name = "FILTER", default_value = "info", env = "SECATEUR_LOG")]
    pub log: String,

    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "SECATEUR_LOG_FORMAT")]
    pub log_format: LogFormat,

    /// Stop when standard input ends
    #[arg(long, hide = true)]
    pub stdin_lifeline: bool,
}

impl RouterSettings {
    /// Memory that requests may hold, in bytes.
    pub fn held_bytes(&self) -> u64 {
        self.max_held_bytes.unwrap_or_else(|| HELD_BYTES_LEAST.max(self.max_body_bytes * HELD_BODIES))
    }
}

/// Which pairs of nodes may serve a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlacementMode {
    /// Any pair; a pair on one machine is preferred where waiting for it costs less than shipping over the measured
    /// link
    #[default]
    Auto,
    /// Any pair, whatever machines its nodes run on
    Disaggregated,
    /// Only pairs on one machine, so that KV crosses no network
    Colocated,
}

impl PlacementMode {
    /// The mode's name on the command line and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            PlacementMode::Auto => "auto",
            PlacementMode::Disaggregated => "disaggregated",
            PlacementMode::Colocated => "colocated",
        }
    }
}

/// The command without its settings, which [`secateur_common::config::parse`] adds.
pub fn command() -> Command {
    Command::new("secateur-router")
        .version(secateur_common::version::long())
        .about("Secateur's router: OpenAI's API in front of prefill and decode nodes")
}

fn node_address(text: &str) -> Result<String, AddressError> {
    let address = text.trim();
    check_address(address)?;
    Ok(address.to_owned())
}

fn image_host(text: &str) -> Result<String, HostRuleError> {
    let entry = text.trim();
    if !entry.is_empty() {
        entry.parse::<HostRule>()?;
    }
    Ok(entry.to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use secateur_common::config::{ConfigError, parse};

    use super::*;

    fn parsed(arguments: &[&str]) -> Result<RouterSettings, ConfigError> {
        let arguments = std::iter::once("router").chain(arguments.iter().copied()).map(OsString::from);
        parse::<RouterSettings>(command(), arguments).map(|layered| layered.settings)
    }

    #[test]
    fn lists_are_split_and_defaults_hold() {
        let settings = parsed(&["--model", "/m", "--prefill", "a:1,b:2", "--decode", "c:3"]).unwrap();
        assert_eq!(settings.prefill, ["a:1", "b:2"]);
        assert_eq!(settings.max_concurrent, 64);
        assert_eq!(settings.placement, PlacementMode::Auto);
        assert!(settings.api_key.is_empty());
        assert_eq!(settings.held_bytes(), 512 << 20);
        let nodes = ["--model", "/m", "--prefill", "a:1", "--decode", "c:3"];
        let held = |flags: [&str; 2]| parsed(&[&nodes[..], &flags].concat()).unwrap().held_bytes();
        assert_eq!(held(["--max-body-bytes", "104857600"]), 1600 << 20);
        assert_eq!(held(["--max-held-bytes", "1048576"]), 1 << 20);
    }

    #[test]
    fn hosts_of_pictures_are_checked_and_none_is_the_default() {
        let nodes = ["--model", "/m", "--prefill", "a:1", "--decode", "c:3"];
        assert!(parsed(&nodes).unwrap().image_url_host.is_empty());
        let hosts = |list| parsed(&[&nodes[..], &["--image-url-host", list]].concat());
        assert_eq!(hosts("a.test, *.b.test:81").unwrap().image_url_host, ["a.test", "*.b.test:81"]);
        assert_eq!(hosts("").unwrap().image_url_host, [""]);
        let wrong = hosts("a.test,*!private").unwrap_err().to_string();
        assert!(wrong.contains("--image-url-host") && wrong.contains("!private"), "{wrong}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let missing = parsed(&["--model", "/m", "--prefill", "a:1"]).unwrap_err().to_string();
        assert!(missing.contains("--decode"), "{missing}");
        let wrong = parsed(&["--model", "/m", "--prefill", "a", "--decode", "c:3"]).unwrap_err().to_string();
        assert!(wrong.contains("host:port"), "{wrong}");
        let nodes = ["--model", "/m", "--prefill", "a:1", "--decode", "c:3", "--placement"];
        let wrong = parsed(&[nodes.as_slice(), &["near"]].concat()).unwrap_err().to_string();
        assert!(wrong.contains("--placement") && wrong.contains("colocated"), "{wrong}");
        let origin = parsed(&[&nodes[..6], &["--cors-origin", "https://a.example/chat"]].concat()).unwrap_err();
        assert!(origin.to_string().contains("--cors-origin") && origin.to_string().contains("path"), "{origin}");
        for mode in PlacementMode::value_variants() {
            assert_eq!(parsed(&[nodes.as_slice(), &[mode.as_str()]].concat()).unwrap().placement, *mode);
        }
    }
}
