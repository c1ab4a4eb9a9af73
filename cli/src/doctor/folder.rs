//! Whether a folder is a checkpoint, and if not, what it is and where one may be.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::check::Check;

const NAME: &str = "model folder";
const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Endings of weights that are not read.
const FOREIGN: [&str; 5] = ["bin", "gguf", "pt", "pth", "onnx"];
/// What Git leaves in the place of a large file that was not fetched begins so.
const POINTER: &[u8] = b"version https://git-lfs";
/// How deep is looked for checkpoints: the hub's cache has them three folders down.
const DEPTH: usize = 3;
/// Folders looked at, and checkpoints named.
const FOLDERS_MAX: usize = 2_000;
const NEARBY_MAX: usize = 3;

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file.
    File,
    /// A folder.
    Folder(Contents),
    /// It cannot be read.
    Unreadable(String),
}

/// What a folder has of a checkpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// `config.json`.
    pub has_config: bool,
    /// Weights that can be read, or an index of them.
    pub has_weights: bool,
    /// Files that the index names and that are not there.
    pub missing: Vec<String>,
    /// Files that are not there but for a pointer to them.
    pub pointers: Vec<String>,
    /// Weights in formats that are not read.
    pub foreign: Vec<String>,
}

/// Looks at the folder; `needs_weights` unless it is for a router.
pub fn examine(dir: &Path, needs_weights: bool) -> Check {
    match secateur_gguf::find(dir) {
        Ok(Some(file)) => return Check::ok(NAME, file.display().to_string()),
        Ok(None) => {}
        Err(error) => return Check::failed(NAME, error.to_string(), "--model names one GGUF file of a language model"),
    }
    let found = look(dir);
    let check = verdict(dir, &found, needs_weights);
    if check.ok {
        return check;
    }
    let near: Vec<String> = nearby(dir).iter().map(|near| near.display().to_string()).collect();
    match near.is_empty() {
        true => check,
        false => {
            let advice = format!("{}; a checkpoint is in {}", check.advice, near.join(", "));
            Check { advice, ..check }
        }
    }
}

fn look(dir: &Path) -> Found {
    match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Found::File,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Unreadable(error.to_string()),
    }
    match fs::read_dir(dir) {
        Ok(entries) => {
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            Found::Folder(contents(dir, &names.collect()))
        }
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

fn contents(dir: &Path, names: &BTreeSet<String>) -> Contents {
    let shards = shards(&dir.join(INDEX));
    let wanted = [CONFIG, SINGLE, INDEX, "tokenizer.json"].map(str::to_owned);
    let is_foreign = |name: &&String| name.rsplit_once('.').is_some_and(|(_, end)| FOREIGN.contains(&end));
    Contents {
        has_config: names.contains(CONFIG),
        has_weights: names.contains(SINGLE) || names.contains(INDEX),
        missing: match names.contains(SINGLE) {
            true => Vec::new(),
            false => shards.iter().filter(|shard| !names.contains(*shard)).cloned().collect(),
        },
        pointers: wanted.iter().chain(&shards).filter(|name| is_pointer(&dir.join(name))).cloned().collect(),
        foreign: names.iter().filter(is_foreign).cloned().collect(),
    }
}

/// Files that an index names; none where there is no index, or one that does not read, which the loader says better.
fn shards(index: &Path) -> BTreeSet<String> {
    let index: Option<Value> = fs::read(index).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let map = index.as_ref().and_then(|index| index["weight_map"].as_object());
    map.into_iter().flat_map(|map| map.values()).filter_map(|file| file.as_str().map(str::to_owned)).collect()
}

fn is_pointer(file: &Path) -> bool {
    use io::Read;
    let mut start = [0; POINTER.len()];
    fs::File::open(file).is_ok_and(|mut file| file.read_exact(&mut start).is_ok()) && start == POINTER
}

fn verdict(dir: &Path, found: &Found, needs_weights: bool) -> Check {
    let failed = |what: String, advice: &str| Check::failed(NAME, format!("{} {what}", dir.display()), advice);
    let whole = "--model names a folder in the Hugging Face layout (config.json, tokenizer.json and *.safetensors) or a GGUF file";
    let contents = match found {
        Found::Nothing => return failed("is not there".into(), &format!("correct the path; {whole}")),
        Found::File => {
            return failed("is a file, and not in the GGUF format".into(), &format!("give the folder; {whole}"));
        }
        Found::Unreadable(why) => return failed(format!("cannot be read: {why}"), "let this user read it"),
        Found::Folder(contents) => contents,
    };
    if !contents.pointers.is_empty() {
        let what = format!("has pointers of Git LFS in the place of {}", list(&contents.pointers));
        return failed(what, "run `git lfs install && git lfs pull` in it");
    }
    if !contents.has_config {
        let what = match contents.foreign.is_empty() {
            true => "has no config.json".to_owned(),
            false => format!("has no config.json, but {}", list(&contents.foreign)),
        };
        return failed(what, whole);
    }
    if !needs_weights || (contents.has_weights && contents.missing.is_empty()) {
        return Check::ok(NAME, dir.display().to_string());
    }
    if !contents.missing.is_empty() {
        let what =
            format!("lacks {} of the files that {INDEX} names: {}", contents.missing.len(), list(&contents.missing));
        return failed(what, "download them again; the download was not finished");
    }
    match contents.foreign.is_empty() {
        true => failed(format!("has no weights ({SINGLE}, or {INDEX})"), "download the weights as well"),
        false => {
            let what = format!("has its weights as {}, which is not read", list(&contents.foreign));
            let advice = "take the checkpoint's safetensors files, or write them: in Python, \
                          AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)";
            failed(what, advice)
        }
    }
}

/// A few names.
fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        all if all.len() <= 3 => all.join(", "),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
        [one] => one.clone(),
    }
}

