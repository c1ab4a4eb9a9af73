//! Brings changes of the file of keys into force while the router serves.

use std::{sync::Arc, time::Duration};

use secateur_common::shutdown::CancellationToken;
use tokio::time::{Instant, sleep};

use super::{file::KeysFile, keyring::Keyring};

/// Time between two looks at the file.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks at the file until `stop` is cancelled. A file that cannot be used leaves the keys as they are, with one
/// warning.
pub async fn watch(keyring: Arc<Keyring>, mut file: KeysFile, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(PAUSE) => {}
        }
        let look = tokio::task::spawn_blocking(move || {
            let change = file.changed();
            (file, change)
        });
        // Only a panic, which the hook reports, or the end of the runtime keeps a look from ending.
        let Ok((back, change)) = look.await else { return };
        file = back;
        match change {
            None => {}
            Some(Ok(entries)) => {
                keyring.replace(entries, Instant::now());
                tracing::info!(keys = keyring.count(), "the file of API keys has changed and is in force");
            }
            Some(Err(error)) => tracing::warn!(%error, "the API keys stay as they were"),
        }
    }
}
