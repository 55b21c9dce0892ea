//! OTLP/HTTP: a POST of protobuf or JSON to one path per signal, over HTTP/1 or HTTP/2.

use crate::otlp::{Signal, json};
use crate::payload::{Compressed, Consume, GRPC_PREFIX, Message, Permit};
use crate::receiver::activity::Answering;
use crate::receiver::admission::Place;
use crate::receiver::body;
use crate::receiver::connection::Handle;
use crate::receiver::inflate::Codec;
use crate::receiver::intake::{Clock, Intake, Received};
use crate::receiver::respond::{self, Error, Format};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version, header, request};
use http_body::Body;
use hyper::body::Incoming;
use std::sync::Arc;
use tracing::{Instrument, Span};

/// Answers OTLP/HTTP requests.
#[derive(Debug)]
pub struct Http<C> {
    shared: Arc<Shared<C>>,
}

#[derive(Debug)]
struct Shared<C> {
    intake: Intake<C>,
    paths: [(Signal, String); 3],
}

/// A request whose body is still to come.
struct Arriving<'a, B> {
    body: B,
    clock: Clock,
    answering: &'a Answering,
}

impl<C> Clone for Http<C> {
    fn clone(&self) -> Self {
        Http { shared: self.shared.clone() }
    }
}

impl<C: Consume> Handle for Http<C> {
    async fn handle(&self, request: Request<Incoming>, answering: Answering) -> Response<respond::Body> {
        self.respond(request, &answering).await
    }
}

impl<C: Consume> Http<C> {
    /// Answers with what `intake` makes of what is sent to `paths`.
    pub fn new(intake: Intake<C>, paths: [(Signal, String); 3]) -> Self {
        Http { shared: Arc::new(Shared { intake, paths }) }
    }

    async fn respond<B>(&self, request: Request<B>, answering: &Answering) -> Response<respond::Body>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        if is_grpc(&head.headers) {
            return respond::grpc_error(&Error::NotHttp);
        }
        let mut arriving = Arriving { body, clock: self.shared.intake.clock(), answering };
        // Whoever speaks neither encoding is perhaps a person.
        let answer_in = format(&head.headers).unwrap_or(Format::Json);
        // HTTP/2 can reset a stream and still deliver the answer. In HTTP/1 the connection would have to be closed on
        // a peer that is still writing. One that asked first whether to send has not begun.
        let is_sending = head.version < Version::HTTP_2 && !head.headers.contains_key(header::EXPECT);
        let error = match self.export(head, &mut arriving).await {
            Ok(()) => return respond::http_ok(answer_in),
            Err(error) => error,
        };
        let mut response = respond::http_error(&error, answer_in);
        let discarded = self.shared.intake.limit().saturating_mul(DISCARDED_LIMITS);
        if is_sending && !body::discard(&mut arriving.body, discarded, &arriving.clock).await {
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        response
    }

    async fn export<B>(&self, head: request::Parts, arriving: &mut Arriving<'_, B>) -> Result<(), Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let path = head.uri.path();
        let (signal, _) = self.shared.paths.iter().find(|(_, p)| p == path).ok_or(Error::NotFound)?;
        if head.method != Method::POST {
            return Err(Error::Method);
        }
        let span = self.shared.intake.span(*signal, &head.headers);
        self.export_signal(*signal, head.headers, arriving, &span).instrument(span.clone()).await
    }

