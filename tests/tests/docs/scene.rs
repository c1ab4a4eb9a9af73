//! Where a page's commands run: a scratch folder with the repository's models, the program of this build under the names
//! that the documents use, and ports that nobody else has.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use secateur_tests::repository;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
/// Ports that the documents name.
const PORTS: [&str; 4] = ["8080", "7001", "7002", "7003"];
/// One block: against what hangs, not against what is slow.
const BLOCK_MAX: Duration = Duration::from_secs(900);
/// The same command that a reader gives, but what serves until Ctrl-C comes back once it serves (`up`: once it has answered
/// its sample), and makes way for the next one.
const SECATEUR: &str = r#"#!/usr/bin/env bash
serve() {
  if [ -f "$SCENE/server" ]; then
    kill "$(cat "$SCENE/server")" 2>/dev/null || true
    # Gone, or ended and not yet reaped by whoever inherited it.
    while grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$(cat "$SCENE/server")/status" 2>/dev/null; do sleep 0.1; done
  fi
  : >"$SCENE/server.log"
  "$PROGRAM" "$@" >>"$SCENE/server.log" 2>&1 &
  echo $! >"$SCENE/server"
  until grep -q ^serving "$SCENE/server.log" || { [ "$1" = router ] && curl -sf "http://127.0.0.1:$PORT/health" >/dev/null; }; do
    kill -0 $! 2>/dev/null || { cat "$SCENE/server.log" >&2; exit 1; }
    sleep 0.2
  done
}
case "$1" in
  up) case " $* " in
      *" --once "*) exec "$PROGRAM" "$@" ;;
      *) serve "$@" --port "$PORT" ;;
    esac ;;
  router) case " $* " in
      *" --print-config "*) exec "$PROGRAM" "$@" ;;
      *) serve "$@" ;;
    esac ;;
  *) exec "$PROGRAM" "$@" ;;
esac
"#;
const CARGO: &str = r#"#!/usr/bin/env bash
[ "$1 $2 $3" = "run --release --" ] || { echo "this test runs no: cargo $*" >&2; exit 97; }
shift 3
exec secateur "$@"
"#;

/// One page's folder, and what was started in it.
pub struct Scene {
    folder: TempDir,
    ports: Vec<String>,
    started: Vec<Child>,
}

impl Scene {
    /// An empty one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for made in ["bin", "docs", "tmp"] {
            fs::create_dir(folder.path().join(made)).unwrap();
        }
        symlink(repository("models").canonicalize().unwrap(), folder.path().join("models")).unwrap();
        for (name, script) in [("secateur", SECATEUR), ("cargo", CARGO)] {
            let path = folder.path().join("bin").join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder, ports: free_ports(), started: Vec::new() }
    }

    /// Runs the commands as one script that ends at the first one that fails. What they leave running goes on.
    pub fn run(&mut self, commands: &str) -> Result<(), String> {
        let log = self.path("block.log");
        let output = fs::File::create(&log).unwrap();
        let paths = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &self.here(commands)])
            .current_dir(self.folder.path())
            .env("PATH", paths)
            .env("SCENE", self.folder.path())
            .env("PROGRAM", PROGRAM)
            .env("PORT", &self.ports[0])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            // A group of its own, so that what it leaves running can be found again.
            .process_group(0)
            .spawn()
            .unwrap();
        self.started.push(child);
        let child = self.started.last_mut().unwrap();
        let started = Instant::now();
        let how = loop {
            match child.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => break status.to_string(),
                None if started.elapsed() > BLOCK_MAX => break format!("not done after {} s", BLOCK_MAX.as_secs()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Err(format!("{how}: {}", tail(&log)))
    }

    /// The commands with this scene's ports and folder.
    fn here(&self, commands: &str) -> String {
        let mut commands = commands.replace("/tmp/", &format!("{}/", self.path("tmp").display()));
        for (written, free) in PORTS.iter().zip(&self.ports) {
            commands = commands.replace(&format!(":{written}"), &format!(":{free}"));
        }
        commands
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            for child in &self.started {
                // SAFETY: a plain system call. The group is one that this test made; it is gone, or ours.
                let is_there = unsafe { libc::kill(-(child.id() as i32), signal) } == 0;
                // Time to end by itself.
                if is_there && signal == libc::SIGTERM {
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
        }
        for child in &mut self.started {
            let _ = child.wait();
        }
    }
}

fn free_ports() -> Vec<String> {
    let listeners: Vec<TcpListener> = PORTS.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port().to_string()).collect()
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
