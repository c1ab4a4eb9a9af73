//! The front door: the pictures of one request, checked, shared with other requests, and downloaded a few at a time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use secateur_proto::ServiceError;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    cache::Found,
    dial::{Dialer, Means},
    download::Downloader,
    failure::Failure,
    hosts::HostRule,
    shelf::{Shelf, Way},
    target::Target,
};
use crate::{
    admission::Held,
    request::{Fetched, PictureUrl},
};

/// Most pictures of one request that are downloaded at once, so that one request does not take every slot.
const AT_ONCE: usize = 4;

/// Bounds on downloads.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Time for one picture, over all redirects.
    pub timeout: Duration,
    /// Largest picture, in bytes.
    pub picture_bytes_max: usize,
    /// Most bytes of pictures that are kept for later requests; 0 keeps none.
    pub cache_bytes: usize,
    /// Most downloads at once.
    pub concurrency: usize,
}

/// Fetches pictures by URL.
pub struct Fetcher {
    downloader: Arc<Downloader>,
    slots: Arc<Semaphore>,
    shelf: Shelf,
}

impl Fetcher {
    /// A fetcher for the hosts that `rules` admit.
    pub fn new(rules: Vec<HostRule>, bounds: Bounds, means: Means) -> Self {
        let dialer = Dialer::new(means, bounds.concurrency);
        Self {
            downloader: Arc::new(Downloader {
                rules,
                dialer,
                timeout: bounds.timeout,
                bytes_max: bounds.picture_bytes_max,
            }),
            slots: Arc::new(Semaphore::new(bounds.concurrency)),
            shelf: Shelf::new(bounds.cache_bytes),
        }
    }

    /// Refuses URLs that would not be fetched, without fetching any.
    pub fn check(&self, wanted: &[PictureUrl]) -> Result<(), ServiceError> {
        wanted.iter().try_for_each(|wanted| self.target(wanted).map(drop))
    }

    /// Fetches pictures for a request whose memory is `held`, until `deadline`. Fails with the first picture, in order,
    /// that cannot be had.
    pub async fn fetch(
        &self,
        wanted: Vec<PictureUrl>,
        held: &Arc<Held>,
        deadline: Instant,
    ) -> Result<Fetched, ServiceError> {
        // All are checked before the first is fetched.
        let targets: Vec<Target> = wanted.iter().map(|wanted| self.target(wanted)).collect::<Result<_, _>>()?;
        let one = |(wanted, target): (PictureUrl, Target)| async move {
            let picture = timeout_at(deadline, self.picture(target, held)).await.unwrap_or(Err(Failure::Late));
            match picture {
                Ok(bytes) => Ok((wanted.url, bytes)),
                Err(failure) => Err(failure.at(&wanted.param)),
            }
        };
        stream::iter(wanted.into_iter().zip(targets)).map(one).buffered(AT_ONCE).try_collect().await
    }

    fn target(&self, wanted: &PictureUrl) -> Result<Target, ServiceError> {
        Target::of(&wanted.url, &self.downloader.rules).map_err(|failure| failure.at(&wanted.param))
    }

    /// The picture at `target`. Where another request began its download and then had no room for it, this one begins
    /// its own.
    async fn picture(&self, target: Target, held: &Arc<Held>) -> Result<Bytes, Failure> {
        let bytes = match self.way(&target, held) {
            Way::Here(bytes) => bytes,
            Way::Begun(download) => return download.await.map(|found| found.bytes),
            Way::Joined(download) => match download.await {
                Err(Failure::Room(_)) => return self.own(target, held).await.map(|found| found.bytes),
                found => found?.bytes,
            },
        };
        held.grow(bytes.len()).map_err(Failure::Room)?;
        Ok(bytes)
    }

    fn way(&self, target: &Target, held: &Arc<Held>) -> Way {
        self.shelf.way(target.key(), self.own(target.clone(), held))
    }

    /// A download for the account of `held`, as soon as there is a slot.
    fn own(&self, target: Target, held: &Arc<Held>) -> impl Future<Output = Result<Found, Failure>> + Send + use<> {
        let (downloader, slots, held) = (self.downloader.clone(), self.slots.clone(), held.clone());
        async move {
            let host = target.host().to_owned();
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await.map_err(|_| Failure::Unreachable)?;
            let begun = Instant::now();
            let outcome = downloader.download(target, &held).await;
            let ms = begun.elapsed().as_millis() as u64;
            match &outcome {
                Ok(found) => tracing::debug!(host, ms, bytes = found.bytes.len(), "picture fetched"),
                Err(reason) => tracing::info!(host, ms, %reason, "picture not fetched"),
            }
            outcome
        }
    }
}
