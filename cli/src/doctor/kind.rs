//! The kind of thing at a path that was given as a checkpoint.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, Read},
    path::{Component, Path},
};

use serde_json::Value;

/// A checkpoint's configuration.
pub const CONFIG: &str = "config.json";
/// Weights in a single file.
pub const SINGLE: &str = "model.safetensors";
/// Index of weights in several files.
pub const INDEX: &str = "model.safetensors.index.json";
/// File extensions of weight formats that are not read.
const FOREIGN: [&str; 5] = ["bin", "gguf", "pt", "pth", "onnx"];
/// Beginning of the pointer file that Git leaves in the place of a large file that was not fetched.
const POINTER: &[u8] = b"version https://git-lfs";

/// The thing at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// The path does not exist.
    Nothing,
    /// The path does not exist and has the form of a repository's name on a hub, `org/name`.
    HubName,
    /// A file that is not in the GGUF format.
    File,
    /// A folder.
    Folder(Contents),
    /// The path cannot be read.
    Unreadable(String),
}

/// The parts of a checkpoint that a folder has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Whether there is a `config.json`.
    pub has_config: bool,
    /// Whether there are weights that can be read, or an index of them.
    pub has_weights: bool,
    /// Files that the index names and that do not exist.
    pub missing: Vec<String>,
    /// Files of which only a Git LFS pointer exists.
    pub pointers: Vec<String>,
    /// Weights in formats that are not read.
    pub foreign: Vec<String>,
}

/// Examines a path.
pub fn look(dir: &Path) -> Kind {
    match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Kind::File,
        Err(error) if error.kind() == io::ErrorKind::NotFound && hub_name(dir).is_some() => return Kind::HubName,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Kind::Nothing,
        Err(error) => return Kind::Unreadable(error.to_string()),
    }
    match fs::read_dir(dir) {
        Ok(entries) => {
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            Kind::Folder(contents(dir, &names.collect()))
        }
        Err(error) => Kind::Unreadable(error.to_string()),
    }
}

fn contents(dir: &Path, names: &BTreeSet<String>) -> Contents {
    let shards = shards(&dir.join(INDEX));
    let wanted = [CONFIG, SINGLE, INDEX, "tokenizer.json"].map(str::to_owned);
    let is_foreign = |name: &&String| name.rsplit_once('.').is_some_and(|(_, end)| FOREIGN.contains(&end));
    Contents {
        has_config: names.contains(CONFIG),
        has_weights: names.contains(SINGLE) || names.contains(INDEX),
        missing: if names.contains(SINGLE) {
            Vec::new()
        } else {
            shards.iter().filter(|shard| !names.contains(*shard)).cloned().collect()
        },
        pointers: wanted.iter().chain(&shards).filter(|name| is_pointer(&dir.join(name))).cloned().collect(),
        foreign: names.iter().filter(is_foreign).cloned().collect(),
    }
}

/// Files that an index names; empty without a readable index, which the loader reports in more detail.
fn shards(index: &Path) -> BTreeSet<String> {
    let index: Option<Value> = fs::read(index).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let map = index.as_ref().and_then(|index| index["weight_map"].as_object());
    map.into_iter().flat_map(|map| map.values()).filter_map(|file| file.as_str().map(str::to_owned)).collect()
}

fn is_pointer(file: &Path) -> bool {
    begins_with(file, POINTER)
}

fn begins_with(file: &Path, start: &[u8]) -> bool {
    let mut found = vec![0; start.len()];
    fs::File::open(file).is_ok_and(|mut file| file.read_exact(&mut found).is_ok()) && found == start
}

/// The name of a hub repository, if the path relative to the working folder is two plain names.
pub fn hub_name(dir: &Path) -> Option<String> {
    let is_plain = |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        text.chars().all(allowed) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let here = env::current_dir().unwrap_or_default();
    let names: Option<Vec<&str>> = dir
        .strip_prefix(&here)
        .unwrap_or(dir)
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str().filter(|name| is_plain(name)),
            _ => None,
        })
        .collect();
    names.filter(|names| names.len() == 2).map(|names| names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_index_names_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG), "{}").unwrap();
        fs::write(dir.path().join(INDEX), r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#).unwrap();
        fs::write(dir.path().join("1.safetensors"), [POINTER, b"/spec/v1\n"].concat()).unwrap();
        let Kind::Folder(contents) = look(dir.path()) else { panic!("a folder") };
        assert_eq!((contents.missing, contents.pointers), (vec!["2.safetensors".into()], vec!["1.safetensors".into()]));
        assert_eq!(look(&dir.path().join(CONFIG)), Kind::File);
        assert_eq!(look(&dir.path().join("none")), Kind::Nothing);
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let written = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        assert_eq!(look(&written("notes.txt", b"hello")), Kind::File);
        for (name, expected) in [
            ("Qwen/Qwen2.5-0.5B-Instruct", Kind::HubName),
            ("no/such/folder", Kind::Nothing),
            ("/no/such", Kind::Nothing),
            ("nothing", Kind::Nothing),
            ("../such", Kind::Nothing),
        ] {
            assert_eq!(look(Path::new(name)), expected, "{name}");
        }
        let absolute = env::current_dir().unwrap().join("Qwen/Qwen3-0.6B");
        assert_eq!(hub_name(&absolute).as_deref(), Some("Qwen/Qwen3-0.6B"));
    }
}
