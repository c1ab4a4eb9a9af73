//! Which suite, where the command line names none.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{arguments::EvalArguments, host::Host};
use crate::usage::usage;

/// Beside a checkpoint.
const IN_CHECKPOINT: &str = "eval/suite.jsonl";
/// The demo's, in the repository: its pictures are larger than the demo itself, so they are not in the binary.
const IN_REPOSITORY: &str = "models/demo/eval/suite.jsonl";

/// The suite's file.
pub fn find(arguments: &EvalArguments, host: &Host) -> anyhow::Result<PathBuf> {
    if let Some(file) = &arguments.suite {
        return Ok(file.clone());
    }
    let Some(dir) = host.model() else {
        return Err(usage("--suite must name the cases to send to --url"));
    };
    let own = dir.join(IN_CHECKPOINT);
    if own.is_file() {
        return Ok(own);
    }
    if arguments.model.is_some() {
        return Err(usage(format!(
            "{} has no {IN_CHECKPOINT}; --suite must name a JSONL file of cases",
            dir.display()
        )));
    }
    let starts = [env::current_dir(), env::current_exe()];
    let found = starts.iter().flatten().find_map(|start| above(start, IN_REPOSITORY));
    found.ok_or_else(|| {
        let text = "the demo's suite is in the repository, not in this binary";
        usage(format!("{text}: run this in a checkout of it, or name its {IN_REPOSITORY} with --suite"))
    })
}

/// The file, in the nearest folder at or above `start` that has it.
fn above(start: &Path, file: &str) -> Option<PathBuf> {
    start.ancestors().map(|folder| folder.join(file)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{eval::tests::arguments, usage::Usage};

    #[test]
    fn a_checkpoints_own_suite_is_found_and_a_named_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        let model = dir.path().to_str().unwrap();
        let find = |flags: &[&str]| {
            let arguments = arguments(&[&["--model", model][..], flags].concat());
            find(&arguments, &Host::of(&arguments).unwrap())
        };
        assert_eq!(find(&["--suite", "x.jsonl"]).unwrap(), Path::new("x.jsonl"));
        let error = find(&[]).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("--suite"), "{error}");
        std::fs::create_dir(dir.path().join("eval")).unwrap();
        std::fs::write(dir.path().join(IN_CHECKPOINT), "").unwrap();
        assert_eq!(find(&[]).unwrap(), dir.path().join(IN_CHECKPOINT));
    }

    #[test]
    fn the_demos_suite_is_found_from_below_the_repository() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(above(&here.join("src/eval"), IN_REPOSITORY).unwrap().ends_with(IN_REPOSITORY));
        assert_eq!(above(Path::new("/"), "no/such/file"), None);
    }
}
