//! Location of the suite if the command line names none.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::usage::usage;

/// Path of a suite inside a checkpoint's folder.
const IN_CHECKPOINT: &str = "eval/suite.jsonl";
/// Path of the demo's suite in the repository: its pictures are larger than the demo itself, so the binary does not
/// contain them.
const IN_REPOSITORY: &str = "models/demo/eval/suite.jsonl";

/// The file of a checkpoint's own suite, for a command whose `flag` names none. `is_demo` means that no checkpoint was
/// given.
pub fn find(dir: &Path, is_demo: bool, flag: &str) -> anyhow::Result<PathBuf> {
    let own = secateur_gguf::companions(dir).map(|folder| folder.join(IN_CHECKPOINT));
    if let Some(own) = own.filter(|own| own.is_file()) {
        return Ok(own);
    }
    if !is_demo {
        return Err(usage(format!("{} has no {IN_CHECKPOINT}; {flag} must name a JSONL file of cases", dir.display())));
    }
    let starts = [env::current_dir(), env::current_exe()];
    let found = starts.iter().flatten().find_map(|start| above(start, IN_REPOSITORY));
    found.ok_or_else(|| {
        let text = "the demo's suite is in the repository, not in this binary";
        usage(format!("{text}: run this in a checkout of it, or name its {IN_REPOSITORY} with {flag}"))
    })
}

/// The path of `file` in the nearest folder at or above `start` that contains it.
fn above(start: &Path, file: &str) -> Option<PathBuf> {
    start.ancestors().map(|folder| folder.join(file)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;

    #[test]
    fn a_checkpoints_own_suite_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let error = find(dir.path(), false, "--suite").unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("--suite"), "{error}");
        std::fs::create_dir(dir.path().join("eval")).unwrap();
        std::fs::write(dir.path().join(IN_CHECKPOINT), "").unwrap();
        assert_eq!(find(dir.path(), false, "--suite").unwrap(), dir.path().join(IN_CHECKPOINT));
    }

    #[test]
    fn the_demos_suite_is_found_from_below_the_repository() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(above(&here.join("src/eval"), IN_REPOSITORY).unwrap().ends_with(IN_REPOSITORY));
        assert_eq!(above(Path::new("/"), "no/such/file"), None);
    }
}
