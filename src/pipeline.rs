//! Builds and runs what the configuration says.

mod budget;
mod collector;
mod intake;
mod own_logs;
mod signals;
mod tap;
mod workers;

pub use collector::{Collector, Ended, StartError};

use crate::config::{Config, Errors};
use signals::{Signal, Signals};
use tokio::runtime::Runtime;

/// The threads on which the collector of `config` runs.
pub fn runtime(config: &Config) -> Result<Runtime, StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers::of(config)).enable_all().thread_name("collector");
    builder.build().map_err(StartError::Runtime)
}

/// Runs `config` until the process is told to stop, then delivers what has been accepted.
///
/// SIGTERM or SIGINT stops it; a second one ends the process at once. SIGHUP calls `reload` and takes over the
/// vocabularies and policies of the configuration that it returns; everything else stays as it is until the next start.
pub fn run(
    runtime: &Runtime,
    config: Config,
    reload: impl Fn() -> Result<Config, Errors>,
) -> Result<Ended, StartError> {
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(StartError::Runtime)?;
        let collector = Collector::start(config).await?;
        let signal = loop {
            match signals.next().await {
                Signal::Stop(name) => break name,
                Signal::Reload => collector.take_over(reload()),
            }
        };
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
    })
}
