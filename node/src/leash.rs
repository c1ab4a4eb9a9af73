//! Cancellation on drop, for work that must not outlive the request that it is done for.

use secateur_common::shutdown::CancellationToken;

use crate::bell::{Bell, RingOnDrop};

/// Cancels its token when dropped: held by the future or stream that serves a request, so that a disconnect, a
/// deadline or an error ends the work behind it, wherever that runs.
#[derive(Debug)]
pub struct Leash {
    token: CancellationToken,
    // Dropped after the token was cancelled, so that the engine finds it cancelled when it wakes.
    _wakes: Option<RingOnDrop>,
}

impl Leash {
    /// Ties `token` to the life of the returned value.
    pub fn new(token: CancellationToken) -> Self {
        Self { token, _wakes: None }
    }

    /// Ties `token` to the life of the returned value and rings `bell` after cancelling, for work on a thread that
    /// waits on the bell.
    pub fn waking(token: CancellationToken, bell: &Bell) -> Self {
        Self { token, _wakes: Some(bell.on_drop()) }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_leash_cancels() {
        let token = CancellationToken::new();
        let leash = Leash::new(token.clone());
        assert!(!token.is_cancelled());
        drop(leash);
        assert!(token.is_cancelled());
    }
}
