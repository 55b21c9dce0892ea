//! The sending queue on disk: a segment log of one signal of one exporter.
//!
//! # Files
//!
//! ```text
//! <storage directory>/<exporter>/<signal>/
//!     lock                           held by the process that uses the queue
//!     cursor                         everything below this sequence number has left
//!     00000000000000000042.segment   records; the name is the first sequence number
//!     quarantine/                    bytes that could not be understood, one file for each damage
//! ```
//!
//! Characters of the exporter's id other than letters, digits, `-` and `_` stand as `%XX`. Directories are made for their
//! owner alone. All numbers are little endian, all checksums CRC32C.
//!
//! A **record** is a header of 40 bytes and the request as it is stored: compressed if it arrived so and was not changed.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | `RCQ` and the version of the format, 1 |
//! | 4 | 4 | checksum of the rest of the header |
//! | 8 | 4 | stored length of the request |
//! | 12 | 4 | checksum of the stored request |
//! | 16 | 8 | sequence number |
//! | 24 | 4 | items |
//! | 28 | 4 | length of the uncompressed request |
//! | 32 | 1 | 0 uncompressed, 1 gzip, 2 zstd |
//! | 33 | 7 | zero |
//!
//! The **cursor** is `RCQCUR`, a zero, the version 1, the number below which everything has left, the number from which on
//! all are free (8 bytes each), and the checksum of these 24 bytes. It is
//! replaced by a rename, at most every 100 milliseconds and at the end.
//!
//! # Invariants
//!
//! - Sequence numbers grow within a segment and from segment to segment. Numbers may be missing, none comes twice.
//! - Only the last segment grows, and only in the process that began it. It is closed when the next record would make it
//!   larger than the segment size; a record that is larger than that has a segment for itself.
//! - A request is acknowledged to its sender when its record is written: in the page cache, which outlives the process, or
//!   with `fsync` on the device. Requests that come together are written and synced together.
//! - A record has left when its request was delivered, rejected or given up, or when its sender was not told that it was
//!   taken. A segment without records that have yet to leave is removed.
//! - The segments together are never larger than the limit. A record that does not fit is refused, as is one that the disk
//!   does not take; half a record that came of it is cut off again, or its segment is closed there.
//! - The cursor never passes a record that has not left. It may be behind: what left shortly before the process was killed
//!   is then sent again, which *at least once* allows.
//! - Memory holds about a hundred bytes for each record, whatever its size.
//!
//! # Recovery
//!
//! At the start segments are read header by header, in order of their names. What is at or above the cursor is in the queue
//! again and counted as restored. Requests themselves are checked when they are read to be sent. Nothing that is found is
//! fatal:
//!
//! 1. *No cursor*: everything that is found has yet to be sent.
//! 2. *A cursor that cannot be read* goes into quarantine; everything that is found is sent again.
//! 3. *A record that does not end before its segment does* (a torn tail) goes into quarantine, and the segment ends before it.
//! 4. *A header that is damaged, of another version, or out of order*: everything up to the next sound header with a possible
//!    number goes into quarantine; what is after that is in the queue.
//! 5. *A request whose checksum or content is wrong* goes into quarantine when its turn comes.
//! 6. *A segment without anything that has yet to leave* is removed. Files with other names are left alone.
//! 7. *Bytes that cannot be put into quarantine* stay where they are, and are looked at again at the next start.
//!
//! Each damage is told in the log and counted as quarantined records, and its items, where a sound header tells them, as
//! dropped `quarantined`. The file in quarantine holds the very bytes and is named after its segment and offset, so that a
//! damage that is found again at the next start counts once.

mod cursor;
mod lock;
mod log;
#[cfg(test)]
mod model;
mod orphans;
mod quarantine;
mod record;
mod recovery;
mod store;
#[cfg(test)]
mod tests;
mod ticket;

pub use lock::OpenError;
pub use log::AppendError;
pub use orphans::{Orphan, orphans};
pub use store::{Place, Restored, Store, path};
pub use ticket::{Ticket, Unreadable};
