//! Compresses requests as the configuration says, unless they can leave as they arrived.

use crate::config::model::Compression;
use crate::payload::{Encoding, Payload};
use bytes::Bytes;
use flate2::{Compress, FlushCompress, Status};
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

/// Requests up to this size are compressed where they are: handing them to another thread would cost more.
const INLINE: usize = 16 << 10;

/// A request's body as it leaves. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// How it is compressed, if it is.
    pub encoding: Option<Encoding>,
    /// The body, without any gRPC prefix.
    pub bytes: Bytes,
}

/// A level that the compression does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} has no level {level}; its levels are {least} to {most}", encoding.token())]
pub struct NoSuchLevel {
    encoding: Encoding,
    level: i32,
    least: i32,
    most: i32,
}

/// Compresses in one way. The compressors' working memory is kept and used again; there is at most one for each request
/// that is compressed at the same time.
#[derive(Clone)]
pub struct Encoder {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    None,
    Gzip(Arc<Pool<Compress>>),
    Zstd(Arc<Pool<zstd::bulk::Compressor<'static>>>),
}

impl Encoder {
    /// An encoder of the configured kind; without a level it takes the kind's default.
    pub fn new(compression: Compression, level: Option<i32>) -> Result<Self, NoSuchLevel> {
        let within = |encoding, default, least, most| match level.unwrap_or(default) {
            level if (least..=most).contains(&level) => Ok(level),
            level => Err(NoSuchLevel { encoding, level, least, most }),
        };
        let kind = match compression {
            Compression::None => Kind::None,
            Compression::Gzip => {
                Kind::Gzip(Arc::new(Pool::new(within(Encoding::Gzip, DEFAULT_GZIP_LEVEL, 0, 9)?)))
            }
            Compression::Zstd => {
                Kind::Zstd(Arc::new(Pool::new(within(Encoding::Zstd, DEFAULT_ZSTD_LEVEL, 1, 22)?)))
            }
        };
        Ok(Encoder { kind })
    }

    /// What requests are compressed with.
    pub fn encoding(&self) -> Option<Encoding> {
        match self.kind {
            Kind::None => None,
            Kind::Gzip(_) => Some(Encoding::Gzip),
            Kind::Zstd(_) => Some(Encoding::Zstd),
        }
    }

    /// The memory that the body of a message of `len` bytes takes up beside it, as a rule: none if it arrived in the right
    /// compression. Telemetry compresses to a third or less.
    pub fn needs(&self, len: usize, arrived: Option<Encoding>) -> usize {
        match self.encoding() {
            Some(encoding) if arrived != Some(encoding) => len / 2,
            Some(_) | None => 0,
        }
    }

    /// The request's body: the one that arrived where it is compressed in the right way and still valid, else made anew.
    /// Large ones are compressed on a thread for blocking work.
    pub async fn encode(&self, payload: &Payload) -> io::Result<Encoded> {
        if let Some(arrived) = &payload.arrived
            && Some(arrived.encoding) == self.encoding()
        {
            return Ok(Encoded { encoding: Some(arrived.encoding), bytes: arrived.bytes.clone() });
        }
        let message = payload.message.protobuf();
        if self.encoding().is_none() {
            return Ok(Encoded { encoding: None, bytes: message });
        }
        if message.len() <= INLINE {
            let out = self.output(message.len());
            return self.compress(message, out);
        }
        let encoder = self.clone();
        // Made where it will be given back: allocators keep it for the thread that made it.
        let out = self.output(message.len());
        // More at a time would not be quicker, and each has its working memory. The semaphore is never closed.
        let _turn = COMPRESSING.acquire().await;
        tokio::task::spawn_blocking(move || encoder.compress(message, out)).await.map_err(io::Error::other)?
    }

    /// Room for what `len` bytes are likely to become.
    fn output(&self, len: usize) -> Vec<u8> {
        match self.kind {
            Kind::None | Kind::Zstd(_) => Vec::new(),
            Kind::Gzip(_) => Vec::with_capacity((len / 4).saturating_add(1024)),
        }
    }

