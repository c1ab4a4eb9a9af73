//! The plan's folder: `plan.json`, and `plan.safetensors` if there are repairs.

use std::{fs, path::Path};

use anyhow::Context;
use safetensors::{Dtype, serialize, tensor::TensorView};
use secateur_node::plan::{PLAN_FILE, REPAIRS_FILE};
use secateur_pruning::pdtrim::Plan;

use super::repairs::Repaired;

/// Writes the plan. The old `plan.json` is removed first and the new one written last, so that a plan never lies beside
/// tensors of another plan.
pub fn write(folder: &Path, plan: &Plan, repairs: &Repaired) -> anyhow::Result<()> {
    let (plan_file, tensors) = (folder.join(PLAN_FILE), folder.join(REPAIRS_FILE));
    if plan_file.exists() {
        fs::remove_file(&plan_file)?;
    }
    match plan.needs_tensors() {
        true => put(&tensors, &safetensors_of(repairs)?)?,
        // A tensor file left over from an earlier plan would belong to no plan.
        false if tensors.exists() => fs::remove_file(&tensors)?,
        false => {}
    }
    put(&plan_file, plan.to_json()?.as_bytes())
}

fn safetensors_of(repairs: &Repaired) -> anyhow::Result<Vec<u8>> {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = repairs
        .tensors()
        .into_iter()
        .map(|(name, shape, data)| (name, shape, data.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(serialize(views, None)?)
}

fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}
