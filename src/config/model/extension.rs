//! `extensions`.

use super::Secret;
use crate::config::units::{duration, mebibytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The extensions that exist.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Extension {
    /// `health_check`.
    HealthCheck(HealthCheck),
    /// `file_storage`.
    FileStorage(FileStorage),
    /// `bearertokenauth`.
    BearerTokenAuth(BearerTokenAuth),
    /// `refusal_api`.
    RefusalApi(RefusalApi),
}

/// `extensions.health_check`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HealthCheck {
    /// Host and port to listen on.
    pub endpoint: String,
    /// The path that says whether requests are taken.
    pub path: String,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck { endpoint: "localhost:13133".to_owned(), path: "/".to_owned() }
    }
}

/// `extensions.file_storage`: where queues are kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FileStorage {
    /// Holds one directory per queue.
    pub directory: PathBuf,
    /// Whether `directory` is made when it does not exist.
    pub create_directory: bool,
    /// How long to wait for another process to let go of the directory.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub timeout: Duration,
    /// Whether accepted data also survives a loss of power.
    pub fsync: bool,
    /// What one queue may take on disk, in bytes.
    #[serde(rename = "max_size_mib", with = "mebibytes")]
    #[schemars(with = "usize")]
    pub max_size: usize,
}

impl Default for FileStorage {
    fn default() -> Self {
        FileStorage {
            directory: PathBuf::from("/var/lib/otelcol/file_storage"),
            create_directory: false,
            timeout: Duration::from_secs(1),
            fsync: false,
            max_size: 1 << 30,
        }
    }
}

/// `extensions.bearertokenauth`: a token that clients must show, or that an exporter shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BearerTokenAuth {
    /// The word before the token.
    pub scheme: String,
    /// The token.
    pub token: Option<Secret>,
    /// A file with one token per line, read anew when it changes.
    pub filename: Option<PathBuf>,
}

impl Default for BearerTokenAuth {
    fn default() -> Self {
        BearerTokenAuth { scheme: "Bearer".to_owned(), token: None, filename: None }
    }
}

/// `extensions.refusal_api` (ours): refusal events and unknown values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RefusalApi {
    /// Host and port to listen on.
    pub endpoint: String,
    /// How many may watch events at one time.
    pub max_watchers: usize,
    /// How many events wait for each of them.
    pub watch_buffer: usize,
}

impl Default for RefusalApi {
    fn default() -> Self {
        RefusalApi { endpoint: "localhost:55679".to_owned(), max_watchers: 16, watch_buffer: 1024 }
    }
}
