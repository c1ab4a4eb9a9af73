//! Check whether a node answers, and if not, which step fails: name, connection, protocol, protection, answer.

use std::{
    io::ErrorKind,
    time::{Duration, SystemTime},
};

use secateur_channel::{Channels, is_tls_failure};
use secateur_node::{identity::unix_ms, link};
use secateur_proto::{
    ErrorCode, ServiceError,
    error::is_from_service,
    v1::{DescribeRequest, NodeDescription, node_client::NodeClient},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tonic::{Code, Status};

use super::{check::Check, clock::Clock};

const STEP_MAX: Duration = Duration::from_secs(3);
/// Timeout of a node's description: a node that is loading listens already, and answers when it is done.
const DESCRIBE_MAX: Duration = Duration::from_secs(5);
/// The beginning of HTTP/2: the preface, and empty settings.
const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A node that answered.
#[derive(Debug)]
pub struct Seen {
    /// The node's description of itself.
    pub description: NodeDescription,
    /// The node's clock relative to this machine's; `None` for versions that do not report it.
    pub clock: Option<Clock>,
}

/// The reason why no node answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The name has no address.
    NoSuchName,
    /// The machine exists, and nothing listens on the port.
    Refused,
    /// The connection attempt gets no response at all.
    Unanswered,
    /// There is no route to the address.
    Unroutable(String),
    /// TLS or a certificate failed.
    Tls,
    /// The other side requires TLS.
    WantsTls,
    /// The cluster's secret was refused.
    Secret,
    /// The other side is an HTTP server and no node.
    Http,
    /// The other side is a gRPC server that is no node, or a node of another version.
    NotANode,
    /// The other side accepts connections and sends nothing.
    Silent,
    /// The other side sends bytes of no known protocol.
    Stranger,
    /// Any other error, with its message, mostly the node's own.
    Said(String),
}

/// Queries the node at `address`, which was found under the host name `name` if that is given.
pub async fn node(channels: &Channels, address: &str, name: Option<&str>) -> Result<Seen, Trouble> {
    connect(address).await?;
    let channel = link::open_as(channels, address, name).map_err(|error| Trouble::Said(error.message))?;
    let mut client = NodeClient::new(channel);
    let asked = SystemTime::now();
    match timeout(DESCRIBE_MAX, client.describe(DescribeRequest {})).await {
        Err(_) => Err(Trouble::Silent),
        Ok(Err(status)) => Err(trouble(&status, address).await),
        Ok(Ok(answer)) => {
            let description = answer.into_inner();
            let clock = Clock::read(description.unix_ms, unix_ms(asked), unix_ms(SystemTime::now()));
            Ok(Seen { description, clock })
        }
    }
}

/// Opens a TCP connection to `host:port`.
pub async fn connect(address: &str) -> Result<TcpStream, Trouble> {
    let resolved = match timeout(STEP_MAX, lookup_host(address)).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    if resolved.is_empty() {
        return Err(Trouble::NoSuchName);
    }
    match timeout(STEP_MAX, TcpStream::connect(resolved.as_slice())).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Err(Trouble::Refused),
        Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => Err(Trouble::Unanswered),
        Ok(Err(error)) => Err(Trouble::Unroutable(error.to_string())),
        Err(_) => Err(Trouble::Unanswered),
    }
}

async fn trouble(status: &Status, address: &str) -> Trouble {
    if is_tls_failure(status) {
        return Trouble::Tls;
    }
    if is_from_service(status) {
        let error = ServiceError::from(status.clone());
        return if error.code == ErrorCode::UntrustedCaller { Trouble::Secret } else { Trouble::Said(error.message) };
    }
    match status.code() {
        Code::Unauthenticated => Trouble::Secret,
        Code::Unimplemented => no_node(address).await,
        // The transport failed although a connection is possible, so the protocol of the other side is probed.
        _ => match greeting(address).await {
            Trouble::NotANode => no_node(address).await,
            trouble => trouble,
        },
    }
}

/// Tells a server of another gRPC service from a web server that speaks HTTP/2, as a router does.
async fn no_node(address: &str) -> Trouble {
    if speaks_http(address).await { Trouble::Http } else { Trouble::NotANode }
}

/// Classifies the other side by its answer to the beginning of HTTP/2.
async fn greeting(address: &str) -> Trouble {
    let Ok(mut stream) = connect(address).await else { return Trouble::Stranger };
    let mut answer = [0; 5];
    let talk = async {
        stream.write_all(HTTP2_HELLO).await?;
        stream.read_exact(&mut answer).await
    };
    match timeout(STEP_MAX, talk).await {
        Ok(Ok(_)) => language(&answer),
        // HTTP/1 servers may close the connection without an answer.
        Ok(Err(_)) if speaks_http(address).await => Trouble::Http,
        Ok(Err(_)) => Trouble::Stranger,
        Err(_) => Trouble::Silent,
    }
}

