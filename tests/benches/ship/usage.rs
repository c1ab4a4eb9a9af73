//! Resource usage of this process.

use std::{fs, time::Duration};

/// Processor time and memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time together, of all threads.
    pub processor: Duration,
    /// Resident memory now, in bytes.
    pub resident: u64,
    /// Largest resident memory since the start or the last reset, in bytes.
    pub peak: u64,
}

impl Usage {
    /// The current usage.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
        };
        Self { processor: processor_time(), resident: field("VmRSS:"), peak: field("VmHWM:") }
    }

    /// Resets the memory peak.
    pub fn forget_peak() {
        fs::write("/proc/self/clear_refs", "5").unwrap();
    }

    /// Formats the usage as three numbers: microseconds of processor time, bytes resident, bytes at the peak.
    pub fn line(&self) -> String {
        format!("{} {} {}", self.processor.as_micros(), self.resident, self.peak)
    }

    /// Parses a line that [`Usage::line`] made.
    pub fn of_line(line: &str) -> Self {
        let numbers: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        Self { processor: Duration::from_micros(numbers[0]), resident: numbers[1], peak: numbers[2] }
    }
}

fn processor_time() -> Duration {
    // SAFETY: `rusage` is a struct of integers only, for which all zero bits are a valid value.
    let mut found: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live `rusage` that nothing else accesses during the call.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut found) }, 0);
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, 1_000 * time.tv_usec as u32);
    of(found.ru_utime) + of(found.ru_stime)
}
