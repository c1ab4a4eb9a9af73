//! Resolving names to addresses.

use std::{io, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;

/// A function that resolves `host:port` to addresses.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The operating system's resolver.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) }))
}
