//! Puts the router together and serves.

use std::{sync::Arc, time::Duration};

use secateur_channel::{OpenError, SecurityError};
use secateur_common::shutdown::CancellationToken;
use tokio::net::TcpListener;

use crate::{
    admission::Admission,
    app::{App, Parts},
    cluster::{Cluster, Sites, system_lookup},
    config::RouterSettings,
    http,
    openai::Limits,
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
    Ok(model.await.map_err(|_| ServeError::LoadPanicked)??)
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
    let api_keys = keys(&settings.api_key);
    tracing::info!(
        model = model.name,
        prefill = ?settings.prefill,
        decode = ?settings.decode,
        placement = settings.placement.as_str(),
        keys = api_keys.len(),
        tls = certificate.is_some(),
        "router serves"
    );
    let app = Arc::new(App::new(Parts {
        model,
        cluster,
        admission: Admission::new(
            settings.max_concurrent as usize,
            settings.max_waiting as usize,
            usize::try_from(settings.held_bytes()).unwrap_or(usize::MAX),
        ),
        limits,
        body_bytes_max: usize::try_from(settings.max_body_bytes).unwrap_or(usize::MAX),
        connections_max: settings.max_connections as usize,
        request_timeout: Duration::from_secs(settings.request_timeout),
        api_keys,
    }));
    let routes = http::routes(app.clone(), &settings.cors_origin);
    http::run(listener, routes, app, certificate, shutdown).await;
    Ok(())
}

/// Digests of the API keys. An empty key, which an unset variable in a compose file produces, is dropped: no client
/// could send it.
fn keys(keys: &[String]) -> Vec<blake3::Hash> {
    let keys = keys.iter().map(|key| key.trim()).filter(|key| !key.is_empty());
    keys.map(|key| blake3::hash(key.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_keys_are_none() {
        let given = |keys_given: &[&str]| keys(&keys_given.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        assert!(given(&["", " "]).is_empty());
        assert_eq!(given(&["a", "", " b "]), [blake3::hash(b"a"), blake3::hash(b"b")]);
    }
}
