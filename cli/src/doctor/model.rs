//! Checks of a checkpoint folder, from the outside in: each check depends on those before it.

use secateur_model::WeightMemory;
use secateur_node::memory as node_memory;

use super::{architecture, asked::AskedModel, check::Check, folder, memory, plan, tokenizer};

/// Adds all checks of the folder and returns whether a node could load it.
pub fn examine(asked: &AskedModel, checks: &mut Vec<Check>) -> bool {
    let before = checks.len();
    look(asked, checks);
    checks[before..].iter().all(|check| check.ok)
}

fn look(asked: &AskedModel, checks: &mut Vec<Check>) {
    let dir = &asked.dir;
    let folder = folder::examine(dir, asked.needs_weights);
    let is_folder = folder.ok;
    checks.push(folder);
    if !is_folder {
        return;
    }
    if asked.needs_weights {
        let (architecture, info) = architecture::examine(dir, asked.dtype);
        checks.push(architecture);
        if let Some(info) = info {
            checks.extend(asked.plan.as_deref().map(|plan| plan::examine(plan, dir, &info)));
            checks.push(match WeightMemory::read(dir, asked.dtype, asked.weights) {
                Ok(weights) => {
                    let need = memory::need(&info, weights, asked.kv_memory);
                    memory::verdict(&need, node_memory::free_bytes(), node_memory::default_kv_bytes())
                }
                Err(error) => Check::failed("weights", error.to_string(), "download the file again"),
            });
        }
    }
    checks.push(tokenizer::examine(dir));
}