async fn speaks_http(address: &str) -> bool {
    let Ok(mut stream) = connect(address).await else { return false };
    let mut answer = [0; 5];
    let talk = async {
        stream.write_all(format!("HEAD / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
        stream.read_exact(&mut answer).await
    };
    matches!(timeout(STEP_MAX, talk).await, Ok(Ok(_))) && answer == *b"HTTP/"
}

fn language(answer: &[u8; 5]) -> Trouble {
    match answer {
        // A TLS record: an alert, or a handshake.
        [0x15 | 0x16, 3, ..] => Trouble::WantsTls,
        b"HTTP/" => Trouble::Http,
        // The other side speaks HTTP/2; only the call failed.
        [_, _, _, 4, _] => Trouble::NotANode,
        _ => Trouble::Stranger,
    }
}

/// The check for a node at `address` that did not answer.
pub fn verdict(address: &str, trouble: &Trouble) -> Check {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let (found, advice) = match trouble {
        Trouble::NoSuchName => (
            format!("the name {host} has no address here"),
            format!("correct the name, or make it known (DNS, /etc/hosts): `getent hosts {host}`"),
        ),
        Trouble::Refused => (
            "the machine is there, and nothing listens on that port".to_owned(),
            format!(
                "start the node (`secateur prefill|decode --listen 0.0.0.0:{port}`: 127.0.0.1 is for its own machine \
                 alone), or correct the address {address}"
            ),
        ),
        Trouble::Unanswered => (
            "no answer, not even a refusal".to_owned(),
            format!("look for a firewall that drops port {port}, and for a machine that is off: `ping {host}`"),
        ),
        Trouble::Unroutable(why) => {
            (format!("cannot be reached: {why}"), format!("look at the routes and networks of this machine to {host}"))
        }
        Trouble::Tls => (
            "the two sides do not agree on TLS, or on a certificate".to_owned(),
            "give the same authority to all with --tls-ca, and a certificate of its own that bears the host's name \
             (--tls-cert, --tls-key, --tls-server-name); see docs/security.md"
                .to_owned(),
        ),
        Trouble::WantsTls => (
            "it wants TLS, and was called without".to_owned(),
            "give --tls-ca, --tls-cert and --tls-key here and to the router as well, or to nobody".to_owned(),
        ),
        Trouble::Secret => (
            "it does not accept this cluster secret".to_owned(),
            "give every program the same --cluster-secret-file".to_owned(),
        ),
        Trouble::Http => (
            "an HTTP server answers there, not a node".to_owned(),
            "this may be the router's address, or another program's; nodes have ports of their own".to_owned(),
        ),
        Trouble::NotANode => (
            "it speaks gRPC and does not describe itself as a node does".to_owned(),
            "give the address of a Secateur node, of this version".to_owned(),
        ),
        Trouble::Silent => (
            "it listens, and has not answered in time".to_owned(),
            "a node that still loads its model does so: wait, and look into its log; else another program has the port"
                .to_owned(),
        ),
        Trouble::Stranger => (
            "what answers there is no Secateur node".to_owned(),
            format!("another program has port {port}; correct the address {address}"),
        ),
        Trouble::Said(words) => (format!("it answered: {words}"), "its log says more".to_owned()),
    };
    Check::failed(format!("node {address}"), found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_tells_what_it_speaks() {
        assert_eq!(language(&[0x15, 3, 3, 0, 2]), Trouble::WantsTls);
        assert_eq!(language(b"HTTP/"), Trouble::Http);
        assert_eq!(language(&[0, 0, 6, 4, 0]), Trouble::NotANode);
        assert_eq!(language(b"SSH-2"), Trouble::Stranger);
    }

    #[test]
    fn every_trouble_has_advice_of_its_own() {
        use Trouble::*;
        let all = [
            NoSuchName,
            Refused,
            Unanswered,
            Unroutable("no route".into()),
            Tls,
            WantsTls,
            Secret,
            Http,
            NotANode,
            Silent,
            Stranger,
            Said("no".into()),
        ];
        let advice: std::collections::BTreeSet<String> =
            all.iter().map(|trouble| verdict("decode:7002", trouble)).map(|check| check.advice).collect();
        assert_eq!(advice.len(), all.len());
        assert!(verdict("decode:7002", &Refused).advice.contains("0.0.0.0:7002"));
        assert!(verdict("decode:7002", &NoSuchName).advice.contains("getent hosts decode"));
    }

    #[tokio::test]
    async fn a_closed_port_and_a_name_that_is_none_are_told_apart() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert_eq!(node(&Channels::default(), &closed, None).await.unwrap_err(), Trouble::Refused);
        assert_eq!(node(&Channels::default(), "no-such-host.invalid:1", None).await.unwrap_err(), Trouble::NoSuchName);
    }
}
