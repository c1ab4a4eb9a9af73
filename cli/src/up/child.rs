//! One role as a process of its own.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::Context;
use secateur_common::announce;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child as Process, ChildStdin, Command},
    time::timeout,
};

/// How long a role may take to bind its port (the model is loaded afterwards).
const ANNOUNCE_MAX: Duration = Duration::from_secs(20);
/// How long a role may take to stop before it is killed: more than any gives its requests (a node 30 s, a router 25 s and
/// 2 s for the last bytes), so that this is for a process that hangs.
const STOP_MAX: Duration = Duration::from_secs(35);

/// A running role.
pub struct Child {
    arguments: Vec<String>,
    process: Process,
    /// The role stops when this end of the pipe closes, so it cannot outlive this process, however that ends.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the process has ended, and says how.
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

    /// Stops it: kindly, then not.
    pub async fn stop(&mut self) {
        self.lifeline = None;
        if timeout(STOP_MAX, self.process.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Ends it at once, whatever it does.
    pub async fn kill(&mut self) {
        // It may end by itself in this very moment; either way it is gone.
        let _ = self.process.kill().await;
    }
}

/// The role's command line. A group of its own keeps a terminal's Ctrl-C from it: `up` ends its roles in their order.
fn command(program: &Path, arguments: &[String], listen: SocketAddr) -> std::process::Command {
    let mut command = program_of(program, arguments, listen);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// A role as a command that reads nothing of this terminal.
pub fn program_of(program: &Path, arguments: &[String], listen: SocketAddr) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .args(["--listen", &listen.to_string(), "--stdin-lifeline"])
        // A configuration file that the caller uses for one role would be wrong for the others.
        .env_remove("SECATEUR_CONFIG");
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