fn is_checkpoint(dir: &Path) -> bool {
    dir.join(CONFIG).is_file() && (dir.join(SINGLE).is_file() || dir.join(INDEX).is_file())
}

/// Checkpoints below the folder, or below the nearest folder above that there is.
fn nearby(dir: &Path) -> Vec<PathBuf> {
    let mut budget = FOLDERS_MAX;
    let mut hits = Vec::new();
    if dir.is_dir() {
        search(dir, DEPTH, &mut budget, &mut hits);
    }
    // Not the whole disk: its root is near everything.
    let above = dir.ancestors().skip(1).find(|above| above.is_dir()).filter(|above| above.parent().is_some());
    if let (true, Some(above)) = (hits.is_empty(), above) {
        if is_checkpoint(above) {
            hits.push(above.to_owned());
        }
        search(above, 1, &mut budget, &mut hits);
    }
    hits
}

fn search(dir: &Path, depth: usize, budget: &mut usize, hits: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    for folder in folders {
        if hits.len() == NEARBY_MAX || *budget == 0 {
            return;
        }
        *budget -= 1;
        match is_checkpoint(&folder) {
            true => hits.push(folder),
            false if depth > 1 => search(&folder, depth - 1, budget, hits),
            false => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(contents: Contents) -> Check {
        verdict(Path::new("/m"), &Found::Folder(contents), true)
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = || Contents { has_config: true, has_weights: true, ..Contents::default() };
        assert!(of(whole()).ok);
        assert!(of(Contents { has_config: false, ..whole() }).found.contains("no config.json"));
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let lacking = of(Contents { missing: names(&["b.safetensors"]), ..whole() });
        assert!(lacking.found.contains("b.safetensors") && lacking.advice.contains("again"), "{lacking:?}");
        let foreign = of(Contents { has_weights: false, foreign: names(&["pytorch_model.bin"]), ..whole() });
        assert!(
            foreign.found.contains("pytorch_model.bin") && foreign.advice.contains("save_pretrained"),
            "{foreign:?}"
        );
        let pointers = of(Contents { pointers: names(&["model.safetensors"]), ..whole() });
        assert!(pointers.advice.contains("git lfs pull"), "{pointers:?}");
        let routed = verdict(Path::new("/m"), &Found::Folder(Contents { has_weights: false, ..whole() }), false);
        assert!(routed.ok, "a router needs no weights");
    }

    #[test]
    fn a_checkpoint_nearby_is_named() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("models--x/snapshots/abc");
        fs::create_dir_all(&real).unwrap();
        for file in [CONFIG, SINGLE] {
            fs::write(real.join(file), "{}").unwrap();
        }
        let real = real.display().to_string();
        for wrong in ["models--x", "models--x/snapshots/abd", ""] {
            let check = examine(&root.path().join(wrong), true);
            assert!(!check.ok && check.advice.contains(&real), "{wrong}: {check:?}");
        }
        assert!(examine(Path::new(&real), true).ok);
    }

    #[test]
    fn what_an_index_names_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG), "{}").unwrap();
        fs::write(dir.path().join(INDEX), r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#).unwrap();
        fs::write(dir.path().join("1.safetensors"), [POINTER, b"/spec/v1\n"].concat()).unwrap();
        let Found::Folder(contents) = look(dir.path()) else { panic!("a folder") };
        assert_eq!((contents.missing, contents.pointers), (vec!["2.safetensors".into()], vec!["1.safetensors".into()]));
        assert_eq!(look(&dir.path().join(CONFIG)), Found::File);
        assert_eq!(look(&dir.path().join("none")), Found::Nothing);
    }
}
