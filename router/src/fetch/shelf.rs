//! The pictures that are here and the downloads that are under way, so that requests for one URL share both.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::time::Instant;

use super::{
    cache::{Cache, Found},
    failure::Failure,
};

type Outcome = Result<Found, Failure>;
/// A download. It goes on while somebody waits for it.
pub type Download = Shared<BoxFuture<'static, Outcome>>;

/// How a picture is to be had.
pub enum Way {
    /// It is here.
    Here(Bytes),
    /// Another request has begun its download.
    Joined(Download),
    /// Its download begins with this request.
    Begun(Download),
}

/// The shelf; its clones are one.
#[derive(Clone)]
pub struct Shelf(Arc<Mutex<State>>);

struct State {
    cache: Cache,
    /// Downloads by URL. Those that nobody waits for are gone, and their entries go with the next download.
    running: HashMap<String, WeakShared<BoxFuture<'static, Outcome>>>,
}

impl Shelf {
    /// A shelf with room for `cache_bytes` bytes of pictures that nobody waits for.
    pub fn new(cache_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(State { cache: Cache::new(cache_bytes), running: HashMap::new() })))
    }

    /// The way to the picture at `url`, which begins with `download` if there is no other.
    pub fn way(&self, url: &str, download: impl Future<Output = Outcome> + Send + 'static) -> Way {
        let mut state = self.lock();
        if let Some(bytes) = state.cache.get(url, Instant::now()) {
            return Way::Here(bytes);
        }
        if let Some(running) = state.running.get(url).and_then(WeakShared::upgrade) {
            return Way::Joined(running);
        }
        let (shelf, key) = (self.clone(), url.to_owned());
        let download = async move {
            let outcome = download.await;
            shelf.finish(&key, &outcome);
            outcome
        };
        let download = download.boxed().shared();
        state.running.retain(|_, running| running.upgrade().is_some());
        if let Some(weak) = download.downgrade() {
            state.running.insert(url.to_owned(), weak);
        }
        Way::Begun(download)
    }

    fn finish(&self, url: &str, outcome: &Outcome) {
        let mut state = self.lock();
        state.running.remove(url);
        if let Ok(found) = outcome {
            state.cache.insert(url, found, Instant::now());
        }
    }

    /// Locks the state even if a request panicked: each update leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future;

    use super::*;

    fn found() -> Found {
        Found { digest: blake3::hash(b"a"), bytes: Bytes::from_static(b"a") }
    }

    #[tokio::test]
    async fn requests_share_a_download_and_then_its_picture() {
        let (shelf, begun) = (Shelf::new(10_000), Arc::new(AtomicUsize::new(0)));
        let download = || {
            let begun = begun.clone();
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                Ok(found())
            }
        };
        let Way::Begun(first) = shelf.way("u", download()) else { panic!("nobody else asked") };
        let Way::Joined(second) = shelf.way("u", download()) else { panic!("it is under way") };
        assert!(matches!(shelf.way("v", download()), Way::Begun(_)), "another URL is another picture");
        assert_eq!(future::join(first, second).await, (Ok(found()), Ok(found())));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert!(matches!(shelf.way("u", download()), Way::Here(bytes) if bytes == found().bytes));
    }

    #[tokio::test]
    async fn a_failure_and_a_download_that_all_have_left_leave_nothing() {
        let shelf = Shelf::new(10_000);
        let Way::Begun(fails) = shelf.way("u", future::ready(Err(Failure::NotAPicture))) else { panic!() };
        assert_eq!(fails.await, Err(Failure::NotAPicture));
        let Way::Begun(hangs) = shelf.way("u", future::pending()) else { panic!("a failure is not kept") };
        drop(hangs);
        let Way::Begun(again) = shelf.way("u", future::ready(Ok(found()))) else { panic!("nobody waits for it") };
        assert_eq!(again.await, Ok(found()));
        assert!(shelf.lock().running.is_empty());
    }
}
