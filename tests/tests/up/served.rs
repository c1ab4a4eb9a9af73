//! A cluster that `secateur up` keeps serving, as its user sees it: one process, its messages, and a terminal's Ctrl-C.

use std::{
    io::{BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Deadline that detects a hang, not slowness.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `secateur up --json`; killed on drop.
pub struct Up {
    process: Child,
    said: Arc<Mutex<String>>,
    /// The printed JSON document.
    pub document: Value,
    /// The user's runtime folder, which no other cluster uses.
    pub session: TempDir,
}

impl Up {
    /// Starts it on a free port, in a process group of its own as a shell does, and waits until it serves.
    pub fn start(arguments: &[&str]) -> Self {
        let session = tempfile::tempdir().unwrap();
        let mut process = Command::new(super::PROGRAM)
            .args(["up", "--port", "0", "--json"])
            .args(arguments)
            .env("XDG_RUNTIME_DIR", session.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (output, mut errors) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let heard = said.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = errors.read(&mut buffer) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        let mut documents = serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>();
        let document = documents.next().map(Result::unwrap);
        let mut up = Self { process, said, document: Value::Null, session };
        up.document = document.unwrap_or_else(|| panic!("no document: {}", up.said()));
        up
    }

    /// The router's URL.
    pub fn base(&self) -> &str {
        self.document["urls"]["api"].as_str().unwrap().trim_end_matches("/v1")
    }

    /// Standard error of the process so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until standard error contains `words`.
    pub fn until_said(&self, words: &str) {
        let since = Instant::now();
        while !self.said().contains(words) {
            assert!(since.elapsed() < PATIENCE, "no {words:?} in {:?}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGINT to the whole process group, as a terminal does for Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(-(self.process.id() as i32), libc::SIGINT);
    }

    /// Sends SIGTERM to the process alone, as a supervisor does.
    pub fn terminate(&self) {
        self.signal(self.process.id() as i32, libc::SIGTERM);
    }

    /// Sends SIGKILL, so the process has no chance to shut down.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn signal(&self, whom: i32, signal: i32) {
        // SAFETY: `kill` takes only integers and accesses no memory of this process. The id is that of a child that
        // this test started and has not waited for, so it cannot belong to another process.
        assert_eq!(unsafe { libc::kill(whom, signal) }, 0);
    }

    /// Waits until the process has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it goes on: {}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
