//! One connection from its first byte to its end: HTTP/1 or HTTP/2, with every wait bounded.

use crate::receiver::activity::{Activity, Answering};
use crate::receiver::buffers::{Counted, Share};
use crate::receiver::respond::Body;
use crate::receiver::socket::{Protocol, Socket, recognize};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Answers the requests of a port.
pub trait Handle: Clone + Send + Sync + 'static {
    /// Whether its connections hold memory for their windows as long as they are open, because their requests must not
    /// wait for other connections.
    const KEEPS_MEMORY: bool = false;

    /// Answers one request. Dropped when the peer resets the request or hangs up. The connection counts as busy as long
    /// as `answering` is held.
    fn handle(
        &self,
        request: Request<Incoming>,
        answering: Answering,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// What one connection may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long the first bytes of a connection, and in HTTP/1 the head of each request, may take.
    pub head_timeout: Duration,
    /// How long a connection may be without a request; none means for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a connection is used; none means for ever.
    pub max_age: Option<Duration>,
    /// How long the calls of a connection that is too old may go on; none means for ever.
    pub max_age_grace: Option<Duration>,
    /// HTTP/2: ping after this silence.
    pub ping_after: Duration,
    /// HTTP/2: hang up when a ping is not answered for so long.
    pub ping_timeout: Duration,
    /// HTTP/2: how many requests may be open.
    pub max_streams: u32,
    /// The largest header of a request, in bytes.
    pub max_header_size: u32,
}

/// How connections are told to end.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// No more requests; those that are open are answered.
    pub stop: CancellationToken,
    /// At once.
    pub abort: CancellationToken,
    /// Every connection and every request that is being answered.
    pub tasks: TaskTracker,
}

/// Serves `io` until one side ends the connection.
pub async fn serve<IO, H>(mut io: IO, handler: H, limits: &Limits, share: Share, ending: &Ending)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handle,
{
    let accepted = Instant::now();
    let mut lease = share.lease();
    if H::KEEPS_MEMORY {
        tokio::select! {
            () = lease.keep() => {}
            () = ending.stop.cancelled() => return,
        }
    }
    let recognized = tokio::select! {
        recognized = timeout(limits.head_timeout, recognize(&mut io)) => recognized,
        () = ending.stop.cancelled() => return,
    };
    let Ok(Ok(Some((protocol, first)))) = recognized else { return };
    let activity = Arc::new(Activity::new(accepted));
    let io = TokioIo::new(Socket::new(io, first, activity.clone(), lease));
    let service = service_fn({
        let activity = activity.clone();
        move |request| {
            let answering = activity.request();
            let handler = handler.clone();
            async move { Ok::<_, Infallible>(handler.handle(request, answering).await) }
        }
    });
    let keeper = Keeper { protocol, limits, share: &share, activity, accepted, closing: None, leaving: None };
    match protocol {
        Protocol::Http1 => keeper.keep(http1(limits, &share).serve_connection(io, service), ending).await,
        Protocol::Http2 => {
            keeper.keep(http2(limits, &share, ending).serve_connection(io, service), ending).await
        }
    }
}

fn http1(limits: &Limits, share: &Share) -> http1::Builder {
    let read_buffer =
        share.frame.min(HTTP1_READ).max(limits.max_header_size.saturating_add(HTTP1_READ_LEAST));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The keeper knows a late head from a quiet connection, hyper does not.
        .header_read_timeout(None)
        .max_header_size(limits.max_header_size as usize)
        .max_buf_size(read_buffer as usize);
    builder
}

fn http2(limits: &Limits, share: &Share, ending: &Ending) -> http2::Builder<Tracked> {
    let mut builder = http2::Builder::new(Tracked(ending.tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_connection_window_size(share.connection)
        .initial_stream_window_size(share.stream)
        .max_frame_size(share.frame)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_size)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_ERROR_RESETS)
        .keep_alive_interval(limits.ping_after)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

/// Bodies in HTTP/1 are read in pieces of at most so many bytes.
const HTTP1_READ: u32 = 256 << 10;

/// hyper takes no smaller buffers.
const HTTP1_READ_LEAST: u32 = 8 << 10;

/// Streams that a peer opened and reset before we looked at them; more is the "rapid reset" attack (CVE-2023-44487).
const PENDING_RESETS: usize = 20;

/// Streams that we reset because the peer broke the protocol in them (RUSTSEC-2024-0003).
const LOCAL_ERROR_RESETS: usize = 256;

/// How long a connection without requests may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a connection may be busy while others wait for memory. Senders give up on a request after ten seconds or so.
const LONGEST_TURN: Duration = Duration::from_secs(5);

/// Watches the clock for one connection.
struct Keeper<'a> {
    protocol: Protocol,
    limits: &'a Limits,
    share: &'a Share,
    activity: Arc<Activity>,
    accepted: Instant,
    /// When it was told to end.
    closing: Option<Instant>,
    /// For whom.
    leaving: Option<Counted>,
}

