//! One role as a process of its own.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::Context;
use secateur_common::announce;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child as Process, ChildStdin, Command},
    time::timeout,
};

/// How long a role may take to bind its port (the model is loaded afterwards).
const ANNOUNCE_MAX: Duration = Duration::from_secs(20);
/// How long a role may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(5);

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
            // It may end by itself in this very moment; either way it is gone.
            let _ = self.process.kill().await;
        }
    }
}

async fn spawn(arguments: &[String], listen: SocketAddr) -> anyhow::Result<(Process, Option<ChildStdin>, SocketAddr)> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut process = Command::new(program)
        .args(arguments)
        .args(["--listen", &listen.to_string(), "--stdin-lifeline"])
        // A configuration file that the caller uses for one role would be wrong for the others.
        .env_remove("SECATEUR_CONFIG")
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
        anyhow::bail!("it ended before it listened on {listen}; its message is above")
    };
    let address = timeout(ANNOUNCE_MAX, announced).await.context("it did not listen in time")??;
    Ok((process, lifeline, address))
}
