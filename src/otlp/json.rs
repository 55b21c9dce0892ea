//! OTLP/JSON to and from protobuf: the slow path, for senders that speak JSON and for people.
//!
//! The mapping is protobuf's JSON mapping with OTLP's exceptions (ids are hexadecimal, enums are numbers); source:
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. One pass over the JSON text writes the wire form,
//! led by tables of OTLP's fields; no tree and no structs are built. As the Collector does, more is taken than has to be:
//! names of fields in snake case, names of enum values, 64-bit integers as numbers, any integer as a string.

mod read;
mod schema;
mod write;

use crate::otlp::Signal;
use crate::otlp::wire::Malformed;
use crate::payload::Message;

/// How many objects and arrays may stand inside each other, in either direction. That is room for attributes with
/// arrays 37 levels deep. What stands in unknown fields does not count.
pub const MAX_NESTING: usize = 120;

/// Why JSON text is not an export request. Positions count from 1. No content is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON, or ends too early.
    #[error("invalid JSON at line {line} column {column}")]
    Syntax {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A known field holds what it cannot hold.
    #[error("{field} must be {expected}, at line {line} column {column}")]
    Value {
        /// The field's name in the specification.
        field: &'static str,
        /// What it may hold.
        expected: &'static str,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// Objects and arrays are nested deeper than [`MAX_NESTING`].
    #[error("nested more than {MAX_NESTING} deep at line {line} column {column}")]
    Nesting {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
}

/// How many times the memory of the text a request takes at most, while it is read and afterwards: a list of numbers,
/// `0,0,0`. Usually it is half of it.
pub const MAX_GROWTH: usize = 4;

/// The request that `json` says, as protobuf, of at most [`MAX_GROWTH`] times the text's length. Unknown fields are
/// ignored, as the specification wants.
pub fn decode(signal: Signal, json: &[u8]) -> Result<Message, JsonError> {
    read::read(schema::request(signal), json)
}

/// Why a request cannot be written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is not an export request.
    #[error("malformed protobuf: {0}")]
    Malformed(#[from] Malformed),
    /// Its objects and arrays would be nested deeper than [`MAX_NESTING`].
    #[error("nested more than {MAX_NESTING} deep")]
    Nesting,
}

/// The request as JSON on one line. Fields that are not known here are left out; strings that are not UTF-8 are mended.
pub fn encode(signal: Signal, message: &[u8]) -> Result<String, EncodeError> {
    write::write(schema::request(signal), message)
}

#[cfg(test)]
mod tests;
