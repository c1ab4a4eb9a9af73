//! What this process has used.

use std::{fs, time::Duration};

/// Processor time and memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system together, of all threads.
    pub processor: Duration,
    /// Resident now, bytes.
    pub resident: u64,
    /// The most that was resident since the start, or since it was forgotten, bytes.
    pub peak: u64,
}

impl Usage {
    /// Of this moment.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
        };
        Self { processor: processor_time(), resident: field("VmRSS:"), peak: field("VmHWM:") }
    }

    /// From now on the peak counts anew.
    pub fn forget_peak() {
        fs::write("/proc/self/clear_refs", "5").unwrap();
    }

    /// Three numbers: microseconds of processor time, bytes resident, bytes at the peak.
    pub fn line(&self) -> String {
        format!("{} {} {}", self.processor.as_micros(), self.resident, self.peak)
    }

    /// Reads such a line.
    pub fn of_line(line: &str) -> Self {
        let numbers: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        Self { processor: Duration::from_micros(numbers[0]), resident: numbers[1], peak: numbers[2] }
    }
}

fn processor_time() -> Duration {
    // SAFETY: a struct of numbers, for which zeros are valid.
    let mut found: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a struct that lives until the call returns.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut found) }, 0);
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, 1_000 * time.tv_usec as u32);
    of(found.ru_utime) + of(found.ru_stime)
}
