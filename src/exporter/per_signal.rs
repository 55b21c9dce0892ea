//! One of something for each signal.

use crate::otlp::Signal;

/// One `T` for each signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSignal<T> {
    /// For traces.
    pub traces: T,
    /// For logs.
    pub logs: T,
    /// For metrics.
    pub metrics: T,
}

impl<T> PerSignal<T> {
    /// Each made by `make`.
    pub fn new(mut make: impl FnMut(Signal) -> T) -> Self {
        PerSignal { traces: make(Signal::Traces), logs: make(Signal::Logs), metrics: make(Signal::Metrics) }
    }

    /// The one for `signal`.
    pub fn get(&self, signal: Signal) -> &T {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Logs => &self.logs,
            Signal::Metrics => &self.metrics,
        }
    }
}
