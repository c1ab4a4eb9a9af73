//! Graceful stop: one token, cancelled by SIGINT, SIGTERM or the end of a parent process.

use tokio::io::{AsyncReadExt, stdin};
pub use tokio_util::sync::{CancellationToken, DropGuard};

/// A token that is cancelled at the first SIGINT or SIGTERM. A second signal ends the process at once.
pub fn on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("stopping: finishing what runs, taking nothing new");
        cancelled.cancel();
        wait_for_signal().await;
        std::process::exit(130);
    });
    token
}

/// Also cancels `token` when standard input ends: a child that holds the other end of its parent's pipe stops when the
/// parent dies, however it dies.
pub fn on_parent_end(token: &CancellationToken) {
    let token = token.clone();
    tokio::spawn(async move {
        let mut buffer = [0u8; 64];
        let mut input = stdin();
        while matches!(input.read(&mut buffer).await, Ok(n) if n > 0) {}
        token.cancel();
    });
}

#[cfg(unix)]
async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => wait_for_interrupt().await,
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() {
    wait_for_interrupt().await;
}

async fn wait_for_interrupt() {
    // Where no handler can be installed the process still ends by the signal's default action.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
