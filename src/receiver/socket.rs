//! The socket under a connection: it gives back the bytes by which the protocol was recognized, reads no more than there
//! is memory for, and tells the connection's keeper when bytes arrive.

use crate::receiver::buffers::{LEAST, Lease};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a peer speaks, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1, or nothing that is known.
    Http1,
    /// HTTP/2, with prior knowledge or by TLS.
    Http2,
}

/// Reads as much of a connection as tells its protocol; `None` when the peer has gone before.
pub async fn recognize<IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<Option<(Protocol, Bytes)>> {
    let mut first = [0; PREFACE.len()];
    let mut filled = 0;
    while let Some(free) = first.get_mut(filled..).filter(|free| !free.is_empty()) {
        match io.read(free).await? {
            0 => return Ok(None),
            read => filled += read,
        }
        let read = first.get(..filled).unwrap_or_default();
        if !PREFACE.starts_with(read) {
            return Ok(Some((Protocol::Http1, Bytes::copy_from_slice(read))));
        }
    }
    Ok(Some((Protocol::Http2, Bytes::copy_from_slice(&first))))
}

/// With what every client begins HTTP/2, RFC 9113, 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection is doing.
#[derive(Debug)]
pub struct Activity(Mutex<State>);

/// A moment in the life of a connection.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// How many requests are being answered.
    pub in_flight: usize,
    /// Since when there is none.
    pub quiet_since: Instant,
    /// When the first byte came that no request has claimed yet.
    pub unclaimed_since: Option<Instant>,
    /// Since when it holds memory for its windows, if it does.
    pub busy_since: Option<Instant>,
}

impl Activity {
    /// A new connection, whose first bytes came already.
    pub fn new(now: Instant) -> Self {
        let state = State { in_flight: 0, quiet_since: now, unclaimed_since: Some(now), busy_since: None };
        Activity(Mutex::new(state))
    }

    /// The state now.
    pub fn now(&self) -> State {
        *self.0.lock()
    }

    /// A request's head has come; it is being answered until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> Answering {
        let mut state = self.0.lock();
        state.in_flight = state.in_flight.saturating_add(1);
        state.unclaimed_since = None;
        Answering(self.clone())
    }

    /// More is being read than a quiet connection may hold.
    pub fn busy(&self) {
        self.0.lock().busy_since = Some(Instant::now());
    }

    /// Whether no request is being answered: then the connection is not busy any more.
    fn rest(&self) -> bool {
        let mut state = self.0.lock();
        if state.in_flight == 0 {
            state.busy_since = None;
        }
        state.in_flight == 0
    }

    fn bytes_came(&self) {
        let mut state = self.0.lock();
        if state.in_flight == 0 && state.unclaimed_since.is_none() {
            state.unclaimed_since = Some(Instant::now());
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.quiet_since = Instant::now();
    }
}

/// A socket whose first bytes have been read already.
#[derive(Debug)]
pub struct Socket<IO> {
    io: IO,
    first: Bytes,
    activity: Arc<Activity>,
    lease: Lease,
    /// What may still be read without the lease.
    allowance: usize,
    /// Whether all that had come has been read: the connection has handed it on by the time when it reads again.
    is_drained: bool,
}

impl<IO> Socket<IO> {
    /// `io`, behind the bytes that were read from it. More than [`LEAST`] bytes are read only with the `lease`, which is
    /// given back as soon as no request is being answered.
    pub fn new(io: IO, first: Bytes, activity: Arc<Activity>, lease: Lease) -> Self {
        Socket { io, first, activity, lease, allowance: LEAST, is_drained: false }
    }

    /// Gives the memory back if whatever was read has been answered.
    fn rest(&mut self) {
        if self.is_drained && self.allowance < LEAST && self.activity.rest() {
            self.lease.give_back();
            self.allowance = LEAST;
        }
    }

