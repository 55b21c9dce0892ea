//! The fast path over the wire form compared with slow and obvious references, on generated and on broken requests.

mod batch;
mod corrupt;
mod reference;
mod splice;
mod tree;
mod witness;
