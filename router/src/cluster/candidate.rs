//! A pair of nodes that may serve a request together.

use secateur_proto::v1::NodeDescription;

use super::view::NodeView;

/// Two nodes that may serve together.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Indices into the lists of prefill and of decode nodes.
    pub(super) indices: (usize, usize),
    /// The prefill node.
    pub prefill: &'a NodeView,
    /// The prefill node's description.
    pub prefill_says: &'a NodeDescription,
    /// The decode node.
    pub decode: &'a NodeView,
    /// The decode node's description.
    pub decode_says: &'a NodeDescription,
    /// Whether both nodes share a machine, so that KV crosses no network.
    pub is_colocated: bool,
}

impl Candidate<'_> {
    /// Requests on the prefill node.
    pub(super) fn prefill_load(&self) -> u32 {
        self.prefill.load(self.prefill_says)
    }

    /// Requests on the decode node.
    pub(super) fn decode_load(&self) -> u32 {
        self.decode.load(self.decode_says)
    }
}
