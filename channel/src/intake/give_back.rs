//! Memory that the allocator keeps for a next time when a connection is gone that held a lot of it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, task::spawn_blocking, time::sleep};

/// What a connection held is dropped by several tasks, and many may end at once: they are waited for.
const PAUSE: Duration = Duration::from_secs(1);

static IS_DUE: AtomicBool = AtomicBool::new(false);

/// That memory will be given back; until this is dropped nobody else needs to.
struct Due;

impl Drop for Due {
    fn drop(&mut self) {
        IS_DUE.store(false, Ordering::Release);
    }
}

/// Gives free memory back to the system, in a moment and once for all who ask until then.
pub(super) fn soon() {
    let Ok(runtime) = Handle::try_current() else { return };
    if IS_DUE.swap(true, Ordering::AcqRel) {
        return;
    }
    let due = Due;
    runtime.spawn(async move {
        sleep(PAUSE).await;
        drop(due);
        // An error is a runtime that ends.
        let _ = spawn_blocking(trim).await;
    });
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: takes no pointer and may be called at any time by any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves, or not at all.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
