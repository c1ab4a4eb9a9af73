//! Every command of the documents is run: each fenced `sh` block of README.md, docs/ and the other pages, in order, in a
//! scratch folder, with the program of this build.
//!
//! A comment right before a block says otherwise, in the document's source, where its reader can see it:
//!
//! - `<!-- not run: why -->`;
//! - `<!-- run with: WORDS => OTHER WORDS ; ... -->`: with these words changed, where the block has a placeholder or would
//!   take hours. Words that are not there fail the test, so such a comment cannot go stale.
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

/// As it is called in what this test prints.
fn name(page: &Path) -> String {
    let root = repository(".").canonicalize().unwrap();
    page.canonicalize().unwrap().strip_prefix(root).unwrap().display().to_string()
}

/// A program that the commands need, or what waits for their servers, and that is not on this machine.
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
        // Later blocks of a page count on what earlier ones started.
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

/// Who opens the folder finds everything in it.
#[test]
fn every_page_is_in_the_index() {
    let index = fs::read_to_string(repository("docs/README.md")).unwrap();
    for page in fs::read_dir(repository("docs")).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let is_listed = index.contains(&format!("]({name})"));
        assert!(is_listed || name == "README.md" || !name.ends_with(".md"), "docs/README.md has no line for {name}");
    }
}

/// The table of errors in docs/operating.md is the one in the code, no row more and no row less.
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
