//! The `secateur up` processes of this user on this machine: each leaves a small file in the system's folder for data
//! that lives as long as the user's session, so that `doctor` finds them wherever they listen.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

const ENDING: &str = "json";
/// Most files that are read: more clusters than any user runs.
const FILES_MAX: usize = 64;
/// Most bytes of one file: more than its few fields take.
const BYTES_MAX: u64 = 64 << 10;

/// One `secateur up` process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Process id.
    pub pid: u32,
    /// URL of its router, `http://127.0.0.1:PORT`.
    pub url: String,
}

/// The file of this process; removed on drop.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
}

impl Note {
    /// Writes a note that this process serves at `url`.
    pub fn leave(url: &str) -> io::Result<Self> {
        Self::leave_in(&folder(), url)
    }

    fn leave_in(folder: &Path, url: &str) -> io::Result<Self> {
        make_private(folder)?;
        if !is_ours(folder) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder is somebody else's"));
        }
        let running = Running { pid: std::process::id(), url: url.to_owned() };
        let path = folder.join(format!("up-{}.{ENDING}", running.pid));
        // The file gets its name only when it is complete: a reader never sees half of it.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(&running)?)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(Self { path })
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // The file may already be gone with the session's folder.
        let _ = fs::remove_file(&self.path);
    }
}

/// All processes that left a note and still exist; notes of other processes are removed.
pub fn all() -> Vec<Running> {
    all_in(&folder())
}

fn all_in(folder: &Path) -> Vec<Running> {
    // Files in a folder that other users can write to are not trusted.
    if !is_ours(folder) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let files =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == ENDING));
    let mut found: Vec<Running> = files.take(FILES_MAX).filter_map(|file| read(&file)).collect();
    found.sort_by_key(|running| running.pid);
    found
}

fn read(file: &Path) -> Option<Running> {
    let is_small = fs::metadata(file).is_ok_and(|found| found.len() <= BYTES_MAX);
    let running: Running = serde_json::from_slice(&is_small.then(|| fs::read(file).ok())??).ok()?;
    if is_gone(running.pid) {
        let _ = fs::remove_file(file);
        return None;
    }
    running.url.starts_with("http://127.0.0.1:").then_some(running)
}

/// Whether the process certainly no longer exists. If the system does not say, a connection to its port will tell.
fn is_gone(pid: u32) -> bool {
    let processes = Path::new("/proc");
    processes.join("self").exists() && !processes.join(pid.to_string()).exists()
}

/// The user's runtime folder; without one, a folder in the system's temporary folder that only this user can write to.
fn folder() -> PathBuf {
    let session = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir());
    match session {
        Some(session) => session.join("secateur"),
        None => env::temp_dir().join(format!("secateur-{}", user())),
    }
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Whether the path is a folder that belongs to this user and that no other user can write to.
#[cfg(unix)]
fn is_ours(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.mode() & 0o022 == 0 && found.uid().to_string() == user())
}

#[cfg(not(unix))]
fn is_ours(folder: &Path) -> bool {
    folder.is_dir()
}

/// This user's id, taken from the owner of a file that this process creates.
#[cfg(unix)]
fn user() -> String {
    use std::os::unix::fs::MetadataExt;
    tempfile::tempfile().and_then(|file| file.metadata()).map_or_else(|_| "nobody".to_owned(), |m| m.uid().to_string())
}

#[cfg(not(unix))]
fn user() -> String {
    "user".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_lasts_as_long_as_its_process() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("secateur");
        assert_eq!(all_in(&folder), []);
        let note = Note::leave_in(&folder, "http://127.0.0.1:4000").unwrap();
        let own = Running { pid: std::process::id(), url: "http://127.0.0.1:4000".to_owned() };
        assert_eq!(all_in(&folder), [own]);
        drop(note);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn what_a_process_left_that_is_gone_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("secateur");
        drop(Note::leave_in(&folder, "http://127.0.0.1:1").unwrap());
        // A process id above those that any system assigns.
        let stale = folder.join("up-4000000000.json");
        fs::write(&stale, r#"{"pid": 4000000000, "url": "http://127.0.0.1:4000"}"#).unwrap();
        fs::write(folder.join("up-2.json"), "half").unwrap();
        assert_eq!(all_in(&folder), []);
        assert!(!stale.exists());
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("secateur");
        let _note = Note::leave_in(&folder, "http://elsewhere.example:80").unwrap();
        assert_eq!(all_in(&folder), []);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_write_to_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("secateur");
        let _note = Note::leave_in(&folder, "http://127.0.0.1:4000").unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(all_in(&folder), []);
        assert!(Note::leave_in(&folder, "http://127.0.0.1:4000").is_err());
    }
}
