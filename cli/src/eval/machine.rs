//! Where it ran: times and, by their instruction sets, last bits depend on it.

use std::{fs, thread};

use serde_json::{Value, json};

/// The machine that eval runs on; with `--url` that is the client's.
pub fn describe() -> Value {
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cpu": field("/proc/cpuinfo", "model name"),
        "cores": thread::available_parallelism().map_or(1, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
    })
}

/// `NAME : VALUE` of a file; none where there is no such file or line.
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
