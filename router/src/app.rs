//! The state that all HTTP handlers share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use secateur_common::shutdown::CancellationToken;
use secateur_proto::{ErrorCode, ServiceError};

use crate::{
    admission::Admission,
    cluster::{Cluster, NodeState},
    fetch::Fetcher,
    keys::Keyring,
    metrics::{LinkLabels, Metrics, NodeFigures, Snapshot},
    request::Limits,
    served::ServedModel,
};

/// The router's parts, each behind its own lock or without one.
pub struct App {
    /// The served model's tokenizer, chat template and sampling defaults.
    pub model: Arc<ServedModel>,
    /// The nodes; shared with the requests in flight, which choose other nodes when theirs fail.
    pub cluster: Arc<Cluster>,
    /// Bounds on the number of requests and on the memory they hold.
    pub admission: Admission,
    /// The metrics of the router.
    pub metrics: Arc<Metrics>,
    /// Bounds on the content of one request.
    pub limits: Limits,
    /// Fetches pictures by URL, where the operator allows it.
    pub fetcher: Option<Fetcher>,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Most client connections at once.
    pub connections_max: usize,
    /// Time from accepting a request to its deadline.
    pub request_timeout: Duration,
    /// The API keys; shared with the task that reads their file again.
    pub keys: Arc<Keyring>,
    /// Time at which the process began to serve, in Unix seconds; reported as the model's `created`.
    pub started: u64,
    /// Token cancelled when the drain deadline has passed: requests that still run then end with an error.
    pub overdue: CancellationToken,
    /// Whether shutdown has begun. Set once; read by the health route and by every new request.
    is_draining: AtomicBool,
}

/// Parts from which an [`App`] is made.
pub struct Parts {
    /// See [`App::model`].
    pub model: Arc<ServedModel>,
    /// See [`App::cluster`].
    pub cluster: Cluster,
    /// See [`App::admission`].
    pub admission: Admission,
    /// See [`App::limits`].
    pub limits: Limits,
    /// See [`App::fetcher`].
    pub fetcher: Option<Fetcher>,
    /// See [`App::body_bytes_max`].
    pub body_bytes_max: usize,
    /// See [`App::connections_max`].
    pub connections_max: usize,
    /// See [`App::request_timeout`].
    pub request_timeout: Duration,
    /// See [`App::keys`].
    pub keys: Arc<Keyring>,
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self {
            metrics: Arc::new(Metrics::new(&parts.model.name)),
            model: parts.model,
            cluster: Arc::new(parts.cluster),
            admission: parts.admission,
            limits: parts.limits,
            fetcher: parts.fetcher,
            body_bytes_max: parts.body_bytes_max,
            connections_max: parts.connections_max,
            request_timeout: parts.request_timeout,
            keys: parts.keys,
            started: unix_seconds(),
            overdue: CancellationToken::new(),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Begins to drain: new requests are refused from now on.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether a new request would be served: not while draining, and not without a pair of nodes.
    pub fn ready(&self) -> Result<(), ServiceError> {
        self.accepting()?;
        self.cluster.facts().map(|_| ())
    }

    /// The error of requests that still run when the drain deadline has passed.
    pub fn cut() -> ServiceError {
        ServiceError::new(ErrorCode::Unavailable, "this router is stopping and could not finish the answer; try again")
    }

    /// Returns an error while draining.
    pub fn accepting(&self) -> Result<(), ServiceError> {
        if self.is_draining.load(Ordering::Relaxed) {
            return Err(ServiceError::new(
                ErrorCode::Unavailable,
                "this router is stopping; try another or again soon",
            ));
        }
        Ok(())
    }

    /// The longest context in positions: the smaller of the nodes' limit and the model's, as far as they are known.
    pub fn max_positions(&self) -> u32 {
        [self.cluster.max_positions(), self.model.max_positions].into_iter().flatten().min().unwrap_or(u32::MAX)
    }

    /// Takes the current values of all gauges.
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = self.cluster.nodes();
        let nodes = snapshot.nodes().map(|node| {
            let view = node.view();
            let is_usable = view.usable(&self.model.tokenizer_digest).is_ok();
            let description = match view.state {
                NodeState::Up(description) => Some(description),
                NodeState::Down(_) => None,
            };
            NodeFigures { labels: node.labels(), description, is_usable }
        });
        let (links, _) = self.cluster.measured();
        let links = links.all().map(|(prefill, decode, link)| {
            (LinkLabels { prefill: prefill.to_owned(), decode: decode.to_owned() }, link.bytes_per_s)
        });
        Snapshot {
            is_ready: self.ready().is_ok(),
            running: self.admission.running(),
            waiting: self.admission.waiting(),
            bytes_held: self.admission.held_bytes(),
            keys: self.keys.figures(),
            nodes: nodes.collect(),
            links: links.collect(),
        }
    }
}

/// The current time in Unix seconds, for `created` fields.
pub fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
