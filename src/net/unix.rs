//! A Unix socket that takes connections, and its file.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Who may connect: owner and group. Connecting is writing.
const MODE: u32 = 0o660;

/// A Unix socket. Dropped, it takes its file away, unless another one stands there by now.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    file: Option<(u64, u64)>,
}

impl UnixSocket {
    /// Listens at `path`. The socket that a killed process left there is replaced; one that is answered, and a file of
    /// another kind, are not.
    pub(super) async fn bind(path: &Path) -> io::Result<Self> {
        if let Ok(metadata) = fs::symlink_metadata(path) {
            remove_stale(path, &metadata).await?;
        }
        let listener = UnixListener::bind(path)?;
        let socket = UnixSocket { listener, path: path.to_owned(), file: identity(path) };
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        Ok(socket)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.file.is_some() && self.file == identity(&self.path) {
            // Who starts next replaces what cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn remove_stale(path: &Path, metadata: &Metadata) -> io::Result<()> {
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Somebody listens, with a full backlog or without letting us in.
        Ok(_) | Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
