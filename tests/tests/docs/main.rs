//! Runs every command of the documents: each fenced `sh` block of README.md, docs/ and the other pages, in order, in a
//! scratch folder, with the program of this build.
//!
//! A comment directly before a block, visible in the document's source, changes this:
//!
//! - `<!-- not run: why -->` skips the block;
//! - `<!-- run with: WORDS => OTHER WORDS ; ... -->` runs it with these words replaced, if it has a placeholder or
//!   would take hours. If the words are not in the block the test fails, so such a comment cannot go stale.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod block;
mod scene;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use block::{Block, How};
use scene::Scene;
use secateur_proto::ErrorCode;
use secateur_tests::repository;

/// The README, and every page that has commands for users.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![repository("README.md")];
    let mut docs: Vec<PathBuf> = fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    docs.sort();
    pages.extend(docs.into_iter().filter(|path| path.extension().is_some_and(|end| end == "md")));
    pages.extend(["benches/README.md", "models/demo/README.md"].map(repository));
    pages
}

/// Name of a page in this test's output.
fn name(page: &Path) -> String {
    let root = repository(".").canonicalize().unwrap();
    page.canonicalize().unwrap().strip_prefix(root).unwrap().display().to_string()
}

/// A program that is not on this machine and that the commands, or the wait for their servers, need.
fn missing(commands: &str) -> Option<&'static str> {
    let is_there = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
    };
    let needed = ["curl", "openssl", "base64", "jq"].into_iter();
    needed.filter(|tool| *tool == "curl" || commands.contains(tool)).find(|tool| !is_there(tool))
}

#[test]
fn every_command_runs() {
    let only = std::env::var("DOCS_ONLY").ok();
    let (mut ran, mut skipped, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for page in pages() {
        let name = name(&page);
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let mut scene = Scene::new();
        // Later blocks of a page depend on what earlier ones started.
        let mut lacks = None;
        for block in Block::all(&fs::read_to_string(&page).unwrap()) {
            let place = format!("{name}:{}", block.line);
            let commands = match block.how() {
                How::NotRun(why) => {
                    skipped.push(format!("{place}: {why}"));
                    continue;
                }
                How::Run(commands) => match lacks.or_else(|| missing(&commands)) {
                    Some(tool) => {
                        lacks = Some(tool);
                        skipped.push(format!("{place}: there is no {tool} here"));
                        continue;
                    }
                    None => commands,
                },
                How::Stale(words) => {
                    failed.push(format!("{place}: the comment before it changes `{words}`, which is not in it"));
                    continue;
                }
            };
            let started = Instant::now();
            match scene.run(&commands) {
                Ok(()) => ran.push(format!("{place}: {:.1} s", started.elapsed().as_secs_f64())),
                Err(why) => failed.push(format!("{place}: {why}\n{commands}")),
            }
        }
    }
    eprintln!("{} blocks ran:\n  {}", ran.len(), ran.join("\n  "));
    eprintln!("{} blocks did not:\n  {}", skipped.len(), skipped.join("\n  "));
    assert!(failed.is_empty(), "{} blocks failed:\n{}", failed.len(), failed.join("\n\n"));
    assert!(!ran.is_empty(), "no page has a block");
}

/// A reader of the folder's index finds every page in it.
#[test]
fn every_page_is_in_the_index() {
    let index = fs::read_to_string(repository("docs/README.md")).unwrap();
    for page in fs::read_dir(repository("docs")).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let is_listed = index.contains(&format!("]({name})"));
        assert!(is_listed || name == "README.md" || !name.ends_with(".md"), "docs/README.md has no line for {name}");
    }
}

/// The table of errors in docs/operating.md has exactly the errors of the code.
#[test]
fn every_error_is_in_the_table() {
    let page = fs::read_to_string(repository("docs/operating.md")).unwrap();
    let (_, table) = page.split_once("## What each error means").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    for code in ErrorCode::ALL {
        let start = format!("| `{}` | {} |", code.as_str(), code.http());
        assert!(rows.iter().any(|row| row.starts_with(&start)), "docs/operating.md lacks the row {start} ...");
    }
    assert_eq!(rows.len(), ErrorCode::ALL.len(), "docs/operating.md has an error that is none");
}
