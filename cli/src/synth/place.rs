//! The output folder: empty, or one whose checkpoint may be replaced, on a disk with enough space.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{companions, report, shards};
use crate::usage::usage;

/// Bytes that stay free on the disk: a full disk disturbs all its users.
const SPARE_BYTES: u64 = 64 << 20;

/// Prepares `dir` for `bytes` of files.
pub fn prepare(dir: &Path, force: bool, bytes: u64) -> anyhow::Result<()> {
    let context = || format!("cannot use {} as --out", dir.display());
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().with_context(context)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(context),
    };
    if !entries.is_empty() && !force {
        let text = "is not empty; choose another folder for --out, or add --force to replace the checkpoint in it";
        return Err(usage(format!("{} {text}", dir.display())));
    }
    fs::create_dir_all(dir).with_context(context)?;
    let old: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(|path| is_ours(path)).collect();
    let replaced: u64 = old.iter().filter_map(|path| path.metadata().ok()).map(|found| found.len()).sum();
    if let Some(free) = free_bytes(dir)
        && free + replaced < bytes + SPARE_BYTES
    {
        let (need, free) = (report::size(bytes + SPARE_BYTES), report::size(free + replaced));
        bail!("{} has room for {free}, and {need} are needed; free some, or choose another --out", dir.display());
    }
    // Old files are removed, not overwritten: a process that has mapped the old weights keeps them. config.json goes
    // first, so that a half-replaced folder is no checkpoint.
    for path in old.iter().filter(|path| path.ends_with("config.json")).chain(&old) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(context),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a path is a file of a checkpoint; any other file in the folder stays.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_weights = path.extension().is_some_and(|extension| extension == "safetensors");
    is_weights || name == shards::INDEX || companions::NAMES.contains(&name)
}

/// Bytes that this user can still write on that disk; `None` if the system does not report it.
#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), false, 1).unwrap();
        prepare(&dir.path().join("a/b"), false, 1).unwrap();
        let error = prepare(dir.path(), false, 1).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("--force"), "{error}");
    }

    #[test]
    fn force_replaces_a_checkpoint_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "model-00001-of-00002.safetensors", "notes.txt"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        prepare(dir.path(), true, 1).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
    }

    #[test]
    fn a_full_disk_is_told_before() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), "x").unwrap();
        let error = prepare(dir.path(), true, 1 << 60).unwrap_err();
        assert!(error.to_string().contains("are needed"), "{error}");
        assert!(dir.path().join("config.json").exists());
    }
}
