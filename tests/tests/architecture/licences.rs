//! Licences of every crate that is built into the programs.

use serde_json::Value;

/// Licences that may be depended on: permissive ones, which ask for no more than their text beside the program.
const ALLOWED: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "IJG",
    "Unlicense",
];

/// Whether an SPDX expression can be satisfied with what is allowed. Old crates write `/` for `OR`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let normal = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    normal.split(" AND ").all(|all| all.split(" OR ").any(|one| ALLOWED.contains(&one.trim())))
}

#[test]
fn every_dependency_is_under_a_permissive_licence() {
    let metadata = super::metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_allowed(&text(package, "license")))
        .map(|package| format!("{} {}: {}", text(package, "name"), text(package, "version"), text(package, "license")))
        .collect();
    assert!(refused.is_empty(), "licences that are not on the list: {refused:?}");
}

#[test]
fn expressions_are_understood() {
    for fine in ["MIT", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0", "GPL-3.0 OR MIT"] {
        assert!(is_allowed(fine), "{fine}");
    }
    for refused in ["GPL-3.0", "MIT AND GPL-3.0", "", "MPL-2.0"] {
        assert!(!is_allowed(refused), "{refused}");
    }
}
