//! Puts the router together and serves.

use std::{sync::Arc, time::Duration};

use secateur_channel::{OpenError, SecurityError};
use secateur_common::shutdown::CancellationToken;
use tokio::net::TcpListener;

use crate::{
    admission::Admission,
    app::{App, Parts},
    cluster::{Cluster, Sites},
    config::RouterSettings,
    fetch::{self, Fetcher, HostRule, HostRuleError, Means, TrustError, system_trust},
    http,
    keys::{self, KeysError},
    lookup::system_lookup,
    request::Limits,
    served::{self, LoadError, ServedModel},
};

/// Most bytes of one encoded picture.
const IMAGE_BYTES_MAX: usize = 20 * 1024 * 1024;

/// Why the router cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The model folder cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A node address cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A certificate, a key or the cluster secret cannot be used.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// An entry of `--image-url-host` cannot be used.
    #[error("--image-url-host: {0}")]
    ImageHost(#[from] HostRuleError),
    /// Pictures cannot be fetched over TLS.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The file of API keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Loading the model folder ended in a panic.
    #[error("the model folder could not be read")]
    LoadPanicked,
}

/// Serves on `listener` until `shutdown` is cancelled, then finishes the requests in flight and returns.
pub async fn serve(
    settings: RouterSettings,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let model = load(&settings).await?;
    serve_model(model, settings, listener, shutdown).await
}

/// Reads what the router needs of the model folder.
pub async fn load(settings: &RouterSettings) -> Result<ServedModel, ServeError> {
    let (folder, name) = (settings.model.clone(), settings.served_model_name.clone());
    let model = tokio::task::spawn_blocking(move || served::load(&folder, name.as_deref()));
    let mut model = model.await.map_err(|_| ServeError::LoadPanicked)??;
    // Without a template that takes tools, the model would not be told of them.
    if model.tool_dialect.is_some() {
        model.tool_dialect = settings.tool_dialect.or(model.tool_dialect);
    }
    Ok(model)
}

/// Serves `model` as [`serve`] does.
pub async fn serve_model(
    model: ServedModel,
    settings: RouterSettings,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let model = Arc::new(model);

    // The probes outlive `shutdown`: while draining, requests in flight still need to know their nodes.
    let probes = CancellationToken::new();
    let _stop_probes = probes.clone().drop_guard();
    let digest = model.tokenizer_digest.clone();
    let channels = settings.link.channels()?;
    let certificate = http::certificate(&settings)?;
    let sites = Sites { prefill: &settings.prefill, decode: &settings.decode, lookup: system_lookup() };
    let cluster = Cluster::start(&sites, &channels, digest, settings.placement, &probes)?;
    let limits =
        Limits { images_max: settings.max_images as usize, image_bytes_max: IMAGE_BYTES_MAX, vocab: model.vocab };
    let fetcher = fetcher(&settings)?;
    let (keyring, keys_file) = keys::open(&settings.api_key, settings.api_keys_file.as_deref())?;
    let keyring = Arc::new(keyring);
    tracing::info!(
        model = model.name,
        prefill = ?settings.prefill,
        decode = ?settings.decode,
        placement = settings.placement.as_str(),
        keys = keyring.count(),
        tls = certificate.is_some(),
        "router serves"
    );
    if let Some(file) = keys_file {
        tokio::spawn(keys::watch(keyring.clone(), file, shutdown.clone()));
    }
    let app = Arc::new(App::new(Parts {
        model,
        cluster,
        admission: Admission::new(
            settings.max_concurrent as usize,
            settings.max_waiting as usize,
            usize::try_from(settings.held_bytes()).unwrap_or(usize::MAX),
        ),
        limits,
        fetcher,
        body_bytes_max: usize::try_from(settings.max_body_bytes).unwrap_or(usize::MAX),
        connections_max: settings.max_connections as usize,
        request_timeout: Duration::from_secs(settings.request_timeout),
        keys: keyring,
    }));
    let routes = http::routes(app.clone(), &settings.cors_origin);
    http::run(listener, routes, app, certificate, shutdown).await;
    Ok(())
}

/// What fetches pictures by URL, unless no host is allowed. An empty entry, which an unset variable in a compose file
/// produces, is dropped.
fn fetcher(settings: &RouterSettings) -> Result<Option<Fetcher>, ServeError> {
    let entries = settings.image_url_host.iter().filter(|entry| !entry.trim().is_empty());
    let rules: Vec<HostRule> = entries.map(|entry| entry.parse()).collect::<Result<_, _>>()?;
    if rules.is_empty() {
        return Ok(None);
    }
    let bounds = fetch::Bounds {
        timeout: Duration::from_secs(settings.image_url_timeout),
        picture_bytes_max: IMAGE_BYTES_MAX,
        cache_bytes: usize::try_from(settings.image_url_cache_bytes).unwrap_or(usize::MAX),
        concurrency: settings.image_url_concurrency as usize,
    };
    Ok(Some(Fetcher::new(rules, bounds, Means { lookup: system_lookup(), tls: system_trust()? })))
}
