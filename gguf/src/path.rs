//! Finding the GGUF file that a path stands for.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{GgufError, Problem};

const EXTENSION: &str = "gguf";
/// First bytes of every GGUF file. Ollama's files have them and no extension.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// The file that makes a folder a Hugging Face checkpoint, whatever else is in it.
const CONFIG: &str = "config.json";

/// The GGUF file that `path` stands for as a checkpoint: the file itself, or the only GGUF file in a folder without a
/// `config.json`. `None` if `path` stands for no GGUF file. A folder with several files, with parts of a split file, or
/// with a vision projector is refused by name.
pub fn find(path: &Path) -> Result<Option<PathBuf>, GgufError> {
    if path.is_file() {
        return Ok((has_extension(path) || has_magic(path)).then(|| path.to_owned()));
    }
    if !path.is_dir() || path.join(CONFIG).is_file() {
        return Ok(None);
    }
    let read = |source| GgufError::Read { path: path.into(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        if has_extension(&file) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    choose(files).map_err(|problem| GgufError::Folder { path: path.into(), problem })
}

/// The name of the model in a GGUF file: the file's name without the extension; `None` if `path` is not a file.
pub fn name(path: &Path) -> Option<String> {
    let stem = if has_extension(path) { path.file_stem() } else { path.file_name() };
    stem.filter(|_| path.is_file()).map(|stem| stem.to_string_lossy().into_owned())
}

/// The folder whose `secateur.json` and `plan` belong to the checkpoint at `path`. `None` for a GGUF file among
/// several, since the folder does not say for which of them its card was made.
pub fn companions(path: &Path) -> Option<PathBuf> {
    if !path.is_file() {
        return Some(path.to_owned());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_alone = find(folder).is_ok_and(|found| found.is_some_and(|file| file.file_name() == path.file_name()));
    is_alone.then(|| folder.to_owned())
}

fn choose(files: Vec<PathBuf>) -> Result<Option<PathBuf>, String> {
    let name = |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(projector) = files.iter().find(|file| name(file).to_lowercase().contains("mmproj")) {
        let projector = name(projector);
        return Err(format!(
            "{projector} is a vision projector, which is not supported; give the language model's file"
        ));
    }
    if files.iter().any(|file| is_part(file)) {
        return Err(split_refused().to_string());
    }
    match files.as_slice() {
        [] => Ok(None),
        [file] => Ok(Some(file.clone())),
        several => {
            let names: Vec<String> = several.iter().take(4).map(|file| name(file)).collect();
            let names = names.join(", ");
            Err(format!("there are {} GGUF files in the folder ({names}); give one of them", several.len()))
        }
    }
}

fn has_extension(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case(EXTENSION))
}

fn has_magic(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok()) && start == MAGIC
}

/// Whether the name is that of a part of a split file, such as `NAME-00001-of-00003.gguf`. A split into one part counts
/// as whole.
pub(crate) fn is_part(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((rest, parts)) = stem.rsplit_once("-of-") else { return false };
    is_number(parts) && parts != "00001" && rest.rsplit_once('-').is_some_and(|(_, part)| is_number(part))
}

pub(crate) fn split_refused() -> Problem {
    Problem::Format(
        "it is one part of a split file, which is not supported; join the parts with `llama-gguf-split --merge`"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        dir
    }

    #[test]
    fn a_file_stands_for_itself_and_a_folder_for_its_only_file() {
        let dir = folder(&["a.GGUF", "README.md"]);
        let file = dir.path().join("a.GGUF");
        assert_eq!(find(&file).unwrap(), Some(file.clone()));
        assert_eq!(find(dir.path()).unwrap(), Some(file));
        assert_eq!(find(&dir.path().join("README.md")).unwrap(), None);
        assert_eq!(find(&dir.path().join("none")).unwrap(), None);
        let blob = dir.path().join("sha256-0123");
        fs::write(&blob, b"GGUF\x03").unwrap();
        assert_eq!(find(&blob).unwrap(), Some(blob));
    }

    #[test]
    fn a_model_is_called_what_its_file_is() {
        let dir = folder(&["tiny.Q4_1.gguf", "sha256-0123"]);
        assert_eq!(name(&dir.path().join("tiny.Q4_1.gguf")).as_deref(), Some("tiny.Q4_1"));
        assert_eq!(name(&dir.path().join("sha256-0123")).as_deref(), Some("sha256-0123"));
        assert_eq!(name(dir.path()), None);
    }

    #[test]
    fn a_configured_folder_is_a_hugging_face_checkpoint() {
        assert_eq!(find(folder(&["a.gguf", "config.json"]).path()).unwrap(), None);
        assert_eq!(find(folder(&[]).path()).unwrap(), None);
    }

    #[test]
    fn what_is_not_one_language_model_is_refused_by_name() {
        let cases: [(&[&str], &str); 3] = [
            (&["a.gguf", "b.gguf"], "a.gguf, b.gguf"),
            (&["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"], "split"),
            (&["a.gguf", "mmproj-a-f16.gguf"], "mmproj-a-f16.gguf is a vision projector"),
        ];
        for (names, expected) in cases {
            let error = find(folder(names).path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn only_a_lone_file_has_companions() {
        let alone = folder(&["a.gguf", "secateur.json"]);
        assert_eq!(companions(&alone.path().join("a.gguf")), Some(alone.path().to_owned()));
        assert_eq!(companions(alone.path()), Some(alone.path().to_owned()));
        let among = folder(&["a.gguf", "b.gguf", "secateur.json"]);
        assert_eq!(companions(&among.path().join("a.gguf")), None);
    }

    #[test]
    fn a_split_into_one_part_is_whole() {
        for (name, expected) in
            [("a-00001-of-00002.gguf", true), ("a-00001-of-00001.gguf", false), ("of-the-2-of-3.gguf", false)]
        {
            assert_eq!(is_part(Path::new(name)), expected, "{name}");
        }
    }
}