    async fn export_signal<B>(
        &self,
        signal: Signal,
        headers: HeaderMap,
        arriving: &mut Arriving<'_, B>,
        span: &Span,
    ) -> Result<(), Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let intake = &self.shared.intake;
        let offered = intake.offer(signal, &headers).await;
        let received = match offered.and_then(|place| Ok((place, coding(&headers)?))) {
            Ok((place, coding)) => {
                // A head may be large, and the body may take its time.
                drop(headers);
                self.receive(place, signal, coding, arriving).await
            }
            Err(error) => Err(error),
        };
        intake.take(signal, received, span).await
    }

    async fn receive<B>(
        &self,
        place: Place,
        signal: Signal,
        (format, codec): (Format, Option<Codec>),
        arriving: &mut Arriving<'_, B>,
    ) -> Result<Received, Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let Arriving { body, clock, answering } = arriving;
        let intake = &self.shared.intake;
        let limit = intake.limit();
        let (bytes, mut permit) = match body.size_hint().exact().map(usize::try_from) {
            None => body::collect_unknown(body, limit, intake.admission(), clock).await?,
            Some(Ok(len)) if len <= limit => {
                let permit = clock.waiting(intake.admission().admit(len, 0)).await?;
                answering.admitted(len);
                (body::collect(body, Bytes::new(), len, clock).await?, permit)
            }
            Some(_) => return Err(Error::TooLarge { limit }),
        };
        let (plain, arrived) = match codec {
            None => (bytes, None),
            Some(codec) => {
                let plain = intake.inflate(codec, &bytes, &mut permit).await?;
                (plain, codec.encoding().map(|encoding| Compressed { encoding, bytes }))
            }
        };
        match format {
            Format::Protobuf => Ok(Received { message: Message::Bare(plain), arrived, permit, place }),
            Format::Json => {
                drop(arrived);
                let (message, permit) = self.decode_json(signal, plain, permit).await?;
                Ok(Received { message, arrived: None, permit, place })
            }
        }
    }

    async fn decode_json(
        &self,
        signal: Signal,
        json: Bytes,
        mut permit: Permit,
    ) -> Result<(Message, Permit), Error> {
        let admission = self.shared.intake.admission();
        let limit = self.shared.intake.limit().min(admission.budget().capacity() / (1 + json::MAX_GROWTH));
        if json.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        permit.merge(admission.now(json.len().saturating_mul(json::MAX_GROWTH))?);
        let is_long = json.len() > LONG_JSON;
        let decode = move || -> Result<(Message, Permit), Error> {
            let message = json::decode(signal, &json)?;
            permit.shrink_to(message.len().saturating_add(GRPC_PREFIX));
            Ok((message, permit))
        };
        match is_long {
            true => tokio::task::spawn_blocking(decode).await.map_err(|_| Error::Disconnected)?,
            false => decode(),
        }
    }
}

/// Longer texts are read beside the workers, which have other requests to serve.
const LONG_JSON: usize = 1 << 20;

/// How much of a body that is not wanted is read so that its sender sees the answer, in largest bodies.
const DISCARDED_LIMITS: usize = 4;

/// The encoding in which a request says that it comes.
fn format(headers: &HeaderMap) -> Option<Format> {
    let essence = essence(headers)?;
    match () {
        _ if essence.eq_ignore_ascii_case(b"application/x-protobuf") => Some(Format::Protobuf),
        _ if essence.eq_ignore_ascii_case(b"application/json") => Some(Format::Json),
        _ => None,
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let grpc = b"application/grpc";
    essence(headers).and_then(|e| e.get(..grpc.len())).is_some_and(|e| e.eq_ignore_ascii_case(grpc))
}

/// The content type without its parameters.
fn essence(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::CONTENT_TYPE)?.as_bytes();
    value.split(|b| *b == b';').next().map(<[u8]>::trim_ascii)
}

/// What a body is, and how it is compressed.
fn coding(headers: &HeaderMap) -> Result<(Format, Option<Codec>), Error> {
    let format = format(headers).ok_or(Error::ContentType("application/x-protobuf, application/json"))?;
    Ok((format, codec(headers)?))
}

fn codec(headers: &HeaderMap) -> Result<Option<Codec>, Error> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let (first, second) = (encodings.next(), encodings.next());
    let token = first.map_or(&b"identity"[..], |value| value.as_bytes().trim_ascii());
    if second.is_none() && (token.is_empty() || token.eq_ignore_ascii_case(b"identity")) {
        return Ok(None);
    }
    match Codec::from_token(token) {
        Some(codec) if second.is_none() => Ok(Some(codec)),
        _ => Err(Error::Compression(Codec::HTTP_NAMES)),
    }
}
