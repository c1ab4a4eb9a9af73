//! Returns memory to the system that the allocator retains after a connection that held a lot of it has gone.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, task::spawn_blocking, time::sleep};

/// Delay before memory is returned: several tasks drop what a connection held, and many connections may end at once.
const PAUSE: Duration = Duration::from_secs(1);

static IS_DUE: AtomicBool = AtomicBool::new(false);

/// Guard of a scheduled return of memory; until it is dropped, no other one is scheduled.
struct Due;

impl Drop for Due {
    fn drop(&mut self) {
        IS_DUE.store(false, Ordering::Release);
    }
}

/// Schedules the return of free memory to the system, once for all calls until then. Does nothing outside a tokio
/// runtime.
pub(super) fn soon() {
    let Ok(runtime) = Handle::try_current() else { return };
    if IS_DUE.swap(true, Ordering::AcqRel) {
        return;
    }
    let due = Due;
    runtime.spawn(async move {
        sleep(PAUSE).await;
        drop(due);
        // Fails only if the runtime is shutting down.
        let _ = spawn_blocking(trim).await;
    });
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: `malloc_trim` takes no pointer, and glibc allows it at any time on any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing: other allocators return memory by themselves, or not at all.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
