//! The header of a record.

use crate::payload::Encoding;
use bytes::{Buf, BufMut};

/// How long a header is.
pub const LEN: usize = 40;

/// `RCQ` and the version.
pub const MAGIC: [u8; 4] = *b"RCQ\x01";

/// Where in the header the checksum begins to count.
const SUMMED: usize = 8;

/// What stands in front of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Tells records apart, and orders them.
    pub sequence: u64,
    /// Bytes that follow.
    pub stored: u32,
    /// Their checksum.
    pub checksum: u32,
    /// What is in the request.
    pub items: u32,
    /// The length of the uncompressed request.
    pub message: u32,
    /// How the bytes are compressed, if they are.
    pub encoding: Option<Encoding>,
}

impl Header {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; LEN] {
        let mut rest = [0; LEN - SUMMED];
        let mut out = &mut rest[..];
        out.put_u32_le(self.stored);
        out.put_u32_le(self.checksum);
        out.put_u64_le(self.sequence);
        out.put_u32_le(self.items);
        out.put_u32_le(self.message);
        out.put_u8(match self.encoding {
            None => 0,
            Some(Encoding::Gzip) => 1,
            Some(Encoding::Zstd) => 2,
        });
        let mut header = [0; LEN];
        let mut out = &mut header[..];
        out.put_slice(&MAGIC);
        out.put_u32_le(crc32c::crc32c(&rest));
        out.put_slice(&rest);
        header
    }

    /// None unless it is one, of this version and undamaged.
    pub fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let checksum = rest.get_u32_le();
        if crc32c::crc32c(rest) != checksum {
            return None;
        }
        let (stored, checksum, sequence) = (rest.get_u32_le(), rest.get_u32_le(), rest.get_u64_le());
        let (items, message) = (rest.get_u32_le(), rest.get_u32_le());
        let encoding = match rest.get_u8() {
            0 => None,
            1 => Some(Encoding::Gzip),
            2 => Some(Encoding::Zstd),
            _ => return None,
        };
        (sequence < u64::MAX).then_some(Header { sequence, stored, checksum, items, message, encoding })
    }

    /// The length of the whole record.
    pub fn record_len(&self) -> u64 {
        LEN as u64 + u64::from(self.stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_a_flipped_bit_is_noticed() {
        for encoding in [None, Some(Encoding::Gzip), Some(Encoding::Zstd)] {
            let header = Header { sequence: 7 << 40, stored: 1, checksum: 2, items: 3, message: 4, encoding };
            let bytes = header.encode();
            assert_eq!(Header::decode(&bytes), Some(header));
            for bit in 0..LEN * 8 {
                let mut damaged = bytes;
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::decode(&damaged), None, "bit {bit}");
            }
        }
    }
}
