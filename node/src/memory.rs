//! KV memory: how much of it a node takes, and the pool made from it.

use anyhow::Context;
use secateur_model::{KvPool, Model};

use crate::settings::NodeSettings;

/// KV memory taken if the system does not report its free memory.
const FALLBACK_BYTES: u64 = 1 << 30;

/// Creates the node's KV pool: as large as the settings say, else a quarter of the memory that is free now. Weights are
/// mapped by this time; the rest is left to a second node, working memory and the system.
pub fn kv_pool(settings: &NodeSettings, model: &Model) -> anyhow::Result<KvPool> {
    let bytes = settings.kv_memory.map_or_else(default_kv_bytes, |size| size.as_u64());
    model.kv_pool(bytes).context("cannot set up KV memory (--kv-memory)")
}

/// Bytes of KV memory that a node takes without `--kv-memory`.
pub fn default_kv_bytes() -> u64 {
    free_bytes().map_or(FALLBACK_BYTES, |bytes| bytes / 4)
}

/// Bytes of memory available now, on this machine and within this container's limit; `None` if the system does not
/// report it.
pub fn free_bytes() -> Option<u64> {
    let free = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(available_bytes);
    [free, container_bytes()].into_iter().flatten().min()
}

/// Bytes left to this container if its memory is limited (cgroup v2, else v1).
fn container_bytes() -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    let left = |[limit, used, stat]: [&str; 3], idle: &str| {
        left_bytes(&read(limit)?, &read(used)?, &read(stat).unwrap_or_default(), idle)
    };
    left(["memory.max", "memory.current", "memory.stat"], "inactive_file").or_else(|| {
        let files = ["memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"];
        left(files, "total_inactive_file")
    })
}

/// `limit` minus `used`, where the bytes on the line `idle` of `stat` do not count as used: they are inactive pages of
/// files, which the system drops when memory is wanted. `None` without a limit under cgroup v2, which then says "max";
/// v1 then gives more than any machine has.
fn left_bytes(limit: &str, used: &str, stat: &str, idle: &str) -> Option<u64> {
    let (limit, used): (u64, u64) = (limit.trim().parse().ok()?, used.trim().parse().ok()?);
    let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.strip_prefix(' ')?.trim().parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(idle.unwrap_or(0))))
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

    #[test]
    fn files_that_a_container_has_read_leave_it_its_memory() {
        let stat = "anon 300\ninactive_file 500\nactive_file 100\n";
        assert_eq!(left_bytes("1000\n", "900\n", stat, "inactive_file"), Some(600));
        assert_eq!(left_bytes("1000\n", "900\n", "", "inactive_file"), Some(100));
        assert_eq!(left_bytes("1000\n", "1200\n", stat, "inactive_file"), Some(300));
        assert_eq!(left_bytes("max\n", "900\n", stat, "inactive_file"), None);
    }
}
