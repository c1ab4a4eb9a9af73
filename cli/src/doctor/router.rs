//! Check of a running router: whether it is one, and its view of its nodes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, StatusCode, header::DATE};
use secateur_node::identity::unix_ms;
use serde::Deserialize;
use serde_json::Value;

use super::{
    check::Check,
    clock::Clock,
    reach::{self, Trouble},
};
use crate::key;

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A router that answered.
#[derive(Debug)]
pub struct Seen {
    /// The router's view of its cluster.
    pub view: View,
    /// The router's clock relative to this machine's.
    pub clock: Option<Clock>,
}

/// The fields of `GET /v1/cluster` that are examined.
#[derive(Debug, Deserialize)]
pub struct View {
    /// The model's name towards clients.
    pub model: String,
    /// BLAKE3 digest of its tokenizer.json.
    pub tokenizer_digest: String,
    /// Whether a pair of nodes can serve.
    pub ready: bool,
    /// The reason why it is not ready.
    pub reason: Option<String>,
    /// The router's nodes.
    pub nodes: Vec<NodeView>,
}

/// A node as the router sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeView {
    /// `prefill` or `decode`.
    pub role: String,
    /// Address as the router has it.
    pub address: String,
    /// The host name under which the node was found; `None` if the address itself was configured.
    #[serde(default)]
    pub name: Option<String>,
    /// The reason why the router does not use the node.
    pub unusable: Option<String>,
    /// The node's description of itself; `None` while it is down.
    pub node: Option<Described>,
}

/// A node's description of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Described {
    /// Program version.
    pub version: String,
    /// Protocol version.
    pub protocol: u32,
    /// Checkpoint folder's name.
    pub model: String,
    /// Identity of the checkpoint.
    pub model_fingerprint: String,
    /// Identity of the plan; empty if there is none.
    pub plan: String,
}

/// The reason why there is no view.
#[derive(Debug, PartialEq, Eq)]
pub enum NoView {
    /// No connection was possible.
    Unreached(Trouble),
    /// The router requires a key.
    WantsKey,
    /// Another kind of server answered.
    Another(String),
}

/// Whether the server at `base` identifies itself as a router without a key. A server that does not is never sent the
/// key.
pub async fn is_one(base: &str) -> bool {
    let title = async {
        let answer = client()?.get(format!("{base}/openapi.json")).send().await?;
        let document: Value = answer.json().await?;
        Ok::<_, reqwest::Error>(document["info"]["title"] == "Secateur")
    };
    title.await.unwrap_or(false)
}

// A proxy from the environment is only for addresses outside, so it is not used.
fn client() -> reqwest::Result<Client> {
    Client::builder().no_proxy().timeout(ANSWER_MAX).build()
}

/// Queries the router at `base`, `http://HOST:PORT`, with the environment's key.
pub async fn ask(base: &str) -> Result<Seen, NoView> {
    let another = |error: reqwest::Error| NoView::Another(error.without_url().to_string());
    let host = base.trim_start_matches("http://");
    let address = if host.rsplit_once(':').is_some() { host.to_owned() } else { format!("{host}:80") };
    reach::connect(&address).await.map_err(NoView::Unreached)?;
    let client = client().map_err(another)?;
    let mut request = client.get(format!("{base}/v1/cluster"));
    if let Some(key) = key::of_environment() {
        request = request.bearer_auth(key);
    }
    let asked = SystemTime::now();
    let answer = request.send().await.map_err(another)?;
    let heard = SystemTime::now();
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED {
        return Err(NoView::WantsKey);
    }
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
    let clock = date.and_then(|date| clock(&date, unix_ms(asked), unix_ms(heard)));
    match answer.json().await {
        Ok(view) => Ok(Seen { view, clock }),
        Err(_) => Err(NoView::Another(format!("it answers {status} to GET /v1/cluster, and not as a router does"))),
    }
}

fn clock(date: &str, asked: u64, heard: u64) -> Option<Clock> {
    let said = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Clock::of_seconds(said.as_secs(), asked, heard)
}

/// The check for the router's answer.
pub fn verdict(base: &str, asked: &Result<Seen, NoView>) -> Check {
    let name = format!("router {base}");
    match asked {
        Ok(seen) if seen.view.ready => {
            Check::ok(name, format!("serves {}, {} nodes", seen.view.model, seen.view.nodes.len()))
        }
        Ok(seen) => {
            let why = seen.view.reason.as_deref().unwrap_or("no pair of nodes is usable");
            let advice = "clients get 503 until one prefill and one decode node fit together; what follows says what is \
                          wrong with each";
            Check::failed(name, format!("cannot serve: {why}"), advice)
        }
        Err(NoView::Unreached(trouble)) => {
            let check = reach::verdict(base.trim_start_matches("http://"), trouble);
            let advice = match trouble {
                Trouble::Refused => "start it (`secateur up`, or `secateur router`), or correct --url".to_owned(),
                _ => check.advice,
            };
            Check::failed(name, check.found, advice)
        }
        Err(NoView::WantsKey) => {
            Check::failed(name, "it wants an API key", "set SECATEUR_API_KEY to one of the router's keys")
        }
        Err(NoView::Another(what)) => Check::failed(
            name,
            format!("no Secateur router: {what}"),
            "correct --url, or stop the program that has the port",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(ready: bool) -> View {
        let reason = (!ready).then(|| "no decode node is usable".to_owned());
        View { model: "m".into(), tokenizer_digest: String::new(), ready, reason, nodes: Vec::new() }
    }

    #[test]
    fn a_router_that_cannot_serve_says_why() {
        let of = |ready| verdict("http://h:1", &Ok(Seen { view: view(ready), clock: None }));
        assert!(of(true).ok);
        assert!(!of(false).ok && of(false).found.contains("no decode node"), "{:?}", of(false));
        assert!(verdict("http://h:1", &Err(NoView::WantsKey)).advice.contains("SECATEUR_API_KEY"));
        assert!(verdict("http://h:1", &Err(NoView::Unreached(Trouble::Refused))).advice.contains("secateur up"));
    }

    #[test]
    fn its_clock_is_in_a_header() {
        let clock = clock("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777_400, 784_111_777_600).unwrap();
        assert_eq!(clock.ahead_ms, 0);
    }
}
