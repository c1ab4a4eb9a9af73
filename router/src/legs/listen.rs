//! Waiting for a node: until it says something, or is given up because it says nothing to anybody.

use tonic::Status;

use crate::cluster::Node;

/// Reason why nothing came from a node.
#[derive(Debug)]
pub enum Trouble {
    /// The call failed, by the node's own words or on the way.
    Failed(Status),
    /// The stream ended before its work was done.
    Ended,
    /// The node was given up as lost, while the call itself shows no error.
    Silent,
}

/// Waits for `saying`, or until `node` is given up. A message is a sign of life.
pub async fn hear<T>(node: &Node, saying: impl Future<Output = Result<T, Status>>) -> Result<T, Trouble> {
    tokio::select! {
        biased;
        said = saying => {
            if said.is_ok() {
                node.heard();
            }
            said.map_err(Trouble::Failed)
        }
        () = node.lost() => Err(Trouble::Silent),
    }
}
