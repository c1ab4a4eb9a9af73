//! Waits for a node's message, or until the node is declared lost.

use tonic::Status;

use crate::cluster::Node;

/// The reason why no message came from a node.
#[derive(Debug)]
pub enum Trouble {
    /// The call failed, in the node itself or in transport.
    Failed(Status),
    /// The stream ended before its work was done.
    Ended,
    /// The node was declared lost although the call itself shows no error.
    Silent,
}

/// Waits for `saying`, or until `node` is declared lost. Each message counts as a sign of life.
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
