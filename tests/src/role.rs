//! One role as a real process.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use secateur_common::announce;

/// A running role; killed on drop.
pub struct Role {
    program: String,
    arguments: Vec<String>,
    log: Option<PathBuf>,
    process: Child,
    /// The address that the role listens on.
    pub address: SocketAddr,
}

impl Role {
    /// Starts `program ARGUMENTS --listen` on a free loopback port.
    pub fn start(program: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_on(program, arguments, SocketAddr::from(([127, 0, 0, 1], 0)), None)
    }

    /// Starts `program ARGUMENTS --listen` on `listen`, with its log in the file `log` if that is given.
    pub fn start_on(program: &str, arguments: &[&str], listen: SocketAddr, log: Option<&Path>) -> anyhow::Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (process, address) = spawn(program, &arguments, listen, log)?;
        Ok(Self { program: program.to_owned(), arguments, log: log.map(Path::to_owned), process, address })
    }

    /// Sends SIGKILL, so the role has no chance to shut down.
    pub fn kill(&mut self) {
        // This only fails if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends SIGSTOP: connections stay open, and the process does nothing.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Sends SIGCONT: the process continues where it stopped.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let done = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status()?;
        anyhow::ensure!(done.success(), "SIG{name} could not be sent");
        Ok(())
    }

    /// Restarts the role on the same address.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        (self.process, self.address) = spawn(&self.program, &self.arguments, self.address, self.log.as_deref())?;
        Ok(())
    }

    /// Process id of the role.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(
    program: &str,
    arguments: &[String],
    listen: SocketAddr,
    log: Option<&Path>,
) -> anyhow::Result<(Child, SocketAddr)> {
    let log = log.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
    let mut process = Command::new(program)
        .args(arguments)
        .args(["--listen", &listen.to_string(), "--log", "warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.map_or_else(Stdio::inherit, Stdio::from))
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let output = process.stdout.take().context("no standard output")?;
    for line in BufReader::new(output).lines() {
        if let Some(address) = announce::parse(&line?) {
            return Ok((process, address));
        }
    }
    anyhow::bail!("{} ended before it listened", arguments.join(" "))
}
