//! The fast path over the wire form compared with slow and obvious references, on generated and on broken requests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod batch;
mod corrupt;
mod json;
mod reference;
mod splice;
mod tree;
mod witness;
