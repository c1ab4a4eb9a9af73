//! A combination of repairs that was measured.

use std::{fmt, time::Duration};

use secateur_model::calibrate::Loss;

/// The kind of repair of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No repair.
    None,
    /// Linear maps.
    Linear,
    /// Merged blocks where they are possible, linear maps elsewhere.
    Merged,
}

/// A combination that was measured.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Repair of prefill.
    pub prefill: Kind,
    /// Repair of decode.
    pub decode: Kind,
    /// Loss of the combination.
    pub loss: Loss,
    /// Time that its fits took, including those that it shares with other combinations.
    pub took: Duration,
}

impl Kind {
    /// Name of the kind in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::None => "none",
            Kind::Linear => "linear",
            Kind::Merged => "merged",
        }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tried { prefill, decode, loss, took } = self;
        let (prefill, decode, seconds) = (prefill.name(), decode.name(), took.as_secs_f64());
        write!(
            out,
            "prefill {prefill}, decode {decode}: loss {:.4}, held out {:.4}, fitted in {seconds:.0} s",
            loss.all, loss.held_out
        )
    }
}
