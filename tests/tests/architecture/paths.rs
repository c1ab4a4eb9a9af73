//! Paths and tests that ARCHITECTURE.md names exist.

use regex::Regex;

fn document() -> String {
    std::fs::read_to_string(secateur_tests::repository("ARCHITECTURE.md")).unwrap()
}

#[test]
fn paths_in_the_architecture_page_exist() {
    let path = Regex::new(r"`([\w.-]+(?:/[\w.*-]+)+/?)`").unwrap();
    let document = document();
    let named: Vec<&str> = path.captures_iter(&document).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(named.len() > 80, "{}", named.len());
    let is_ours = |path: &&str| secateur_tests::repository(path.split('/').next().unwrap()).exists();
    let missing: Vec<&str> = named
        .into_iter()
        .filter(is_ours)
        .filter(|path| !path.contains('*') && !secateur_tests::repository(path).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn tests_that_hold_the_invariants_exist() {
    let pair = Regex::new(r"`([\w./-]+\.rs)`: `(\w+)`").unwrap();
    let document = document();
    let pairs: Vec<(&str, &str)> = pair
        .captures_iter(&document)
        .map(|found| (found.get(1).unwrap().as_str(), found.get(2).unwrap().as_str()))
        .collect();
    assert!(pairs.len() > 20, "{}", pairs.len());
    for (file, test) in pairs {
        let text = std::fs::read_to_string(secateur_tests::repository(file)).unwrap();
        assert!(text.contains(&format!("fn {test}(")), "{file} has no test {test}");
    }
}
