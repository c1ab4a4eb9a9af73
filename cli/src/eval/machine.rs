//! The machine of a run: times depend on it and, through its instruction set, the last bits of results.

use std::{fs, thread};

use serde_json::{Value, json};

/// Describes the machine that eval runs on; with `--url` that is the client's machine.
pub fn describe() -> Value {
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cpu": field("/proc/cpuinfo", "model name"),
        "cores": thread::available_parallelism().map_or(1, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
    })
}

/// The value of a line `NAME : VALUE` in a file; `None` if the file or the line does not exist.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_null() {
        assert!(describe()["cores"].as_u64().unwrap() >= 1);
        assert_eq!(field("/no/such/file", "x"), None);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("info");
        fs::write(&file, "model\t: 85\nmodel name\t: A chip\n").unwrap();
        assert_eq!(field(file.to_str().unwrap(), "model name").as_deref(), Some("A chip"));
        assert_eq!(field(file.to_str().unwrap(), "cores"), None);
    }
}
