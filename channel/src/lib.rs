//! Connections between the programs of a cluster, and their protection.
//!
//! ```text
//! settings.rs     settings: certificate, key, trusted authority, server name, secret
//! pem.rs          reading certificate and key files, with errors that name the flag
//! secret.rs       the shared secret: never printed, compared in constant time
//! exposure.rs     which addresses may be listened on without protection (none but loopback)
//! dial.rs         the client's side: channels that notice a dead peer, over TLS where it is set
//! greeting.rs     probe of what answers at an address, to explain a failed call
//! link.rs         a channel that sends the secret with every call
//! guard.rs        the server's side: TLS and the check of the secret, before a node's services
//! certificate.rs  the certificate shown to clients from outside the cluster, renewed when its files change
//! accept.rs       accepting connections, with concurrent TLS handshakes; failed ones are logged
//! https.rs        the client's side towards an HTTPS server, such as a router, for probes
//! intake.rs       limits on what callers have in flight: connections, calls, unread bytes, first messages
//! watched.rs      a connection that fails when its peer is lost
//! vitals.rs       signs of life of a peer, from which its loss is told (plain data)
//! refusals.rs     rate-limited log of callers that were refused
//! ```

mod accept;
mod certificate;
mod dial;
mod exposure;
mod greeting;
mod guard;
mod https;
mod intake;
mod link;
mod pem;
mod refusals;
mod secret;
mod settings;
mod vitals;
mod watched;

pub use certificate::{Certificate, Protocols};
pub use dial::{AddressError, Channels, KeepAlive, OpenError, check_address, is_connect_failure, is_tls_failure};
pub use exposure::{ExposedError, check_exposure};
pub use greeting::{Greeting, greet};
pub use guard::{Guard, Guarded};
pub use https::{HttpsError, open_https};
pub use intake::{Caller, Intake, Seat};
pub use link::Link;
pub use pem::{ALPN_H2, PemError};
pub use secret::{Secret, SecretError};
pub use settings::{LinkSecurity, SecurityError};
pub use vitals::SILENCE_MAX;
