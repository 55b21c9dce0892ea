//! Builds and runs what the configuration says.

use crate::config::Config;

/// Why the collector stopped.
#[derive(Debug, thiserror::Error)]
#[error("this build cannot run pipelines")]
pub struct Unavailable;

/// Runs `config` until the process is told to stop.
pub fn run(_config: Config) -> Result<(), Unavailable> {
    Err(Unavailable)
}
