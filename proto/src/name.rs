//! The name of a checkpoint, as nodes and routers report it to each other and to clients.

use std::path::Path;

/// Name of a checkpoint whose folder has no name, such as the root of a disk.
const NAMELESS: &str = "model";

/// The name of the checkpoint in `folder`. For a snapshot in a Hugging Face cache
/// (`models--org--name/snapshots/REVISION`), whose own name is a digest, it is the repository `org/name`; else it is
/// the folder's name.
pub fn checkpoint_name(folder: &Path) -> String {
    // Resolved, since `.` and `..` have no name of their own, and a link to a snapshot stands for that snapshot.
    let resolved = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let names: Vec<&str> = resolved.iter().rev().take(3).filter_map(|name| name.to_str()).collect();
    let repository = match names.as_slice() {
        [_, "snapshots", repository] => repository.strip_prefix("models--").map(|name| name.replace("--", "/")),
        _ => None,
    };
    let own = || resolved.file_name().map(|name| name.to_string_lossy().into_owned());
    repository.or_else(own).unwrap_or_else(|| NAMELESS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_by_its_repository() {
        let cache = Path::new("/hub/models--Qwen--Qwen2.5-0.5B-Instruct/snapshots");
        assert_eq!(checkpoint_name(&cache.join("7ae557604adf67be")), "Qwen/Qwen2.5-0.5B-Instruct");
        assert_eq!(checkpoint_name(Path::new("/hub/models--gpt2/snapshots/607a30d783dfa663")), "gpt2");
    }

    #[test]
    fn any_other_folder_is_named_by_itself() {
        assert_eq!(checkpoint_name(Path::new("/models/secateur-demo")), "secateur-demo");
        assert_eq!(checkpoint_name(Path::new("/backups/snapshots/monday")), "monday");
        assert_eq!(checkpoint_name(Path::new("/hub/models--a--b/refs/main")), "main");
        assert_eq!(checkpoint_name(Path::new("/")), "model");
    }
}
