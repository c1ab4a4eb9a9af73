//! The environment of a page's commands: a scratch folder with the repository's models, the program of this build under
//! the names that the documents use, and ports that no other program has.

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
/// Deadline of one block, which stops hanging commands, not slow ones.
const BLOCK_MAX: Duration = Duration::from_secs(900);
/// The wrapper script behind the reader's command. A command that serves until Ctrl-C returns once it serves (`up`:
/// once it has answered its sample), and is stopped when the next one starts.
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

/// One page's folder, and the processes started in it.
pub struct Scene {
    folder: TempDir,
    ports: Vec<String>,
    started: Vec<Child>,
}

impl Scene {
    /// A scene without any processes.
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

    /// Runs the commands as one script that ends at the first failure. Processes that they leave running continue.
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
            // A process group of its own, so that processes left running can be found again.
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

    /// The commands with this scene's ports and folder substituted.
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
                // SAFETY: `kill` takes only integers and accesses no memory of this process. The group is one that this
                // test created.
                let is_there = unsafe { libc::kill(-(child.id() as i32), signal) } == 0;
                // Gives the processes time to end by themselves.
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
