//! Graceful stop: one token, cancelled by SIGINT, SIGTERM or the end of a parent process.

use tokio::io::{AsyncReadExt, stdin};
pub use tokio_util::sync::{CancellationToken, DropGuard};

/// A token that is cancelled at the first SIGINT or SIGTERM. A second signal ends the process at once.
pub fn on_signal() -> CancellationToken {
    let Stops { first, again } = on_signals();
    tokio::spawn(async move {
        again.cancelled().await;
        std::process::exit(EXIT_INTERRUPTED);
    });
    first
}

/// Exit status of a process that a signal ended: 128 plus the number of SIGINT, as shells report it.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Tokens for the first and the second signal to stop, for a program that handles the second one itself.
pub struct Stops {
    /// Cancelled at the first SIGINT or SIGTERM: finish running work.
    pub first: CancellationToken,
    /// Cancelled at the second SIGINT or SIGTERM: stop at once.
    pub again: CancellationToken,
}

/// Listens for SIGINT and SIGTERM from now on.
pub fn on_signals() -> Stops {
    let stops = Stops { first: CancellationToken::new(), again: CancellationToken::new() };
    let (first, again) = (stops.first.clone(), stops.again.clone());
    let mut signals = Signals::listen();
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping: finishing what runs, taking nothing new");
        first.cancel();
        signals.next().await;
        again.cancel();
    });
    stops
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

/// Listeners for both signals. They stay registered, so a signal that comes between two waits is not lost.
#[cfg(unix)]
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // If no handler can be installed, the process still ends by the signal's default action.
        Self { interrupt: signal(SignalKind::interrupt()).ok(), terminate: signal(SignalKind::terminate()).ok() }
    }

    async fn next(&mut self) {
        tokio::select! {
            () = came(&mut self.interrupt) => {}
            () = came(&mut self.terminate) => {}
        }
    }
}

#[cfg(unix)]
async fn came(signal: &mut Option<tokio::signal::unix::Signal>) {
    // Without a handler, or after the end of the signal stream, no signal can come: wait for ever.
    let is_one = match signal {
        Some(signal) => signal.recv().await.is_some(),
        None => false,
    };
    if !is_one {
        std::future::pending::<()>().await;
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