/// What a look at the clock says.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    GoOn,
    Close,
    HangUp,
}

impl Keeper<'_> {
    async fn keep<C>(mut self, connection: C, ending: &Ending)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        tokio::pin!(connection);
        let mut clock = interval(self.period());
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error = %whole_story(&error), "a connection ended");
                    }
                    return;
                }
                () = ending.abort.cancelled() => return,
                () = ending.stop.cancelled(), if self.closing.is_none() => {
                    self.closing = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
                now = clock.tick() => match self.look(now) {
                    Order::GoOn => {}
                    Order::Close => connection.as_mut().graceful_shutdown(),
                    Order::HangUp => return,
                },
            }
        }
    }

    fn look(&mut self, now: Instant) -> Order {
        let is_due = |since: Instant, wait: Option<Duration>| {
            wait.is_some_and(|wait| now.saturating_duration_since(since) >= wait)
        };
        let state = self.activity.now();
        let is_quiet = state.in_flight == 0;
        let (max_age, grace) = (self.limits.max_age, self.limits.max_age_grace);
        if let Some(closing) = self.closing {
            let is_too_late = match is_quiet {
                true => is_due(closing.max(state.quiet_since), Some(FAREWELL)),
                false => {
                    is_due(self.accepted, max_age.zip(grace).map(|(age, grace)| age.saturating_add(grace)))
                }
            };
            return if is_too_late { Order::HangUp } else { Order::GoOn };
        }
        // In HTTP/2 bytes may come for other reasons than a request.
        let late_head = state.unclaimed_since.filter(|_| is_quiet && self.protocol == Protocol::Http1);
        if late_head.is_some_and(|since| is_due(since, Some(self.limits.head_timeout))) {
            return Order::HangUp;
        }
        let is_idle = is_quiet && is_due(state.quiet_since, self.limits.idle_timeout);
        if state.busy_since.is_some_and(|since| is_due(since, Some(LONGEST_TURN))) {
            // Others have waited long enough. It may come again behind them, with narrower windows.
            self.leaving = self.share.leave();
        }
        if is_due(self.accepted, max_age) || is_idle || self.leaving.is_some() {
            self.closing = Some(now);
            return Order::Close;
        }
        Order::GoOn
    }

    /// How often to look: the shortest wait is kept to a quarter of itself.
    fn period(&self) -> Duration {
        let head = Some(self.limits.head_timeout).filter(|_| self.protocol == Protocol::Http1);
        let waits = [head, self.limits.idle_timeout, self.limits.max_age, self.limits.max_age_grace];
        let shortest = waits.into_iter().flatten().fold(4 * FAREWELL, Duration::min);
        (shortest / 4).max(Duration::from_millis(10))
    }
}

/// hyper's errors keep the reason in their sources.
fn whole_story(error: &(dyn std::error::Error + 'static)) -> String {
    let mut story = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        story.push_str(": ");
        story.push_str(&source.to_string());
        next = source.source();
    }
    story
}

/// Spawns HTTP/2 streams so that they can be waited for.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::buffers::{Buffers, Lease};
    use futures_util::FutureExt;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn who_is_busy_without_a_rest_comes_again_if_others_wait() {
        let share = Buffers::new(0).share().await;
        let limits = Limits {
            head_timeout: Duration::from_secs(10),
            idle_timeout: None,
            max_age: None,
            max_age_grace: None,
            ping_after: Duration::from_secs(7200),
            ping_timeout: Duration::from_secs(20),
            max_streams: 128,
            max_header_size: 32 << 10,
        };
        let activity = Arc::new(Activity::new(Instant::now()));
        let keeper = || Keeper {
            protocol: Protocol::Http2,
            limits: &limits,
            share: &share,
            activity: activity.clone(),
            accepted: Instant::now(),
            closing: None,
            leaving: None,
        };
        let request = activity.request();
        activity.busy();
        tokio::time::advance(LONGEST_TURN).await;
        assert_eq!(keeper().look(Instant::now()), Order::GoOn, "nobody waits");
        let mut leases: Vec<Lease> = (0..100).map(|_| share.lease()).collect();
        let busy =
            leases.iter_mut().filter_map(|lease| poll_fn(|cx| lease.poll_take(cx)).now_or_never()).count();
        assert!(busy < leases.len());
        assert_eq!(keeper().look(Instant::now()), Order::Close);
        drop(request);
        assert!(activity.rest());
        assert_eq!(keeper().look(Instant::now()), Order::GoOn, "it rests");
    }
}
