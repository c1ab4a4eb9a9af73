//! The things to examine: from flags, from a role's configuration, or those that a first start needs.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Context;
use clap::{Args, Command, FromArgMatches};
use secateur_channel::LinkSecurity;
use secateur_common::config::{self, ConfigError};
use secateur_decode_node::DecodeSettings;
use secateur_model::{FloatType, WeightFormat};
use secateur_node::NodeSettings;
use secateur_prefill_node::PrefillSettings;
use secateur_proto::v1::Role;
use secateur_router::RouterSettings;

use super::{
    arguments::{ConfiguredRole, DoctorArguments},
    check::Check,
};
use crate::demo;

/// Default listen address of `secateur up` and of a router.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Everything to examine.
#[derive(Debug, Default)]
pub struct Asked {
    /// The address that a program is to listen on.
    pub listen: Option<Listen>,
    /// A checkpoint folder.
    pub model: Option<AskedModel>,
    /// Nodes that should be running.
    pub nodes: Vec<Peer>,
    /// A running router.
    pub url: Option<String>,
    /// Protection of the links to nodes.
    pub security: LinkSecurity,
}

/// An address to listen on.
#[derive(Debug)]
pub struct Listen {
    /// Address as `host:port`.
    pub address: String,
    /// Whether the address is the default: then a router that already listens there is as good as a free port.
    pub is_guess: bool,
}

/// A checkpoint folder, and how it would be served.
#[derive(Debug)]
pub struct AskedModel {
    /// The folder.
    pub dir: PathBuf,
    /// Whether weights are needed; routers read none.
    pub needs_weights: bool,
    /// A plan folder.
    pub plan: Option<PathBuf>,
    /// Format of weights and KV.
    pub dtype: Option<FloatType>,
    /// Format in which matrices are kept.
    pub weights: WeightFormat,
    /// Memory for KV, in bytes.
    pub kv_memory: Option<u64>,
}

/// A node that should be running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Address as `host:port`.
    pub address: String,
    /// Expected role; unspecified accepts either.
    pub role: Role,
}

impl Asked {
    /// The things that the arguments ask for. An error in the configuration file becomes a check.
    pub fn of(arguments: &DoctorArguments, checks: &mut Vec<Check>) -> anyhow::Result<Self> {
        let mut asked = Asked { security: arguments.security.clone(), url: arguments.url.clone(), ..Asked::default() };
        asked.nodes = arguments.node.iter().map(|address| Peer::new(address, Role::Unspecified)).collect();
        if let (Some(file), Some(role)) = (&arguments.config, arguments.role) {
            let taken = match role {
                ConfiguredRole::Router => asked.take_router(file),
                ConfiguredRole::Prefill => asked.take_prefill(file),
                ConfiguredRole::Decode => asked.take_decode(file),
            };
            let name = format!("configuration {}", file.display());
            checks.push(match taken {
                Ok(()) => Check::ok(name, format!("a {} would take it", word(role))),
                Err(why) => Check::failed(name, why, format!("`secateur {} --help` lists every setting", word(role))),
            });
        }
        asked.take_model(arguments)?;
        if let Some(address) = &arguments.listen {
            asked.listen = Some(Listen { address: address.clone(), is_guess: false });
        } else if arguments.is_open() {
            asked.listen = Some(Listen { address: DEFAULT_LISTEN.to_owned(), is_guess: true });
        }
        Ok(asked)
    }

    /// Adds the model from the flags, which take precedence over the configuration file.
    fn take_model(&mut self, arguments: &DoctorArguments) -> anyhow::Result<()> {
        if self.model.is_none() && (arguments.is_open() || arguments.model.is_some() || arguments.plan.is_some()) {
            let dir = demo::unless_given(arguments.model.as_deref()).context("--model")?;
            // The demo is served in f32 unless another format is requested.
            let dtype = arguments.model.is_none().then_some(FloatType::F32);
            let (plan, weights, kv_memory) = (None, WeightFormat::Native, None);
            self.model = Some(AskedModel { dir, needs_weights: true, plan, dtype, weights, kv_memory });
        }
        let Some(model) = &mut self.model else { return Ok(()) };
        if let Some(dir) = &arguments.model {
            model.dir = std::path::absolute(dir)?;
        }
        model.plan = arguments.plan.clone().or(model.plan.take());
        model.dtype = arguments.dtype.or(model.dtype);
        model.weights = arguments.weights.unwrap_or(model.weights);
        model.kv_memory = arguments.kv_memory.map(|size| size.as_u64()).or(model.kv_memory);
        Ok(())
    }

    fn take_router(&mut self, file: &std::path::Path) -> Result<(), String> {
        let settings: RouterSettings = read(secateur_router::command(), file)?;
        settings.link.channels().map_err(|error| error.to_string())?;
        secateur_router::http::certificate(&settings).map_err(|error| error.to_string())?;
        let peers =
            |list: &[String], role| list.iter().map(move |address| Peer::new(address, role)).collect::<Vec<_>>();
        self.nodes.extend(peers(&settings.prefill, Role::Prefill));
        self.nodes.extend(peers(&settings.decode, Role::Decode));
        self.security = settings.link;
        self.listen = Some(Listen { address: settings.listen, is_guess: false });
        let weights = WeightFormat::Native;
        self.model = Some(AskedModel {
            dir: settings.model,
            needs_weights: false,
            plan: None,
            dtype: None,
            weights,
            kv_memory: None,
        });
        Ok(())
    }

    fn take_prefill(&mut self, file: &std::path::Path) -> Result<(), String> {
        let settings: PrefillSettings = read(secateur_prefill_node::command(), file)?;
        settings.node.link.channels().map_err(|error| error.to_string())?;
        self.take_node(settings.node)
    }

    fn take_decode(&mut self, file: &std::path::Path) -> Result<(), String> {
        let settings: DecodeSettings = read(secateur_decode_node::command(), file)?;
        self.take_node(settings.node)
    }

    fn take_node(&mut self, node: NodeSettings) -> Result<(), String> {
        let allowed = node.check_listen().map_err(|error| error.to_string());
        self.model = Some(AskedModel {
            dir: node.model,
            needs_weights: true,
            plan: node.plan,
            dtype: node.dtype,
            weights: node.weights,
            kv_memory: node.kv_memory.map(|size| size.as_u64()),
        });
        self.listen = Some(Listen { address: node.listen.to_string(), is_guess: false });
        self.security = node.link;
        allowed
    }
}

impl Peer {
    fn new(address: &str, role: Role) -> Self {
        Self { address: address.to_owned(), role }
    }
}

/// The settings as the role itself would read them.
fn read<T: Args + FromArgMatches>(command: Command, file: &std::path::Path) -> Result<T, String> {
    let arguments = [OsString::from(command.get_name()), "--config".into(), file.into()];
    match config::parse::<T>(command, arguments) {
        Ok(layered) => Ok(layered.settings),
        // The text after the first paragraph explains how to call the role.
        Err(ConfigError::Usage(error)) => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            Err(first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" "))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn word(role: ConfiguredRole) -> &'static str {
    match role {
        ConfiguredRole::Router => "router",
        ConfiguredRole::Prefill => "prefill",
        ConfiguredRole::Decode => "decode",
    }
}