    fn compress(&self, message: Bytes, out: Vec<u8>) -> io::Result<Encoded> {
        let bytes = match &self.kind {
            Kind::None => message,
            Kind::Gzip(pool) => pool.with(new_gzip, |gzip| deflate(gzip, &message, out))?.into(),
            Kind::Zstd(pool) => {
                pool.with(zstd::bulk::Compressor::new, |zstd| zstd.compress(&message))?.into()
            }
        };
        Ok(Encoded { encoding: self.encoding(), bytes })
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Encoder").field(&self.encoding()).finish()
    }
}

/// On spans with prose in them zlib-rs packs 270 MB/s at this level, to a fourth; 380 MB/s to 3/10 at level 1, 140 MB/s to
/// 2/9 at level 4, and 54 MB/s to a fifth at 6, which is what others call the default.
const DEFAULT_GZIP_LEVEL: i32 = 2;

/// zstd's own default, 600 MB/s on the same spans as at level 1, to a little more than a fifth.
const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// So many large requests are compressed at one time, over all exporters.
static COMPRESSING: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// Windows of 32 KiB, the most that deflate has.
const WINDOW_BITS: u8 = 15;

fn new_gzip(level: i32) -> io::Result<Compress> {
    let level = u32::try_from(level).unwrap_or_default();
    Ok(Compress::new_gzip(flate2::Compression::new(level), WINDOW_BITS))
}

/// One whole gzip member.
fn deflate(gzip: &mut Compress, input: &[u8], mut out: Vec<u8>) -> io::Result<Vec<u8>> {
    gzip.reset();
    loop {
        let done = usize::try_from(gzip.total_in()).unwrap_or(usize::MAX);
        let rest = input.get(done..).unwrap_or_default();
        match gzip.compress_vec(rest, &mut out, FlushCompress::Finish)? {
            Status::StreamEnd => return Ok(out),
            Status::Ok | Status::BufError => out.reserve(out.len()),
        }
    }
}

/// Compressors of one level that wait for work.
struct Pool<T> {
    level: i32,
    idle: Mutex<Vec<T>>,
}

impl<T> Pool<T> {
    fn new(level: i32) -> Self {
        Pool { level, idle: Mutex::new(Vec::new()) }
    }

    /// Lends one out, made with `new` if all are busy. One that failed does not come back.
    fn with<R>(
        &self,
        new: impl Fn(i32) -> io::Result<T>,
        work: impl FnOnce(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let idle = self.idle.lock().pop();
        let mut compressor = match idle {
            Some(compressor) => compressor,
            None => new(self.level)?,
        };
        let result = work(&mut compressor)?;
        self.idle.lock().push(compressor);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Signal;
    use crate::payload::{Compressed, Message};
    use crate::telemetry::spans::Caller;
    use std::io::Read;

    fn payload(message: Vec<u8>, arrived: Option<Compressed>) -> Payload {
        let message = Message::Bare(message.into());
        Payload {
            signal: Signal::Traces,
            message,
            arrived,
            items: 1,
            permit: Arc::default(),
            caller: Caller::default(),
        }
    }

    fn decode(encoded: &Encoded) -> Vec<u8> {
        match encoded.encoding {
            None => encoded.bytes.to_vec(),
            Some(Encoding::Gzip) => {
                let mut out = Vec::new();
                flate2::read::GzDecoder::new(&encoded.bytes[..]).read_to_end(&mut out).unwrap();
                out
            }
            Some(Encoding::Zstd) => zstd::decode_all(&encoded.bytes[..]).unwrap(),
        }
    }

    #[tokio::test]
    async fn every_size_comes_back_from_every_compression_also_the_second_time() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let encoder = Encoder::new(compression, None).unwrap();
            for size in [0, 1, 1000, INLINE, INLINE + 1, 3 << 20] {
                // Half of it does not compress, so that the first guess at the output's size is too small.
                let mut noise = 1u32;
                let message: Vec<u8> = (0..size)
                    .map(|i| {
                        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        if i % 2000 < 1000 { (noise >> 24) as u8 } else { b'a' }
                    })
                    .collect();
                for _ in 0..2 {
                    let encoded = encoder.encode(&payload(message.clone(), None)).await.unwrap();
                    assert_eq!(encoded.encoding, encoder.encoding());
                    assert!(decode(&encoded) == message, "{compression:?} of {size} bytes");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_arrived_in_the_right_compression_leaves_as_it_came() {
        let arrived = Compressed { encoding: Encoding::Gzip, bytes: Bytes::from_static(b"as it came") };
        let payload = payload(b"message".to_vec(), Some(arrived.clone()));
        let gzip = Encoder::new(Compression::Gzip, Some(9)).unwrap().encode(&payload).await.unwrap();
        assert_eq!(gzip.bytes.as_ptr(), arrived.bytes.as_ptr());
        let zstd = Encoder::new(Compression::Zstd, None).unwrap().encode(&payload).await.unwrap();
        assert_eq!(decode(&zstd), b"message");
        let none = Encoder::new(Compression::None, None).unwrap().encode(&payload).await.unwrap();
        assert_eq!((none.encoding, &none.bytes[..]), (None, &b"message"[..]));
    }

    #[test]
    fn a_level_that_does_not_exist_is_refused() {
        for (compression, level) in [
            (Compression::Gzip, 10),
            (Compression::Gzip, -1),
            (Compression::Zstd, 23),
            (Compression::Zstd, -1),
        ] {
            assert!(Encoder::new(compression, Some(level)).is_err(), "{compression:?} {level}");
        }
        let error = Encoder::new(Compression::Gzip, Some(10)).err().unwrap();
        assert_eq!(error.to_string(), "gzip has no level 10; its levels are 0 to 9");
        assert!(Encoder::new(Compression::None, Some(10)).is_ok());
    }
}
