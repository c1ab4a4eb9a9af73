//! Check whether a program could listen on an address: it is bound as the programs bind it, and released.

use std::{io::ErrorKind, time::Duration};

use tokio::{net::TcpListener, time::timeout};

use super::{asked::Listen, check::Check, router};

/// Result of binding.
#[derive(Debug, PartialEq, Eq)]
pub enum Bound {
    /// The address is free.
    Free,
    /// Another program listens there.
    InUse(Holder),
    /// The address does not belong to this machine.
    NotOurs,
    /// Permission is denied, mostly for ports below 1024.
    Denied,
    /// Any other failure, in the system's words.
    Failed(String),
}

/// The program that holds a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A Secateur router.
    Router,
    /// Another program.
    Other,
}

/// Timeout of binding, which resolves names and so may take long.
const BIND_MAX: Duration = Duration::from_secs(5);

/// Tries to bind the address.
pub async fn examine(listen: &Listen) -> (Check, Bound) {
    let bound = bind(&listen.address).await;
    (verdict(listen, &bound), bound)
}

async fn bind(address: &str) -> Bound {
    let error = match timeout(BIND_MAX, TcpListener::bind(address)).await {
        Ok(Ok(_)) => return Bound::Free,
        Ok(Err(error)) => error,
        Err(_) => return Bound::Failed(format!("its name was not resolved within {} s", BIND_MAX.as_secs())),
    };
    match error.kind() {
        ErrorKind::AddrInUse => Bound::InUse(holder(address).await),
        ErrorKind::AddrNotAvailable => Bound::NotOurs,
        ErrorKind::PermissionDenied => Bound::Denied,
        _ => Bound::Failed(error.to_string()),
    }
}

async fn holder(address: &str) -> Holder {
    let reachable = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    if router::is_one(&format!("http://{reachable}")).await { Holder::Router } else { Holder::Other }
}

fn verdict(listen: &Listen, bound: &Bound) -> Check {
    let address = &listen.address;
    let name = format!("port {address}");
    let port = address.rsplit(':').next().unwrap_or_default();
    match bound {
        Bound::Free => Check::ok(name, "free"),
        Bound::InUse(Holder::Router) if listen.is_guess => Check::ok(name, "a Secateur router listens there"),
        Bound::InUse(holder) => {
            let found = match holder {
                Holder::Router => "in use, by a Secateur router",
                Holder::Other => "in use, by another program",
            };
            let advice = format!(
                "stop what listens there (`ss -ltnp 'sport = :{port}'` names it), or take another port: `secateur up \
                 --port N`, `--listen HOST:PORT` for a role"
            );
            Check::failed(name, found, advice)
        }
        Bound::NotOurs => {
            let advice = "listen on an address of this machine: 127.0.0.1 for itself alone, 0.0.0.0 for all networks";
            Check::failed(name, "no address of this machine", advice)
        }
        Bound::Denied => {
            Check::failed(name, "this user may not listen there", "take a port of 1024 or above, such as 8080")
        }
        Bound::Failed(why) => Check::failed(
            name,
            format!("cannot be listened on: {why}"),
            "write --listen HOST:PORT, such as 0.0.0.0:8080",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bound: Bound, is_guess: bool) -> Check {
        verdict(&Listen { address: "127.0.0.1:8080".to_owned(), is_guess }, &bound)
    }

    #[test]
    fn a_port_in_use_is_well_only_where_our_router_was_expected() {
        assert!(of(Bound::Free, false).ok);
        assert!(of(Bound::InUse(Holder::Router), true).ok);
        for (holder, is_guess) in [(Holder::Router, false), (Holder::Other, true), (Holder::Other, false)] {
            let check = of(Bound::InUse(holder), is_guess);
            assert!(
                !check.ok && check.advice.contains("sport = :8080") && check.advice.contains("--port"),
                "{check:?}"
            );
        }
    }

    #[test]
    fn each_reason_has_its_own_advice() {
        assert!(of(Bound::NotOurs, false).advice.contains("0.0.0.0"));
        assert!(of(Bound::Denied, false).advice.contains("1024"));
        assert!(of(Bound::Failed("no such host".into()), false).found.contains("no such host"));
    }

    #[tokio::test]
    async fn a_bound_port_is_found_in_use() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let (check, bound) = examine(&Listen { address, is_guess: false }).await;
        assert_eq!((check.ok, bound), (false, Bound::InUse(Holder::Other)));
    }
}
