//! The target of requests: a running router, or clusters started one after another, because each plan needs its own.

use std::path::{Path, PathBuf};

use secateur_model::{Card, VisualAdvice};

use super::arguments::EvalArguments;
use crate::{
    doctor::before_start,
    up::{
        cluster::{Cluster, Only, Plan as Start},
        node_options::NodeOptions,
    },
};

/// A host that answers requests.
pub enum Host {
    /// A running router that this command did not start.
    Running(String),
    /// Clusters of one checkpoint, started by this command.
    Own(Box<Own>),
}

/// Clusters of one checkpoint, running one at a time.
pub struct Own {
    model: PathBuf,
    /// Whether the checkpoint is the demo, because none was given.
    is_demo: bool,
    node: NodeOptions,
    log: String,
    /// Timeout of a request, in seconds.
    timeout: u64,
    cluster: Option<Cluster>,
}

impl Host {
    /// The host that the arguments describe; no cluster is started yet.
    pub fn of(arguments: &EvalArguments) -> anyhow::Result<Host> {
        if let Some(url) = &arguments.url {
            return Ok(Host::Running(url.clone()));
        }
        let model = before_start::checkpoint_unless_given(arguments.model.as_deref())?;
        let (is_demo, node) = (arguments.model.is_none(), arguments.node.clone());
        Ok(Host::Own(Box::new(Own {
            model,
            is_demo,
            node,
            log: arguments.log.clone(),
            timeout: arguments.timeout().as_secs(),
            cluster: None,
        })))
    }

    /// The checkpoint's folder; `None` for a running router.
    pub fn model(&self) -> Option<&Path> {
        match self {
            Host::Running(_) => None,
            Host::Own(own) => Some(&own.model),
        }
    }

    /// The pruning that the checkpoint's card recommends.
    pub fn advice(&self) -> anyhow::Result<Option<VisualAdvice>> {
        let Some(model) = self.model() else { return Ok(None) };
        Ok(Card::read(model)?.and_then(|card| card.visual))
    }

    /// Provides a router before nodes with this plan, ready to answer. A cluster with another plan is stopped first.
    pub async fn serve(&mut self, plan: Option<&Path>) -> anyhow::Result<String> {
        let own = match self {
            Host::Running(url) => return Ok(url.clone()),
            Host::Own(own) => own,
        };
        own.stop().await;
        let cluster = own.cluster.insert(Cluster::start(own.start(plan)).await?);
        cluster.ready().await?;
        Ok(cluster.base_url())
    }

    /// Stops every process that this host started.
    pub async fn stop(&mut self) {
        if let Host::Own(own) = self {
            own.stop().await;
        }
    }
}

impl Own {
    fn start(&self, plan: Option<&Path>) -> Start {
        let node = self.node.flags(self.is_demo, plan);
        let only = |flags: [&str; 2]| flags.map(str::to_owned).to_vec();
        // These flags make the bytes depend on the policy alone, and not on KV kept from earlier cases or this
        // machine's link.
        let timeout = self.timeout.to_string();
        let only = Only {
            prefill: only(["--lossless", "on"]),
            decode: only(["--keep-finished", "off"]),
            router: only(["--request-timeout", &timeout]),
        };
        Start { model: self.model.clone(), prefill: 1, decode: 1, node, only, port: 0, log: self.log.clone() }
    }

    async fn stop(&mut self) {
        if let Some(mut cluster) = self.cluster.take() {
            cluster.stop().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{eval::tests::arguments, usage::Usage};

    #[test]
    fn nodes_get_the_plan_and_the_options() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().to_str().unwrap();
        let arguments = arguments(&["--model", model, "--threads", "2"]);
        assert!(Host::of(&arguments).err().unwrap().is::<Usage>());
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        let host = Host::of(&arguments).unwrap();
        assert_eq!((host.model(), host.advice().unwrap()), (Some(dir.path()), None));
        let Host::Own(own) = host else { panic!("a running router") };
        assert_eq!(own.start(None).node, ["--threads", "2"]);
        assert_eq!(own.start(Some(Path::new("/p"))).node, ["--threads", "2", "--plan", "/p"]);
    }
}
