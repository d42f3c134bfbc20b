//! Working folders: one for each call, empty at its beginning, gone after its end.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Limits;

/// Folders deeper than this are too many in any case.
const MOST_DEPTH: usize = 32;

/// The working folders of one server: a folder of its own, locked while it lives.
#[derive(Debug)]
pub(crate) struct Folders {
    home: PathBuf,
    made: AtomicU64,
    /// Held for the life of the server: by it others see that the folder is in use.
    _lock: File,
}

impl Folders {
    /// Makes a home below `parent`, and removes the homes of servers that are gone.
    pub(crate) fn open(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        // One at a time: a home that is just being made has no lock yet.
        let sweeping = File::create(parent.join("sweeping"))?;
        sweeping.lock()?;
        sweep(parent)?;
        let home = parent.join(uuid::Uuid::now_v7().simple().to_string());
        let lock = File::create(lock_of(&home))?;
        lock.lock()?;
        // Users of single calls pass through it to their own folder, and see nothing else.
        fs::DirBuilder::new().mode(0o711).create(&home)?;
        Ok(Self { home, made: AtomicU64::new(0), _lock: lock })
    }

    pub(crate) fn make(&self) -> io::Result<Folder> {
        let path = self.home.join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder { path })
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        remove(&self.home);
        let _ = fs::remove_file(lock_of(&self.home));
    }
}

fn lock_of(home: &Path) -> PathBuf {
    home.with_extension("lock")
}

/// Removes what servers left behind that were killed: their locks are free.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "lock") {
            let Ok(lock) = File::open(&path) else { continue };
            match lock.try_lock() {
                Ok(()) => {
                    remove(&path.with_extension(""));
                    let _ = fs::remove_file(&path);
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
    }
    Ok(())
}

/// One working folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is too much in it, in words for the model; `None` while it is within the limits.
    pub(crate) fn excess(&self, limits: &Limits) -> Option<String> {
        let mut used = Used::default();
        let fits = used.count(&self.path, limits, 0);
        if used.bytes > limits.folder_bytes {
            return Some(format!("wrote more than {} MiB of files", limits.folder_bytes >> 20));
        }
        (!fits || used.files > limits.folder_files).then(|| format!("made more than {} files", limits.folder_files))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Bytes below a folder, at most as many as are of interest.
pub(crate) fn size_of(folder: &Path, most: u64) -> u64 {
    let mut used = Used::default();
    let limits = Limits { folder_bytes: most, folder_files: u64::MAX, ..Limits::default() };
    used.count(folder, &limits, 0);
    used.bytes
}

#[derive(Default)]
struct Used {
    bytes: u64,
    files: u64,
}

impl Used {
    /// Counts until a limit is passed; whether none was. What vanishes meanwhile is not counted.
    fn count(&mut self, folder: &Path, limits: &Limits, depth: usize) -> bool {
        if depth > MOST_DEPTH {
            return false;
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // Whoever hides a folder from its owner has something to hide; one that is gone has nothing.
            Err(e) => return matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        for entry in entries.flatten() {
            self.files += 1;
            // Of the link itself, not of what it points to.
            let Ok(about) = entry.metadata() else { continue };
            if about.is_file() {
                self.bytes += about.len();
            }
            let fits = self.bytes <= limits.folder_bytes && self.files <= limits.folder_files;
            if !fits || about.is_dir() && !self.count(&entry.path(), limits, depth + 1) {
                return false;
            }
        }
        true
    }
}

/// Removes a folder however deep it is. The way of the standard library goes down as deep as the folders do, and a hostile function makes
/// them deeper than the stack: so folders in folders are moved up first.
fn remove(folder: &Path) {
    // Names that nobody could have given before.
    let (prefix, mut moved) = (uuid::Uuid::now_v7().simple(), 0_u64);
    let mut flatten = || -> io::Result<()> {
        loop {
            let mut is_empty = true;
            for entry in fs::read_dir(folder)? {
                let (entry, path) = entry.map(|e| (e.file_type(), e.path()))?;
                if !entry?.is_dir() {
                    fs::remove_file(path)?;
                    continue;
                }
                is_empty = false;
                // It may have been made without rights for anybody.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
                for inner in fs::read_dir(&path)? {
                    let inner = inner?;
                    if inner.file_type()?.is_dir() {
                        moved += 1;
                        fs::rename(inner.path(), folder.join(format!("{prefix}-{moved}")))?;
                    } else {
                        fs::remove_file(inner.path())?;
                    }
                }
                fs::remove_dir(&path)?;
            }
            if is_empty {
                return fs::remove_dir(folder);
            }
        }
    };
    match flatten() {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "a working folder cannot be removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_folder_is_removed() {
        let home = tempfile::tempdir().expect("a folder");
        let top = home.path().join("top");
        fs::create_dir(&top).expect("made");
        // Deeper than a path can be written, and than a stack of open folders can be.
        for _ in 0..3_000 {
            let next = home.path().join("next");
            fs::create_dir(&next).expect("made");
            fs::write(next.join("file"), "x").expect("written");
            fs::rename(&top, next.join("~1")).expect("moved");
            fs::rename(&next, &top).expect("moved");
        }
        std::os::unix::fs::symlink("/", top.join("link")).expect("linked");
        remove(&top);
        assert!(!top.exists() && Path::new("/proc").exists());
    }

    #[test]
    fn homes_of_the_dead_are_swept_and_those_of_the_living_are_not() {
        let parent = tempfile::tempdir().expect("a folder");
        let dead = parent.path().join("dead");
        fs::create_dir_all(dead.join("0/deep")).expect("made");
        fs::write(lock_of(&dead), "").expect("written");
        let living = Folders::open(parent.path()).expect("opens");
        assert!(!dead.exists() && !lock_of(&dead).exists());
        let folder = living.make().expect("made");
        let second = Folders::open(parent.path()).expect("opens");
        assert!(folder.path().exists());
        drop((folder, living, second));
        let left: Vec<_> = fs::read_dir(parent.path()).expect("read").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["sweeping"]);
    }

    #[test]
    fn excess_is_seen_in_bytes_in_files_and_in_depth() {
        let parent = tempfile::tempdir().expect("a folder");
        let limits = Limits { folder_bytes: 1 << 20, folder_files: 50, ..Limits::default() };
        let folders = Folders::open(parent.path()).expect("opens");
        let folder = folders.make().expect("made");
        assert_eq!(folder.excess(&limits), None);
        fs::write(folder.path().join("large"), vec![0; (1 << 20) + 1]).expect("written");
        assert_eq!(folder.excess(&limits).as_deref(), Some("wrote more than 1 MiB of files"));
        let folder = folders.make().expect("made");
        (0..51).for_each(|n| fs::write(folder.path().join(n.to_string()), "").expect("written"));
        assert_eq!(folder.excess(&limits).as_deref(), Some("made more than 50 files"));
        let folder = folders.make().expect("made");
        fs::create_dir_all(folder.path().join("d/".repeat(40))).expect("made");
        assert_eq!(folder.excess(&limits).as_deref(), Some("made more than 50 files"));
    }
}
