//! The links of one cluster: shapers before its decode nodes, and measurements of them made before all others.

use std::net::SocketAddr;

use anyhow::Context;
use secateur_channel::Channels;
use serde::Serialize;

use super::{Link, reached::reached, shaper::Shaper};
use crate::nodes;

/// Smallest share of the requested rate that counts as reached; below it, the machine is the bottleneck.
const REACHED_MIN: f64 = 0.95;

/// The link before a cluster's decode nodes.
pub struct ShapedLink {
    link: Link,
    /// Running shapers, which must live as long as the cluster.
    shapers: Vec<Shaper>,
    /// Addresses under which decode nodes are reached.
    decode: Vec<SocketAddr>,
    figures: Figures,
}

/// Measurements of a link while nothing else ran.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// Rate of bytes through the shaper alone; `None` if nothing is shaped.
    pub link_reached_mbit_s: Option<f64>,
    /// Rate from the first prefill node to the first decode node over the stack that shipments use: gRPC with its
    /// framing and windows.
    pub link_stack_mbit_s: Option<f64>,
    /// Round-trip time of the same path.
    pub link_round_trip_ms: Option<f64>,
}

impl ShapedLink {
    /// A link without any shaper yet.
    pub fn new(link: Link) -> Self {
        Self { link, shapers: Vec::new(), decode: Vec::new(), figures: Figures::default() }
    }

    /// Puts a shaper before each decode node, and returns the addresses under which the nodes are reached.
    pub async fn lay(&mut self, decode: Vec<SocketAddr>) -> anyhow::Result<Vec<SocketAddr>> {
        let Link::Shaped(rate) = self.link else {
            self.decode = decode.clone();
            return Ok(decode);
        };
        self.figures.link_reached_mbit_s = Some(reached(rate).await.context("cannot measure the shaper")?);
        for target in decode {
            self.shapers.push(Shaper::start(target, rate).context("cannot start the shaper")?);
        }
        self.decode = self.shapers.iter().map(Shaper::address).collect();
        Ok(self.decode.clone())
    }

    /// Measures the path of shipments, from the first prefill node to the first decode node.
    pub async fn measure(&mut self, prefill: &[SocketAddr]) -> anyhow::Result<()> {
        let (Some(prefill), Some(decode)) = (prefill.first(), self.decode.first()) else { return Ok(()) };
        let report = nodes::measure_link(&Channels::default(), &prefill.to_string(), &decode.to_string()).await;
        let report = report.context("cannot measure the link between prefill and decode")?;
        self.figures.link_stack_mbit_s = Some(report.mbit_s);
        self.figures.link_round_trip_ms = Some(report.round_trip_ms);
        Ok(())
    }

    /// The measurements.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// The link, as requested.
    pub fn link(&self) -> Link {
        self.link
    }
}

impl Figures {
    /// A sentence that reports a rate below the requested one; `None` if it was reached.
    pub fn shortfall(&self, link: Link) -> Option<String> {
        let (Link::Shaped(rate), Some(reached)) = (link, self.link_reached_mbit_s) else { return None };
        (reached < rate.mbit_s() * REACHED_MIN).then(|| {
            format!(
                "link {link}: the shaper itself reaches {reached:.0} Mbit/s on this machine, so these rows are of such a link"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_cannot_do_is_said() {
        let figures = |mbit_s| Figures { link_reached_mbit_s: Some(mbit_s), ..Figures::default() };
        let link = "25gbit".parse().unwrap();
        assert_eq!(figures(24_900.0).shortfall(link), None);
        assert!(figures(14_200.0).shortfall(link).unwrap().contains("14200 Mbit/s"));
        assert_eq!(Figures::default().shortfall(Link::Unshaped), None);
    }
}
