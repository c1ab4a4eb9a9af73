//! No circles between files: a file may import what another one defines only if that one does not, over however many
//! steps, import from it. A re-export is no import: what is imported through it counts as imported from where it is
//! defined. So a module's `mod.rs` may list and re-export its files, and they may not reach up to it while it uses them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use regex::Regex;

/// Crates whose files are looked at.
const CRATES: [&str; 14] = [
    "common",
    "proto",
    "channel",
    "pruning",
    "transfer",
    "kernels",
    "gguf",
    "grammar",
    "model",
    "node",
    "prefill-node",
    "decode-node",
    "router",
    "cli",
];

/// Path of a module inside its crate; empty for the root.
pub type Module = Vec<String>;

/// The modules of one crate that are files, with what they import.
#[derive(Default)]
pub struct Crate {
    /// Text without comments, strings and tests.
    texts: BTreeMap<Module, String>,
    /// Names that a module passes on, and where they come from.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Crate {
    pub fn read(source: &Path) -> Crate {
        let mut found = Crate::default();
        let declared = Regex::new(r"#\[cfg\(test\)\]\n(?:pub )?mod (\w+);").unwrap();
        let mut tests: Vec<Module> = Vec::new();
        for file in files(source) {
            let relative = file.strip_prefix(source).unwrap().with_extension("");
            let mut module: Module = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            match module.last().map(String::as_str) {
                Some("mod" | "lib") => drop(module.pop()),
                Some("main" | "tests") => continue,
                _ => {}
            }
            let text = std::fs::read_to_string(&file).unwrap();
            tests.extend(declared.captures_iter(&text).map(|name| [module.as_slice(), &[name[1].to_owned()]].concat()));
            found.texts.insert(module, bare(&text));
        }
        found.texts.retain(|module, _| !tests.iter().any(|tests| module.starts_with(tests)));
        found
    }

    /// The path from the root; `None` for a path into another crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module.as_slice(), rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let base = module.get(..module.len().checked_sub(ups)?)?;
                Some([base, &path[ups..]].concat())
            }
            _ => {
                let child = [module.as_slice(), std::slice::from_ref(first)].concat();
                self.texts.contains_key(&child).then(|| [module.as_slice(), path].concat())
            }
        }
    }

    /// The file that defines what a path names.
    fn definer(&self, path: &Module, depth: usize) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|&length| self.texts.contains_key(&path[..length]))?;
        let module = path[..length].to_vec();
        let export = path.get(length).and_then(|name| self.exports.get(&module)?.get(name));
        match export {
            Some(export) if depth > 0 => {
                let whole = [export.as_slice(), &path[length + 1..]].concat();
                self.definer(&whole, depth - 1).or(Some(module))
            }
            _ => Some(module),
        }
    }

    /// Each file's imports.
    pub fn edges(&mut self) -> BTreeMap<Module, BTreeSet<Module>> {
        let imports = Regex::new(r"(?ms)^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap();
        let inline = Regex::new(r"\b((?:crate|super|self)(?:::\w+)+)|\b([a-z_]\w*::\w+)").unwrap();
        let mut used: BTreeMap<Module, Vec<Vec<String>>> = BTreeMap::new();
        for (module, text) in &self.texts {
            for import in imports.captures_iter(text) {
                for path in expand(&import[2]) {
                    match (import.get(1), self.absolute(module, &path)) {
                        (Some(_), Some(target)) => {
                            let name = path.last().unwrap().clone();
                            self.exports.entry(module.clone()).or_default().insert(name, target);
                        }
                        (None, _) => used.entry(module.clone()).or_default().push(path),
                        _ => {}
                    }
                }
            }
            let body = imports.replace_all(text, "");
            for path in inline.captures_iter(&body) {
                let path = path.get(1).or(path.get(2)).unwrap().as_str();
                used.entry(module.clone()).or_default().push(path.split("::").map(str::to_owned).collect());
            }
        }
        let target = |module: &Module, path: &Vec<String>| {
            self.absolute(module, path).and_then(|path| self.definer(&path, 6)).filter(|target| target != module)
        };
        let of = |(module, paths): (&Module, &Vec<Vec<String>>)| {
            (module.clone(), paths.iter().filter_map(|path| target(module, path)).collect())
        };
        used.iter().map(of).collect()
    }
}

/// Rust files below a folder, `build.rs` and binaries' folders left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The text without comments, string contents and test modules.
fn bare(text: &str) -> String {
    let tests = Regex::new(r"#\[cfg\(test\)\]\n(pub(\(crate\))? )?mod \w+ \{").unwrap();
    let comments = Regex::new(r"//[^\n]*").unwrap();
    let strings = Regex::new(r#""(?:\\.|[^"\\])*""#).unwrap();
    let text = comments.replace_all(text, "");
    let text = strings.replace_all(&text, "\"\"").into_owned();
    match tests.find(&text) {
        Some(found) => text[..found.start()].to_owned(),
        None => text,
    }
}

/// The single paths of a `use` tree.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let head: Vec<String> =
        head.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut part, mut paths) = (0usize, String::new(), Vec::new());
    for character in inside.chars().chain([',']) {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                if !part.trim().is_empty() {
                    paths.extend(expand(&part).into_iter().map(|path| [head.clone(), path].concat()));
                }
                part.clear();
                continue;
            }
            _ => {}
        }
        part.push(character);
    }
    paths
}

/// Every file that a file reaches through imports.
fn reached(edges: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(module) = open.pop() {
        for next in edges.get(&module).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let mut circles = Vec::new();
    for name in CRATES {
        let mut read = Crate::read(&secateur_tests::repository(name).join("src"));
        assert!(!read.texts.is_empty(), "{name} has no files");
        let edges = read.edges();
        for module in edges.keys().filter(|module| reached(&edges, module).contains(*module)) {
            circles.push(format!("{name}: {}", module.join("/")));
        }
    }
    assert!(circles.is_empty(), "files that reach themselves through their imports:\n{}", circles.join("\n"));
}

#[test]
fn circles_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\npub use b::Thing;\n");
    write("a.rs", "use crate::Thing;\npub struct Other;\n");
    write("b.rs", "pub struct Thing;\n");
    assert!(Crate::read(folder.path()).edges().iter().all(|(_, targets)| targets.len() < 2));
    write("b.rs", "use super::a::{Other, self};\npub struct Thing;\n");
    let edges = Crate::read(folder.path()).edges();
    assert!(reached(&edges, &vec!["a".to_owned()]).contains(&vec!["a".to_owned()]), "{edges:?}");
}
