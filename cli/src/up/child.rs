//! One role as a child process.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::Context;
use secateur_common::announce;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child as Process, ChildStdin, Command},
    time::timeout,
};

/// Deadline for a role to bind its port (the model is loaded afterwards).
const ANNOUNCE_MAX: Duration = Duration::from_secs(20);
/// Deadline for a role to stop before it is killed: longer than any role gives its requests (a node 30 s, a router 25 s
/// and 2 s for the last bytes), so that it only affects a process that hangs.
const STOP_MAX: Duration = Duration::from_secs(35);

/// A running role.
pub struct Child {
    arguments: Vec<String>,
    process: Process,
    /// Write end of a pipe: the role stops when it closes, so it cannot outlive this process, however this process
    /// ends.
    lifeline: Option<ChildStdin>,
    address: SocketAddr,
}

impl Child {
    /// Starts `secateur ARGUMENTS --listen LISTEN` and waits until it listens.
    pub async fn start(arguments: Vec<String>, listen: SocketAddr) -> anyhow::Result<Self> {
        let role = arguments.first().cloned().unwrap_or_default();
        let (process, lifeline, address) =
            spawn(&arguments, listen).await.with_context(|| format!("cannot start the {role}"))?;
        Ok(Self { arguments, process, lifeline, address })
    }

    /// The role, such as `prefill`.
    pub fn role(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    /// The address that the role listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the process has ended, and returns how it ended.
    pub async fn ended(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Starts the process again, on the same address.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let (process, lifeline, _) = spawn(&self.arguments, self.address).await?;
        self.process = process;
        self.lifeline = lifeline;
        Ok(())
    }

    /// Stops the role: first by closing its lifeline, then, after a deadline, by killing it.
    pub async fn stop(&mut self) {
        self.lifeline = None;
        if timeout(STOP_MAX, self.process.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills the role at once, even while it serves.
    pub async fn kill(&mut self) {
        // The process may end by itself at this moment; either way it is gone.
        let _ = self.process.kill().await;
    }
}

/// The role's command. A process group of its own shields it from a terminal's Ctrl-C: `up` stops its roles in order.
fn command(program: &Path, arguments: &[String], listen: SocketAddr) -> std::process::Command {
    let mut command = program_of(program, arguments, listen);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// A role's command, with flags to listen and to stop when its standard input closes.
pub fn program_of(program: &Path, arguments: &[String], listen: SocketAddr) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .args(["--listen", &listen.to_string(), "--stdin-lifeline"])
        // A configuration file that the caller uses for one role would be wrong for the others.
        .env_remove("SECATEUR_CONFIG")
        // These roles are called on loopback, in clear text.
        .env_remove("SECATEUR_ROUTER_HTTP_TLS_CERT")
        .env_remove("SECATEUR_ROUTER_HTTP_TLS_KEY");
    command
}

async fn spawn(arguments: &[String], listen: SocketAddr) -> anyhow::Result<(Process, Option<ChildStdin>, SocketAddr)> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut process = Command::from(command(&program, arguments, listen))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let lifeline = process.stdin.take();
    let output = process.stdout.take().context("no standard output")?;
    let mut lines = BufReader::new(output).lines();
    let announced = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = announce::parse(&line) {
                return Ok(address);
            }
        }
        anyhow::bail!("it ended before it listened; its message is above")
    };
    let address = timeout(ANNOUNCE_MAX, announced).await.context("it did not listen in time")??;
    Ok((process, lifeline, address))
}
