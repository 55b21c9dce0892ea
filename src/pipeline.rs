//! Builds and runs what the configuration says.

mod budget;
mod collector;
mod intake;
mod signals;

pub use collector::{Collector, Ended, StartError};

use crate::config::Config;
use signals::Signals;

/// Runs `config` until the process is told to stop, then delivers what has been accepted.
///
/// SIGTERM or SIGINT stops it; a second one ends the process at once.
pub fn run(config: Config) -> Result<Ended, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("collector")
        .build()
        .map_err(StartError::Runtime)?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new().map_err(StartError::Runtime)?;
        let collector = Collector::start(config).await?;
        let signal = signals.stop().await;
        tracing::info!(signal, "stopping");
        let own = collector.own().clone();
        tokio::select! {
            ended = collector.shutdown() => Ok(ended),
            signal = signals.stop() => {
                let ended = Ended::at_once(&own);
                tracing::error!(signal, lost = ended.lost, "told to stop again: what is queued is given up");
                Ok(ended)
            }
        }
    });
    // Nothing that is still running may hold up the end.
    runtime.shutdown_background();
    ended
}
