//! Checks that commands make before they start a process: the first check of a folder or a port that fails ends the
//! command with one line.

use std::path::{Path, PathBuf};

use anyhow::bail;
use tracing::subscriber::{NoSubscriber, with_default};

use super::{
    asked::{AskedModel, Listen},
    check::Check,
    folder, memory, model, port,
};
use crate::{console::progress, demo, usage::usage};

/// The checkpoint like [`demo::unless_given`], for commands that report a path without a checkpoint as bad usage.
pub fn checkpoint_unless_given(model: Option<&Path>) -> anyhow::Result<PathBuf> {
    let model = demo::unless_given(model)?;
    folder(&model)?;
    Ok(model)
}

/// Refuses a folder that is not a checkpoint; its weights are not examined.
pub fn folder(dir: &Path) -> anyhow::Result<()> {
    let check = folder::examine(dir, false);
    if check.ok { Ok(()) } else { Err(refused(&check)) }
}

/// Refuses a checkpoint or a plan that nodes would refuse. Short memory only gives a warning, since the amount of free
/// memory may change.
pub fn checkpoint(asked: &AskedModel) -> anyhow::Result<()> {
    let mut checks = Vec::new();
    // The roles will log the loaders' messages again, so they are suppressed here.
    with_default(NoSubscriber::default(), || model::examine(asked, &mut checks));
    let (short, wrong): (Vec<Check>, Vec<Check>) =
        checks.into_iter().filter(|check| !check.ok).partition(|check| check.name == memory::NAME);
    if let Some(check) = wrong.first() {
        return Err(refused(check));
    }
    short.iter().for_each(|check| progress(&format!("{}: {}", check.found, check.advice)));
    Ok(())
}

/// Refuses a port that cannot be listened on.
pub async fn port(address: String) -> anyhow::Result<()> {
    let (check, _) = port::examine(&Listen { address, is_guess: false }).await;
    if !check.ok {
        bail!("{} is {}: {}", check.name, check.found, check.advice);
    }
    Ok(())
}

fn refused(check: &Check) -> anyhow::Error {
    usage(format!("{}: {}", check.found, check.advice))
}
