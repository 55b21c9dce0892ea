//! OTLP/gRPC: the three Export methods over hyper's HTTP/2.
//!
//! The framing is our own, because a codec reads and inflates a message before anybody can ask whether there is room
//! for it, and cannot hand on the frame that arrived. A call is one frame: a flag, the length in four bytes, and the
//! message. The length is looked at as soon as it is there; what is announced is refused or admitted before it is read.

use crate::otlp::Signal;
use crate::payload::{Compressed, Consume, GRPC_PREFIX, Message};
use crate::receiver::activity::Answering;
use crate::receiver::admission::Place;
use crate::receiver::body;
use crate::receiver::connection::Handle;
use crate::receiver::inflate::Codec;
use crate::receiver::intake::{Intake, Received};
use crate::receiver::respond::{self, Error};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use std::sync::Arc;
use tracing::{Instrument, Span};

/// Answers gRPC calls.
#[derive(Debug)]
pub struct Grpc<C> {
    intake: Arc<Intake<C>>,
}

impl<C> Clone for Grpc<C> {
    fn clone(&self) -> Self {
        Grpc { intake: self.intake.clone() }
    }
}

impl<C: Consume> Handle for Grpc<C> {
    async fn handle(&self, request: Request<Incoming>, answering: Answering) -> Response<respond::Body> {
        match self.call(request, &answering).await {
            Ok(()) => respond::grpc_ok(),
            Err(error) => respond::grpc_error(&error),
        }
    }
}

impl<C: Consume> Grpc<C> {
    /// Answers with what `intake` makes of each call.
    pub fn new(intake: Intake<C>) -> Self {
        Grpc { intake: Arc::new(intake) }
    }

    async fn call<B>(&self, request: Request<B>, answering: &Answering) -> Result<(), Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        check(&head)?;
        let path = head.uri.path();
        let signal = Signal::ALL.into_iter().find(|s| s.grpc_path() == path).ok_or(Error::NotFound)?;
        let span = self.intake.span(signal, &head.headers);
        self.export(signal, head.headers, body, answering, &span).instrument(span.clone()).await
    }

    async fn export<B>(
        &self,
        signal: Signal,
        headers: HeaderMap,
        mut body: B,
        answering: &Answering,
        span: &Span,
    ) -> Result<(), Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let encoding = Encoding::of(&headers);
        let received = match self.intake.offer(signal, &headers).await {
            Ok(place) => {
                // A head may be large, and the body may take its time.
                drop(headers);
                self.receive(place, encoding, &mut body, answering).await
            }
            Err(error) => Err(error),
        };
        self.intake.take(signal, received, span).await
    }

    async fn receive<B>(
        &self,
        place: Place,
        encoding: Encoding,
        body: &mut B,
        answering: &Answering,
    ) -> Result<Received, Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut clock = self.intake.clock();
        let (prefix, first) = clock.reading(Prefix::read(body)).await??;
        let codec = prefix.codec(encoding)?;
        let limit = self.intake.limit();
        if prefix.message_len > limit {
            return Err(Error::TooLarge { limit });
        }
        let len = GRPC_PREFIX + prefix.message_len;
        let mut permit = clock.waiting(self.intake.admission().admit(len, first.len())).await?;
        answering.admitted(len.saturating_sub(first.len()));
        let frame = body::collect(body, first, len, &clock).await?;
        let Some(codec) = codec else {
            return Ok(Received { message: Message::Framed(frame), arrived: None, permit, place });
        };
        let bytes = frame.slice(GRPC_PREFIX..);
        let message = Message::Bare(self.intake.inflate(codec, &bytes, &mut permit).await?);
        let arrived = codec.encoding().map(|encoding| Compressed { encoding, bytes });
        Ok(Received { message, arrived, permit, place })
    }
}

/// Whether this is a call of gRPC.
pub(super) fn check(head: &Parts) -> Result<(), Error> {
    if head.version != Version::HTTP_2 {
        return Err(Error::NotGrpc);
    }
    if head.method != Method::POST {
        return Err(Error::Method);
    }
    if !is_grpc(&head.headers) {
        return Err(Error::ContentType("application/grpc, application/grpc+proto"));
    }
    Ok(())
}

/// What `grpc-encoding` says.
#[derive(Clone, Copy)]
enum Encoding {
    Identity,
    Known(Codec),
    Unknown,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Self {
        match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None => Encoding::Identity,
            Some(token) if token.eq_ignore_ascii_case(b"identity") => Encoding::Identity,
            Some(token) => Codec::from_token(token).map_or(Encoding::Unknown, Encoding::Known),
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    let essence = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    [&b"application/grpc"[..], b"application/grpc+proto"].iter().any(|t| essence.eq_ignore_ascii_case(t))
}

/// What stands before a message.
struct Prefix {
    flag: u8,
    message_len: usize,
}

impl Prefix {
    /// Reads until the prefix is there, and no further; it may be split over pieces. The bytes are given back, since
    /// they belong to the frame.
    async fn read<B>(body: &mut B) -> Result<(Prefix, Bytes), Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut bytes = body::piece(body).await?.ok_or(Error::Incomplete)?;
        loop {
            if let Some([flag, len @ ..]) = bytes.first_chunk::<GRPC_PREFIX>() {
                let message_len = u32::from_be_bytes(*len) as usize;
                return Ok((Prefix { flag: *flag, message_len }, bytes));
            }
            let next = body::piece(body).await?.ok_or(Error::Incomplete)?;
            let mut joined = BytesMut::with_capacity(bytes.len() + next.len());
            joined.extend_from_slice(&bytes);
            joined.extend_from_slice(&next);
            bytes = joined.freeze();
        }
    }

    /// How the message is compressed. The header speaks of flagged frames only.
    fn codec(&self, encoding: Encoding) -> Result<Option<Codec>, Error> {
        match (self.flag, encoding) {
            (0, _) => Ok(None),
            (1, Encoding::Identity) => Err(Error::CompressedHow),
            (1, Encoding::Known(codec)) => Ok(Some(codec)),
            (1, Encoding::Unknown) => Err(Error::Compression(Codec::GRPC_NAMES)),
            (flag, _) => Err(Error::Flag(flag)),
        }
    }
}
