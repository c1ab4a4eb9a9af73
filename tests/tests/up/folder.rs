//! Checkpoint folders for the tests: files are linked, left out or replaced.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Makes `dir` a folder with links to the files of the checkpoint in `from`, except those in `without`.
pub fn link(from: &Path, dir: &Path, without: &[&str]) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name();
        if entry.path().is_file() && !without.contains(&name.to_str().unwrap()) {
            std::os::unix::fs::symlink(entry.path().canonicalize().unwrap(), dir.join(name)).unwrap();
        }
    }
    dir.to_owned()
}
