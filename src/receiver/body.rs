//! Bodies as they come in pieces, collected without a copy where that is possible.

use crate::payload::Permit;
use crate::receiver::admission::Admission;
use crate::receiver::intake::Clock;
use crate::receiver::respond::Error;
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

/// The next piece that is not empty, or `None` at the end. Clients like to end a body with an empty piece, which is no
/// reason to join anything.
pub async fn piece<B>(body: &mut B) -> Result<Option<Bytes>, Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| Error::Disconnected)?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => return Ok(Some(data)),
            // Trailers, which mean nothing here.
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Collects a body of exactly `len` bytes, which a permit covers already and of which `first` has come. A body that
/// came in one piece is not copied.
pub async fn collect<B>(body: &mut B, first: Bytes, len: usize, clock: &Clock) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    if first.len() > len {
        return Err(Error::SecondMessage);
    }
    if first.len() == len {
        return match clock.reading(piece(body)).await?? {
            Some(_) => Err(Error::SecondMessage),
            None => Ok(detached(first)),
        };
    }
    let mut whole = BytesMut::with_capacity(len);
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(next) = clock.reading(piece(body)).await?? {
        if next.len() > len.saturating_sub(whole.len()) {
            return Err(Error::SecondMessage);
        }
        whole.extend_from_slice(&next);
    }
    match whole.len() == len {
        true => Ok(whole.freeze()),
        false => Err(Error::Incomplete),
    }
}

/// Collects a body of unknown length up to `limit` bytes. The permit grows with it, by what is free now.
pub async fn collect_unknown<B>(
    body: &mut B,
    limit: usize,
    admission: &Admission,
    clock: &mut Clock,
) -> Result<(Bytes, Permit), Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Some(first) = clock.reading(piece(body)).await?? else {
        return Ok((Bytes::new(), Permit::default()));
    };
    let mut permit = clock.waiting(admission.admit(first.len().max(UNKNOWN), first.len())).await?;
    let mut whole = BytesMut::with_capacity(permit.bytes());
    let mut next = Some(first);
    while let Some(piece_of) = next {
        let len = whole.len().saturating_add(piece_of.len());
        if len > limit {
            return Err(Error::TooLarge { limit });
        }
        if len > whole.capacity() {
            // Both buffers are there while the bytes move.
            let capacity = len.max(whole.capacity().saturating_mul(2)).min(limit);
            let wider = admission.now(capacity)?;
            let mut moved = BytesMut::with_capacity(capacity);
            moved.extend_from_slice(&whole);
            whole = moved;
            permit = wider;
        }
        whole.extend_from_slice(&piece_of);
        next = clock.reading(piece(body)).await??;
    }
    Ok((whole.freeze(), permit))
}

/// Reads and drops what is left of a body, so that a peer that writes before it reads gets to see the answer; at most
/// `limit` bytes, until the clock's deadline. Whether the end was reached.
pub async fn discard<B>(body: &mut B, limit: usize, clock: &Clock) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = limit;
    if body.size_hint().lower() > left as u64 {
        return false;
    }
    loop {
        match clock.reading(piece(body)).await {
            Ok(Ok(Some(data))) if data.len() <= left => left -= data.len(),
            Ok(Ok(None)) => return true,
            _ => return false,
        }
    }
}

/// What a body of unknown length is thought to be at first.
const UNKNOWN: usize = 64 << 10;

/// Pieces are slices of what was read from the socket, together with pieces of other requests. A small one that is
/// kept for long would keep all that in memory, so it is copied out.
fn detached(piece: Bytes) -> Bytes {
    if piece.len() <= SMALL { Bytes::copy_from_slice(&piece) } else { piece }
}

const SMALL: usize = 64 << 10;
