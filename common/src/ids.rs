//! Identifiers that programs make for themselves.

use uuid::Uuid;

/// A fresh id that sorts by time, for epochs, requests and processes.
pub fn time_ordered() -> String {
    Uuid::now_v7().simple().to_string()
}

/// Name of a node whose configuration gives none: the role and a random tail.
pub fn node_id(role: &str) -> String {
    let tail = Uuid::new_v4().simple().to_string();
    format!("{role}-{}", &tail[..8])
}

/// Id of the machine that this process runs on: the same in all of its containers, until the machine boots again. Empty
/// if the system does not provide it.
pub fn host_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_differ_and_sort_by_time() {
        let first = time_ordered();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(first < time_ordered());
    }

    #[test]
    fn node_ids_carry_the_role() {
        assert!(node_id("decode").starts_with("decode-"));
        assert_ne!(node_id("decode"), node_id("decode"));
    }
}
