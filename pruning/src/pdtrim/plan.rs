//! A checked plan, and the questions that nodes ask of it.

use std::str::FromStr;

use serde::Deserialize;

use super::{
    block_set::BlockSet,
    check::{PlanError, check},
    document::{FORMAT, PlanDocument, Repair, Stage, StageKind},
    retention::{Ends, Retention},
};

/// A plan that passed all checks; only [`Plan::new`] and [`Plan::parse`] make one.
///
/// Every block that decode keeps has keys and values, each stage keeps at least the first and the last block, and all
/// indices are blocks of the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    document: PlanDocument,
    prefill: BlockSet,
    decode: BlockSet,
}

/// The role of one block in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'p> {
    /// Runs the checkpoint's block.
    Run,
    /// Runs the block with the plan's weights, because it also does the work of a neighbour.
    RunMerged {
        /// Prefix of the weights' names in `plan.safetensors`.
        tensors: &'p str,
    },
    /// Computes only keys and values, from the incoming residual stream (input norm, key and value projections, rotary
    /// positions), because decode will read them; then bypasses the block. Occurs only in prefill under
    /// [`Rule::Relaxed`](super::document::Rule::Relaxed).
    KvOnly(Bypass<'p>),
    /// Bypasses the block; no keys and values.
    Skip(Bypass<'p>),
}

/// The path of the residual stream around a block that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass<'p> {
    /// The stream passes unchanged.
    Identity,
    /// The stream passes through a linear map of `plan.safetensors`.
    Linear {
        /// Name of the map, `[hidden, hidden]`.
        tensor: &'p str,
    },
}

impl Plan {
    /// Checks a document.
    pub fn new(document: PlanDocument) -> Result<Self, PlanError> {
        check(&document)?;
        let removed = |stage: &Stage| BlockSet::of(stage.removed.iter().map(|removed| removed.layer));
        let (prefill, decode) = (removed(&document.prefill)?, removed(&document.decode)?);
        Ok(Self { document, prefill, decode })
    }

    /// Reads `plan.json`.
    pub fn parse(json: &str) -> Result<Self, PlanError> {
        // A later format may have other fields; the error must then be about its number.
        let Version { format } = serde_json::from_str(json)?;
        if format != FORMAT {
            return Err(PlanError::Format(format));
        }
        Self::new(serde_json::from_str(json)?)
    }

    /// The text of `plan.json`, which [`Plan::parse`] reads back bit for bit.
    pub fn to_json(&self) -> Result<String, PlanError> {
        Ok(serde_json::to_string_pretty(&self.document)? + "\n")
    }

    /// The fields of the plan.
    pub fn document(&self) -> &PlanDocument {
        &self.document
    }

    /// Blocks that a stage drops.
    pub fn removed(&self, stage: StageKind) -> BlockSet {
        match stage {
            StageKind::Prefill => self.prefill,
            StageKind::Decode => self.decode,
        }
    }

    /// Blocks that a stage keeps, ascending.
    pub fn kept(&self, stage: StageKind) -> impl Iterator<Item = usize> + use<> {
        let removed = self.removed(stage);
        (0..self.document.layers).filter(move |&layer| !removed.contains(layer))
    }

    /// The role of a block of the checkpoint in a stage; [`Role::Run`] beyond the last block.
    pub fn role(&self, stage: StageKind, layer: usize) -> Role<'_> {
        let list = match stage {
            StageKind::Prefill => &self.document.prefill.removed,
            StageKind::Decode => &self.document.decode.removed,
        };
        if let Some(removed) = list.iter().find(|removed| removed.layer == layer) {
            let bypass = bypass(&removed.repair);
            return if self.sends(layer) { Role::KvOnly(bypass) } else { Role::Skip(bypass) };
        }
        let weights = list.iter().find_map(|removed| match &removed.repair {
            Repair::Merged { with, tensors } if *with == layer => Some(tensors.as_str()),
            _ => None,
        });
        weights.map_or(Role::Run, |tensors| Role::RunMerged { tensors })
    }

    /// Whether a block's keys and values are sent from prefill to decode, which is whether decode keeps it.
    pub fn sends(&self, layer: usize) -> bool {
        layer < self.document.layers && !self.decode.contains(layer)
    }

    /// Whether a prompt's last token runs blocks that the earlier tokens bypass: those that prefill drops and decode
    /// keeps, which the last token runs whole.
    pub fn runs_last_row_apart(&self) -> bool {
        self.prefill.iter().any(|layer| self.sends(layer))
    }

    /// The first-and-last-tokens rule of a selected layer; `None` if the layer sends all tokens, or none.
    pub fn retention(&self, layer: usize) -> Option<Retention> {
        // `check` guarantees that every rule is valid.
        self.document.kv.iter().find(|rule| rule.layer == layer)?.retention().ok()
    }

    /// The tokens that a layer sends of a prompt of `positions`; `None` if decode dropped the layer.
    pub fn ends(&self, layer: usize, positions: usize) -> Option<Ends> {
        let rule = self.retention(layer);
        self.sends(layer).then(|| rule.map_or(Ends::all(positions), |rule| rule.ends(positions)))
    }

    /// Share of the KV rows of a prompt, over all of the checkpoint's layers, that are sent; minimums and rounding
    /// included.
    pub fn bytes_fraction(&self, positions: usize) -> f64 {
        let layers = self.document.layers;
        let sent: usize = (0..layers).filter_map(|layer| self.ends(layer, positions)).map(|ends| ends.count()).sum();
        if positions == 0 { 1.0 } else { sent as f64 / (layers * positions) as f64 }
    }

    /// Whether any repair needs `plan.safetensors`.
    pub fn needs_tensors(&self) -> bool {
        let stages = [&self.document.prefill, &self.document.decode];
        stages.iter().flat_map(|stage| &stage.removed).any(|removed| removed.repair != Repair::None)
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        Self::parse(json)
    }
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

fn bypass(repair: &Repair) -> Bypass<'_> {
    match repair {
        // The neighbour does a merged block's work, so the block itself is an identity.
        Repair::None | Repair::Merged { .. } => Bypass::Identity,
        Repair::Linear { tensor } => Bypass::Linear { tensor },
    }
}
