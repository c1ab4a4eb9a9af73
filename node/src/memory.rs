//! How much memory KV may take when nobody says.

/// Used where the system does not say what is free.
const FALLBACK_BYTES: u64 = 1 << 30;

/// A quarter of the memory that is free now: weights are loaded by this time, and a second node, prefill's working
/// memory and the system have to live beside it.
pub(crate) fn default_kv_bytes() -> u64 {
    let free = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(available_bytes);
    free.map_or(FALLBACK_BYTES, |bytes| bytes / 4)
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_kibibytes() {
        let text = "MemTotal:       24576 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 << 20));
        assert_eq!(available_bytes("nothing"), None);
    }
}