    /// Waits for the memory to read on.
    fn poll_busy(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.lease.is_held() {
            return Poll::Ready(());
        }
        ready!(self.lease.poll_take(cx));
        self.activity.busy();
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Socket<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let n = self.first.len().min(buf.remaining());
            buf.put_slice(self.first.get(..n).unwrap_or_default());
            self.first.advance(n);
            return Poll::Ready(Ok(()));
        }
        let socket = &mut *self;
        socket.rest();
        let read = if socket.allowance > 0 {
            let len = buf.remaining().min(socket.allowance);
            let mut little = ReadBuf::new(buf.initialize_unfilled_to(len));
            let polled = Pin::new(&mut socket.io).poll_read(cx, &mut little);
            let read = little.filled().len();
            buf.advance(read);
            socket.allowance = socket.allowance.saturating_sub(read);
            polled.map_ok(|()| read)
        } else {
            ready!(socket.poll_busy(cx));
            let before = buf.filled().len();
            Pin::new(&mut socket.io).poll_read(cx, buf).map_ok(|()| buf.filled().len().saturating_sub(before))
        };
        socket.is_drained = read.is_pending();
        if matches!(read, Poll::Ready(Ok(1..))) {
            socket.activity.bytes_came();
        }
        read.map_ok(|_| ())
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Socket<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::buffers::{Buffers, Share};
    use futures_util::FutureExt;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    #[tokio::test]
    async fn protocols_are_told_apart_in_pieces_too_and_no_byte_is_lost() {
        for (sent, protocol) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"[..], Protocol::Http2),
            (b"POST /v1/traces HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"PRI * HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"\x16\x03\x01", Protocol::Http1),
        ] {
            for piece in [1, 7, sent.len()] {
                let (mut peer, mut io) = tokio::io::duplex(1);
                let sender = tokio::spawn(async move {
                    for part in sent.chunks(piece) {
                        peer.write_all(part).await.unwrap();
                    }
                });
                let (found, first) = recognize(&mut io).await.unwrap().unwrap();
                assert_eq!(found, protocol, "{sent:?} in pieces of {piece}");
                let mut read = Vec::new();
                let activity = Arc::new(Activity::new(Instant::now()));
                let share = Buffers::new(0).share().await;
                Socket::new(io, first, activity, share.lease()).read_to_end(&mut read).await.unwrap();
                sender.await.unwrap();
                assert_eq!(read, sent);
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_leaves_at_once_has_no_protocol() {
        let (peer, mut io) = tokio::io::duplex(8);
        drop(peer);
        assert!(recognize(&mut io).await.unwrap().is_none());
    }

    /// A connection with `LEAST` bytes and three more waiting to be read.
    async fn connection(share: &Share) -> (DuplexStream, Socket<DuplexStream>, Arc<Activity>) {
        let (mut peer, io) = tokio::io::duplex(2 * LEAST);
        peer.write_all(&[7; LEAST + 3]).await.unwrap();
        let activity = Arc::new(Activity::new(Instant::now()));
        (peer, Socket::new(io, Bytes::new(), activity.clone(), share.lease()), activity)
    }

    fn read(socket: &mut Socket<DuplexStream>) -> Option<usize> {
        let mut buf = vec![0; 2 * LEAST];
        socket.read(&mut buf).now_or_never().map(Result::unwrap)
    }

    #[tokio::test]
    async fn a_busy_connection_holds_memory_until_its_requests_are_answered() {
        let share = Buffers::new(0).share().await;
        let (mut peer, mut socket, activity) = connection(&share).await;
        assert_eq!(read(&mut socket), Some(LEAST));
        assert!(activity.now().busy_since.is_none());
        let request = activity.request();
        assert_eq!(read(&mut socket), Some(3));
        assert_eq!(read(&mut socket), None);
        assert!(socket.lease.is_held() && activity.now().busy_since.is_some());
        drop(request);
        assert_eq!(read(&mut socket), None);
        assert!(!socket.lease.is_held() && activity.now().busy_since.is_none());
        peer.write_all(b"more").await.unwrap();
        assert_eq!(read(&mut socket), Some(4));
        assert!(!socket.lease.is_held());
    }

    #[tokio::test]
    async fn without_memory_nothing_more_is_read_until_another_connection_rests() {
        let buffers = Buffers::new(0);
        let share = buffers.share().await;
        let mut others: Vec<Lease> = (0..100).map(|_| share.lease()).collect();
        for lease in &mut others {
            let _ = std::future::poll_fn(|cx| lease.poll_take(cx)).now_or_never();
        }
        let others: Vec<Lease> = others.into_iter().filter(Lease::is_held).collect();
        let (_peer, mut socket, activity) = connection(&share).await;
        assert_eq!(read(&mut socket), Some(LEAST));
        let _request = activity.request();
        assert_eq!(read(&mut socket), None);
        assert!(share.is_wanted());
        drop(others);
        assert_eq!(read(&mut socket), Some(3));
    }
}
