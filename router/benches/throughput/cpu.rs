//! Processor time of this process's threads, by what they do: a thread's name says whose it is.

use std::{collections::HashMap, fs};

/// Threads of the router, its blocking ones included.
pub const ROUTER: &str = "router";
/// Threads of the HTTP client.
pub const CLIENT: &str = "client";
/// Threads of the canned server and of the direct calls.
pub const OTHERS: &str = "others";

/// Nanoseconds that each thread has run, with its name; empty where the system does not say.
pub struct Used(HashMap<u32, (String, u64)>);

impl Used {
    pub fn now() -> Used {
        let read = |thread: &fs::DirEntry| {
            let id = thread.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(thread.path().join("comm")).ok()?;
            let ran = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            Some((id, (name.trim().to_owned(), ran.split(' ').next()?.parse().ok()?)))
        };
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        Used(threads.filter_map(|thread| read(&thread)).collect())
    }

    /// What was used since `before`. A thread that has ended since then was idle, and ends after seconds of that.
    pub fn since(&self, before: &Used) -> Used {
        let since = |(id, (name, ran)): (&u32, &(String, u64))| {
            let earlier = before.0.get(id).map_or(0, |(_, ran)| *ran);
            (*id, (name.clone(), ran.saturating_sub(earlier)))
        };
        Used(self.0.iter().map(since).collect())
    }

    /// Seconds of the threads with this name.
    pub fn of(&self, name: &str) -> f64 {
        self.seconds(|other| other == name)
    }

    /// Seconds of the nodes, whose threads have no name of their own.
    pub fn of_nodes(&self) -> f64 {
        self.seconds(|name| name.starts_with("tokio-"))
    }

    fn seconds(&self, counts: impl Fn(&str) -> bool) -> f64 {
        self.0.values().filter(|(name, _)| counts(name)).map(|(_, ran)| *ran as f64 / 1e9).sum()
    }
}
