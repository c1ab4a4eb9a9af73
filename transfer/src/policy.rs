//! Which tokens each layer ships, by policy.

use std::{fmt, str::FromStr};

use secateur_proto::v1;

use crate::span::TokenSpan;

/// What is shipped. The default is the reference: everything, as computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TransferPolicy {
    /// All tokens of all kept layers in the dtype they were computed in.
    #[default]
    Dense,
}

/// No such policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown transfer policy `{0}`; there is: dense")]
pub struct UnknownPolicy(pub String);

impl TransferPolicy {
    /// Every policy, in the order that documents list them.
    pub const ALL: [TransferPolicy; 1] = [TransferPolicy::Dense];

    /// The name on the command line, in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            TransferPolicy::Dense => "dense",
        }
    }

    /// Token spans that a layer ships of a prompt of `positions` tokens.
    pub fn spans(self, positions: u32) -> Vec<TokenSpan> {
        match self {
            TransferPolicy::Dense => vec![TokenSpan { start: 0, end: positions }],
        }
    }

    /// The wire tag.
    pub fn to_proto(self) -> v1::TransferPolicy {
        match self {
            TransferPolicy::Dense => v1::TransferPolicy::Dense,
        }
    }

    /// From a wire tag; unknown tags have no policy.
    pub fn from_proto(tag: i32) -> Option<TransferPolicy> {
        match v1::TransferPolicy::try_from(tag).ok()? {
            v1::TransferPolicy::Unspecified => None,
            v1::TransferPolicy::Dense => Some(TransferPolicy::Dense),
        }
    }
}

impl fmt::Display for TransferPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for TransferPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_round_trip() {
        for policy in TransferPolicy::ALL {
            assert_eq!(policy.as_str().parse(), Ok(policy));
            assert_eq!(TransferPolicy::from_proto(policy.to_proto() as i32), Some(policy));
        }
        assert_eq!(TransferPolicy::from_proto(0), None);
        assert_eq!(TransferPolicy::from_proto(99), None);
    }
}
