//! Where requests go: a running router, or clusters started one after another, as each plan needs its own.

use std::path::{Path, PathBuf};

use secateur_model::{Card, VisualAdvice};

use super::arguments::EvalArguments;
use crate::{
    demo,
    up::{
        cluster::{Cluster, Only, Plan as Start},
        node_options::NodeOptions,
    },
};

/// Answers requests.
pub enum Host {
    /// Somebody's router.
    Running(String),
    /// Clusters of this checkpoint.
    Own(Box<Own>),
}

/// Clusters of one checkpoint, one at a time.
pub struct Own {
    model: PathBuf,
    /// Whether nobody named the checkpoint.
    is_demo: bool,
    node: NodeOptions,
    log: String,
    /// Seconds that a request may take.
    timeout: u64,
    cluster: Option<Cluster>,
}

impl Host {
    /// As the arguments say; nothing is started yet.
    pub fn of(arguments: &EvalArguments) -> anyhow::Result<Host> {
        if let Some(url) = &arguments.url {
            return Ok(Host::Running(url.clone()));
        }
        let model = demo::checkpoint_unless_given(arguments.model.as_deref())?;
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

    /// The checkpoint's folder; none where only the running router knows.
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

    /// A router before nodes with this plan, ready to answer. A cluster with another plan is stopped.
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

    /// Leaves no process behind that this started.
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
        // Bytes are a policy's own: not what an earlier case left behind, nor what the link of this machine is worth.
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
