//! Connections between the programs of a cluster, and what protects them.
//!
//! ```text
//! settings.rs   what can be set: certificate, key, trusted authority, server name, secret
//! pem.rs        reading those files, with errors that name the flag
//! secret.rs     the shared secret: never printed, compared in constant time
//! exposure.rs   which addresses may be listened on without protection (none but loopback)
//! dial.rs       the client's side: channels that notice a dead peer, over TLS where it is set
//! greeting.rs   what answers at an address, where a call failed and nobody knows why
//! link.rs       a channel that shows the secret with every call
//! guard.rs      the server's side: TLS and the check of the secret, put before a node's services
//! accept.rs     connections and their TLS handshakes, each in its own time, failed ones logged
//! intake.rs     what callers may have under way: connections, calls, unread bytes, first messages
//! watched.rs    a connection that fails when its peer is lost
//! vitals.rs     the signs of life by which that is told (plain data)
//! refusals.rs   how often the log speaks of callers that were turned away
//! ```

mod accept;
mod dial;
mod exposure;
mod greeting;
mod guard;
mod intake;
mod link;
mod pem;
mod refusals;
mod secret;
mod settings;
mod vitals;
mod watched;

pub use dial::{AddressError, Channels, KeepAlive, OpenError, check_address, is_connect_failure, is_tls_failure};
pub use exposure::{ExposedError, check_exposure};
pub use greeting::{Greeting, greet};
pub use guard::{Guard, Guarded};
pub use intake::{Caller, Intake, Seat};
pub use link::Link;
pub use pem::PemError;
pub use secret::{Secret, SecretError};
pub use settings::{LinkSecurity, SecurityError};
pub use vitals::SILENCE_MAX;
