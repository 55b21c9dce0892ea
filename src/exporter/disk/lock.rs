//! The directory of a queue, made and held for one process.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a queue on disk cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory of the storage does not exist.
    #[error("{} does not exist; create_directory: true makes it", .0.display())]
    Missing(PathBuf),
    /// Another process has the queue.
    #[error("{} is used by another process", .0.display())]
    InUse(PathBuf),
    /// The operating system says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// To what.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl OpenError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| OpenError::Io { path, error }
    }
}

/// Keeps other processes, and other exporters of this one, away from a directory until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits up to `patience` for whoever has the directory.
    pub fn take(directory: &Path, patience: Duration) -> Result<Self, OpenError> {
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(OpenError::at(&path))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::Error(error)) => return Err(OpenError::Io { path, error }),
                Err(TryLockError::WouldBlock) if start.elapsed() >= patience => {
                    return Err(OpenError::InUse(directory.to_owned()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }
}

const PAUSE: Duration = Duration::from_millis(10);

/// Makes `path` and what is above it, for its owner alone.
pub fn make_directory(path: &Path) -> Result<(), OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(OpenError::at(path))
}
