//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// A file being written under another name; it gets its own at the end. Dropped before that, it leaves nothing behind.
pub struct NewFile {
    path: PathBuf,
    part: PathBuf,
    file: Option<File>,
}

impl NewFile {
    /// Begins a file. An existing one is only replaced with `force`.
    pub fn create(path: &Path, force: bool) -> Result<Self, CliError> {
        if path.exists() && !force {
            return Err(CliError::file("write", path, &io::ErrorKind::AlreadyExists.into()));
        }
        let mut name = path.file_name().ok_or_else(|| CliError::Usage(format!("{} is no file name", path.display())))?.to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let file = File::create(&part).map_err(|e| CliError::file("write", &part, &e))?;
        Ok(Self { path: path.to_owned(), part, file: Some(file) })
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let result = match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Ok(()),
        };
        result.map_err(|e| CliError::file("write", &self.path, &e))
    }

    /// Brings the bytes to the disk and gives the file its name.
    pub fn finish(mut self) -> Result<(), CliError> {
        let synced = self.file.take().map_or(Ok(()), |file| file.sync_all());
        synced.and_then(|()| std::fs::rename(&self.part, &self.path)).map_err(|e| CliError::file("write", &self.path, &e))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After `finish` the part has its new name and there is nothing to remove.
        let _ = std::fs::remove_file(&self.part);
    }
}
