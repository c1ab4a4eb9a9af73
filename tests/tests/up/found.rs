//! `secateur doctor` without arguments, beside a running cluster on any port.

use std::{fs, process::Command};

use serde_json::Value;

use super::served::Up;

/// The check of the router at `base`, by a doctor of the same user; `None` if doctor does not examine it.
fn looked_at(up: &Up, base: &str) -> Option<Value> {
    let mut doctor = Command::new(super::PROGRAM);
    let output = doctor.args(["doctor", "--json"]).env("XDG_RUNTIME_DIR", up.session.path()).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == format!("router {base}")).cloned()
}

#[test]
fn a_cluster_is_found_wherever_it_listens_and_as_long_as_it_does() {
    let mut up = Up::start(&[]);
    let base = up.base().to_owned();
    let check = looked_at(&up, &base).expect("the cluster is looked at");
    assert_eq!(check["ok"], true, "{check}");
    assert!(check["found"].as_str().unwrap().contains("secateur-demo"), "{check}");
    // A killed cluster had no time to remove its note.
    up.kill();
    let notes = || fs::read_dir(up.session.path().join("secateur")).unwrap().count();
    assert_eq!(notes(), 1);
    assert_eq!(looked_at(&up, &base), None);
    assert_eq!(notes(), 0);
}
