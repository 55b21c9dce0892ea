//! The socket under a connection: it gives back the bytes by which the protocol was recognized, reads no more than there
//! is memory for, and tells the connection's keeper when bytes arrive.

use crate::receiver::activity::Activity;
use crate::receiver::buffers::{LEAST, Lease};
use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

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

/// A socket whose first bytes have been read already.
#[derive(Debug)]
pub struct Socket<IO> {
    io: IO,
    first: Bytes,
    activity: Arc<Activity>,
    lease: Lease,
    /// What may still be read without the lease.
    allowance: usize,
    /// Whether the last read had to wait: by the next one, the connection has handed on whatever was read before.
    has_paused: bool,
}

impl<IO> Socket<IO> {
    /// `io`, behind the bytes that were read from it. More than [`LEAST`] bytes that have not been admitted are read only
    /// with the `lease`, which is given back as soon as no request is being answered.
    pub fn new(io: IO, first: Bytes, activity: Arc<Activity>, lease: Lease) -> Self {
        Socket { io, first, activity, lease, allowance: LEAST, has_paused: false }
    }

    /// Gives the memory back if whatever was read has been answered.
    fn rest(&mut self) {
        if self.has_paused && self.is_active() && self.activity.rest() {
            self.lease.give_back();
            self.allowance = LEAST;
        }
    }

    fn needs_room(&self) -> bool {
        self.allowance == 0 && !self.lease.is_held()
    }

    fn is_active(&self) -> bool {
        self.allowance != LEAST || self.lease.is_held()
    }

    /// How many bytes may be read now, or waits for memory.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.lease.is_held() {
            return Poll::Ready(usize::MAX);
        }
        if (self.allowance == 0 || self.lease.is_waiting()) && self.lease.poll_take(cx).is_ready() {
            self.activity.busy();
            return Poll::Ready(usize::MAX);
        }
        if self.allowance == 0 {
            self.allowance = self.activity.take_admitted();
        }
        if self.allowance == 0 { Poll::Pending } else { Poll::Ready(self.allowance) }
    }

    fn poll_read_within(
        &mut self,
        room: usize,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>
    where
        IO: AsyncRead + Unpin,
    {
        if room >= buf.remaining() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let mut little = ReadBuf::new(buf.initialize_unfilled_to(room));
        let read = Pin::new(&mut self.io).poll_read(cx, &mut little);
        let filled = little.filled().len();
        buf.advance(filled);
        read
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
        let before = buf.filled().len();
        let read = match socket.poll_room(cx) {
            Poll::Ready(room) => socket.poll_read_within(room, cx, buf),
            Poll::Pending => Poll::Pending,
        };
        let filled = buf.filled().len().saturating_sub(before);
        if filled > 0 {
            socket.activity.bytes_came();
        }
        if !socket.lease.is_held() {
            socket.allowance = socket.allowance.saturating_sub(filled);
        }
        socket.has_paused = read.is_pending();
        if socket.has_paused && socket.lease.is_taken_for_now() {
            socket.activity.wake_later(cx.waker(), socket.needs_room());
        }
        read
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
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Wake, Waker};
    use tokio::io::{AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

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

    /// All the memory for windows that there is.
    fn all_of(share: &Share) -> Vec<Lease> {
        let taken = std::iter::from_fn(|| {
            let mut lease = share.lease();
            poll_fn(|cx| lease.poll_take(cx)).now_or_never().map(|()| lease)
        });
        taken.collect()
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
        let others = all_of(&share);
        let (_peer, mut socket, activity) = connection(&share).await;
        assert_eq!(read(&mut socket), Some(LEAST));
        let _request = activity.request();
        assert_eq!(read(&mut socket), None);
        assert!(share.leave().is_some());
        drop(others);
        assert_eq!(read(&mut socket), Some(3));
    }

    #[tokio::test]
    async fn what_is_admitted_is_read_without_memory_for_windows() {
        let share = Buffers::new(0).share().await;
        let _others = all_of(&share);
        let (_peer, mut socket, activity) = connection(&share).await;
        assert_eq!(read(&mut socket), Some(LEAST));
        let request = activity.request();
        assert_eq!(read(&mut socket), None);
        request.admitted(2);
        assert_eq!(read(&mut socket), Some(2));
        assert_eq!(read(&mut socket), None);
        drop(request);
        assert_eq!(read(&mut socket), Some(1), "it rests, and has its own bytes again");
    }

    #[tokio::test]
    async fn the_reader_is_woken_by_what_is_admitted_and_by_the_last_answer() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let share = Buffers::new(0).share().await;
        let (_peer, mut socket, activity) = connection(&share).await;
        assert_eq!(read(&mut socket), Some(LEAST));
        let (one, other) = (activity.request(), activity.request());
        assert_eq!(read(&mut socket), Some(3));
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut poll = || {
            let mut buf = [0; 8];
            let read = Pin::new(&mut socket)
                .poll_read(&mut Context::from_waker(&waker), &mut ReadBuf::new(&mut buf));
            assert!(read.is_pending());
        };
        poll();
        one.admitted(5);
        poll();
        drop(one);
        assert_eq!(count.0.load(Relaxed), 0, "another is still being answered, and there is memory");
        drop(other);
        assert_eq!(count.0.load(Relaxed), 1);
        poll();
        assert_eq!(count.0.load(Relaxed), 1, "at rest nobody is woken");
        assert!(!socket.lease.is_held());

        let _others = all_of(&share);
        let (_peer, mut socket, activity) = connection(&share).await;
        let request = activity.request();
        assert_eq!(read(&mut socket), Some(LEAST));
        let mut buf = [0; 8];
        let read =
            Pin::new(&mut socket).poll_read(&mut Context::from_waker(&waker), &mut ReadBuf::new(&mut buf));
        assert!(read.is_pending());
        request.admitted(5);
        assert_eq!(count.0.load(Relaxed), 2);
    }
}
