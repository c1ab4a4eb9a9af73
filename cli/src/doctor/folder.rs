//! The check whether a folder is a checkpoint, and if not, what it is and where a checkpoint may be.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::{
    check::Check,
    kind::{self, CONFIG, INDEX, Kind, SINGLE},
};

const NAME: &str = "model folder";
/// Depth of the search for checkpoints: the hub's cache has them three folders down.
const DEPTH: usize = 3;
/// Limits on the folders searched and on the checkpoints named.
const FOLDERS_MAX: usize = 2_000;
const NEARBY_MAX: usize = 3;

/// Examines the folder; `needs_weights` is false for a router.
pub fn examine(dir: &Path, needs_weights: bool) -> Check {
    match secateur_gguf::find(dir) {
        Ok(Some(file)) => return Check::ok(NAME, file.display().to_string()),
        Ok(None) => {}
        Err(error) => return Check::failed(NAME, error.to_string(), "--model names one GGUF file of a language model"),
    }
    let kind = kind::look(dir);
    let check = verdict(dir, &kind, needs_weights);
    if check.ok {
        return check;
    }
    let near = if kind == Kind::HubName { cached(&hub_cache(), dir).into_iter().collect() } else { nearby(dir) };
    let near: Vec<String> = near.iter().map(|near| near.display().to_string()).collect();
    if near.is_empty() {
        check
    } else {
        let advice = format!("{}; a checkpoint is in {}", check.advice, near.join(", "));
        Check { advice, ..check }
    }
}

/// What is wrong with what is at `dir`, if anything is.
fn verdict(dir: &Path, kind: &Kind, needs_weights: bool) -> Check {
    let failed = |what: String, advice: &str| Check::failed(NAME, format!("{} {what}", dir.display()), advice);
    let layout = "--model names a folder in the Hugging Face layout (config.json, tokenizer.json and *.safetensors) or a GGUF file";
    let contents = match kind {
        Kind::Nothing => return failed("is not there".into(), &format!("correct the path; {layout}")),
        Kind::HubName => {
            let name = kind::hub_name(dir).unwrap_or_default();
            let advice = format!(
                "this program downloads no models: `hf download {name} --local-dir DIR` does, and then give DIR"
            );
            return Check::failed(NAME, format!("{name} is no folder here, but may be a repository's name"), advice);
        }
        Kind::File => {
            return failed("is a file, and not in the GGUF format".into(), &format!("give the folder; {layout}"));
        }
        Kind::Unreadable(why) => return failed(format!("cannot be read: {why}"), "let this user read it"),
        Kind::Folder(contents) => contents,
    };
    if !contents.pointers.is_empty() {
        let what = format!("has pointers of Git LFS in the place of {}", list(&contents.pointers));
        return failed(what, "run `git lfs install && git lfs pull` in it");
    }
    if !contents.has_config {
        let what = if contents.foreign.is_empty() {
            "has no config.json".to_owned()
        } else {
            format!("has no config.json, but {}", list(&contents.foreign))
        };
        return failed(what, layout);
    }
    if !needs_weights || (contents.has_weights && contents.missing.is_empty()) {
        return Check::ok(NAME, dir.display().to_string());
    }
    if !contents.missing.is_empty() {
        let what =
            format!("lacks {} of the files that {INDEX} names: {}", contents.missing.len(), list(&contents.missing));
        return failed(what, "download them again; the download was not finished");
    }
    if contents.foreign.is_empty() {
        failed(format!("has no weights ({SINGLE}, or {INDEX})"), "download the weights as well")
    } else {
        let what = format!("has its weights as {}, which is not read", list(&contents.foreign));
        let advice = "take the checkpoint's safetensors files, or write them: in Python, \
                      AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)";
        failed(what, advice)
    }
}

/// Lists a few names.
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

/// The cache folder of the hub's own programs.
fn hub_cache() -> PathBuf {
    let given = |name| env::var_os(name).map(PathBuf::from);
    let home = || env::home_dir().unwrap_or_default().join(".cache");
    given("HF_HUB_CACHE")
        .or_else(|| given("HF_HOME").map(|home| home.join("hub")))
        .unwrap_or_else(|| given("XDG_CACHE_HOME").unwrap_or_else(home).join("huggingface/hub"))
}

/// The snapshot of the repository named by `dir`, if it was downloaded before.
fn cached(cache: &Path, dir: &Path) -> Option<PathBuf> {
    let repository = format!("models--{}", kind::hub_name(dir)?.replace('/', "--"));
    let mut hits = Vec::new();
    search(&cache.join(repository).join("snapshots"), 1, &mut { FOLDERS_MAX }, &mut hits);
    hits.into_iter().next()
}

/// Checkpoints below the folder, or below its nearest existing ancestor.
fn nearby(dir: &Path) -> Vec<PathBuf> {
    let mut budget = FOLDERS_MAX;
    let mut hits = Vec::new();
    if dir.is_dir() {
        search(dir, DEPTH, &mut budget, &mut hits);
    }
    // The root is excluded: searching from there would mean the whole disk.
    let above = dir.ancestors().skip(1).find(|above| above.is_dir()).filter(|above| above.parent().is_some());
    if let (true, Some(above)) = (hits.is_empty(), above) {
        if is_checkpoint(above) {
            hits.push(above.to_owned());
        }
        search(above, 1, &mut budget, &mut hits);
    }
    hits
}

/// Adds the checkpoints in `dir`, down to `depth` folders below it, to `hits`. Each folder that is looked at takes one of
/// `budget`.
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

    use crate::doctor::kind::Contents;

    fn of(contents: Contents) -> Check {
        verdict(Path::new("/m"), &Kind::Folder(contents), true)
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
        let routed = verdict(Path::new("/m"), &Kind::Folder(Contents { has_weights: false, ..whole() }), false);
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
    fn what_is_no_folder_gets_one_line_of_its_own() {
        let of = |kind| verdict(&env::current_dir().unwrap().join("Qwen/Qwen3-0.6B"), &kind, true);
        let lines: Vec<Check> = [Kind::Nothing, Kind::HubName, Kind::File].into_iter().map(of).collect();
        assert!(lines.iter().all(|check| !check.ok && !check.found.contains('\n')), "{lines:?}");
        assert!(lines[1].advice.contains("hf download Qwen/Qwen3-0.6B"), "{:?}", lines[1]);
        assert!(
            lines[2].found.ends_with("is a file, and not in the GGUF format")
                && lines[2].advice.contains("config.json"),
            "{:?}",
            lines[2]
        );
    }

    #[test]
    fn a_repository_that_was_downloaded_is_found() {
        let cache = tempfile::tempdir().unwrap();
        let snapshot = cache.path().join("models--Qwen--Qwen3-0.6B/snapshots/abc");
        fs::create_dir_all(&snapshot).unwrap();
        assert_eq!(cached(cache.path(), Path::new("Qwen/Qwen3-0.6B")), None);
        for file in [CONFIG, SINGLE] {
            fs::write(snapshot.join(file), "{}").unwrap();
        }
        assert_eq!(cached(cache.path(), Path::new("Qwen/Qwen3-0.6B")), Some(snapshot));
        assert_eq!(cached(cache.path(), Path::new("Qwen/Qwen3-4B")), None);
    }
}
