//! exporter
pub mod answer;
pub mod body;
pub mod compress;
pub mod outcome;
pub mod quote;
pub mod retry;
