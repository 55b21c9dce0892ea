//! One call from its first message to its end.

use super::Settings;
use super::call::{AnswerHead, Call, ContentType, Endpoint, Sources};
use super::frames::Piece;
use super::messages::{
    BodyResponse, Empty, FULL_DUPLEX_STREAMED, HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse,
};
use crate::payload::Permit;
use crate::refusal::answer::Reader;
use crate::refusal::answer::coding::{Bounds, Coding, Decoder, Undecodable};
use crate::tap::{Exchange, Times};
use crate::telemetry::own::StreamEnd;
use std::sync::Arc;
use std::time::SystemTime;

/// What is known of a call so far.
pub struct Session {
    settings: Arc<Settings>,
    /// Covers the state of the readers.
    permit: Permit,
    mode: Option<Mode>,
    call: Call,
    head: AnswerHead,
    content: Content,
    started: SystemTime,
    first_byte: Option<SystemTime>,
    last_byte: SystemTime,
}

/// What Envoy expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: it sends copies.
    Observing,
    /// A reply to each message, or the call does not go on; after the end of the stream it goes on without.
    Answering,
    /// All of the body back, or the call loses it.
    FullDuplex,
}

/// How the answer is read.
enum Content {
    Plain(Box<Reader>),
    Coded(Box<Reader>, Decoder),
    /// It is not, or no more.
    Unread(StreamEnd),
}

/// Whether a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More is wanted.
    Message,
    /// All that is wanted has come.
    End(StreamEnd),
}

impl Session {
    /// A call of which nothing is known; `permit` covers the state of its reader.
    pub fn new(settings: Arc<Settings>, permit: Permit) -> Self {
        let now = SystemTime::now();
        Session {
            settings,
            permit,
            mode: None,
            call: Call::default(),
            head: AnswerHead::default(),
            content: Content::Plain(Box::default()),
            started: now,
            first_byte: None,
            last_byte: now,
        }
    }

    /// What Envoy expects, once a message has come.
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// Takes what came, and says what is to be replied.
    pub fn take(&mut self, piece: Piece) -> (Option<ProcessingResponse>, Next) {
        match piece {
            Piece::Body(body) => {
                self.read(&body);
                let echo = |body| {
                    let response_body = Some(BodyResponse::echo(HttpBody { body, end_of_stream: false }));
                    ProcessingResponse { response_body, ..ProcessingResponse::default() }
                };
                let reply = (self.mode == Some(Mode::FullDuplex)).then(|| echo(body));
                (reply, self.next(false))
            }
            Piece::Message(message) => self.take_message(*message),
        }
    }

    /// What has been seen of the call, at the end of its stream; none if that is nothing to be told of.
    pub fn finish(self, end: StreamEnd) -> (StreamEnd, Option<Exchange>) {
        let (reader, damaged) = match self.content {
            Content::Unread(why) => return (why, None),
            Content::Plain(reader) => (reader, false),
            Content::Coded(reader, decoder) => (reader, end == StreamEnd::Whole && !decoder.is_whole()),
        };
        let (Some(status), true) = (self.head.status, matches!(end, StreamEnd::Whole | StreamEnd::Cut))
        else {
            return (end, None);
        };
        let answer = reader.finish();
        let tells = answer.shape.is_some() || !answer.stops.is_empty();
        if self.call.endpoint != Endpoint::Generation && !tells {
            return (StreamEnd::Declined, None);
        }
        let exchange = Exchange {
            provider: self.call.provider,
            host: self.call.host,
            model: self.call.model,
            status: Some(status),
            streamed: self.head.content == ContentType::Stream,
            cut: answer.incomplete && (end == StreamEnd::Cut || damaged),
            answer,
            request_id: self.head.request_id,
            parent: self.call.parent,
            workload: self.call.workload,
            times: Times { started: self.started, first_byte: self.first_byte, ended: self.last_byte },
        };
        (end, Some(exchange))
    }

    fn take_message(&mut self, message: ProcessingRequest) -> (Option<ProcessingResponse>, Next) {
        let mode = *self.mode.get_or_insert_with(|| Mode::of(&message));
        let mut reply = ProcessingResponse::default();
        let mut ended = false;
        if let Some(headers) = &message.request_headers {
            self.begin_call(headers, &message);
            reply.request_headers = Some(Empty {});
        }
        if let Some(headers) = &message.response_headers {
            self.begin_answer(headers);
            ended |= headers.end_of_stream;
            reply.response_headers = Some(Empty {});
        }
        if let Some(body) = message.request_body {
            reply.request_body = Some(mode.body_response(body));
        }
        if let Some(body) = message.response_body {
            self.read(&body.body);
            ended |= body.end_of_stream;
            reply.response_body = Some(mode.body_response(body));
        }
        if message.request_trailers.is_some() {
            reply.request_trailers = Some(Empty {});
        }
        if message.response_trailers.is_some() {
            ended = true;
            reply.response_trailers = Some(Empty {});
        }
        ((mode != Mode::Observing).then_some(reply), self.next(ended))
    }

    fn next(&self, ended: bool) -> Next {
        match &self.content {
            _ if ended => Next::End(StreamEnd::Whole),
            // The call would lose the rest of its body.
            _ if self.mode == Some(Mode::FullDuplex) => Next::Message,
            Content::Unread(why) => Next::End(*why),
            Content::Plain(_) | Content::Coded(..) => Next::Message,
        }
    }

    fn begin_call(&mut self, headers: &HttpHeaders, message: &ProcessingRequest) {
        let sources = Sources {
            providers: &self.settings.providers,
            workload_header: self.settings.workload_header.as_deref(),
            vocabulary: &self.settings.vocabulary,
        };
        self.call = Call::of(headers, &message.attributes, &sources);
        if !self.call.is_of_interest() {
            self.content = Content::Unread(StreamEnd::Declined);
        }
    }

    fn begin_answer(&mut self, headers: &HttpHeaders) {
        self.head = AnswerHead::of(headers);
        let Content::Plain(reader) = &mut self.content else { return };
        if self.head.content == ContentType::Foreign {
            self.content = Content::Unread(StreamEnd::Declined);
            return;
        }
        if let Some(status) = self.head.status {
            reader.http_status(status);
        }
        match Coding::of_header(self.head.encoding.as_bytes()) {
            Ok(None) => {}
            Ok(Some(coding)) => {
                let bounds = Bounds { window: self.settings.max_window, output: self.settings.max_answer };
                self.content = Content::Coded(std::mem::take(reader), Decoder::new(coding, bounds));
            }
            Err(_) => {
                self.settings.metrics.undecodable(&self.head.encoding);
                self.content = Content::Unread(StreamEnd::Undecodable);
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.last_byte = SystemTime::now();
        self.first_byte.get_or_insert(self.last_byte);
        let fault = match &mut self.content {
            Content::Unread(_) => return,
            Content::Plain(reader) => return reader.feed(bytes),
            Content::Coded(reader, decoder) => {
                let (budget, permit) = (&self.settings.state, &mut self.permit);
                let has_room = |bytes: usize| {
                    let more = u32::try_from(bytes).ok().and_then(|bytes| budget.try_acquire(bytes));
                    more.map(|more| permit.merge(more)).is_some()
                };
                match decoder.feed(bytes, has_room, |text| reader.feed(text)) {
                    Ok(()) => return,
                    Err(fault) => fault,
                }
            }
        };
        let why = match fault {
            Undecodable::Invalid | Undecodable::Window => {
                self.settings.metrics.undecodable(&self.head.encoding);
                StreamEnd::Undecodable
            }
            Undecodable::Memory | Undecodable::TooLong => StreamEnd::Limit,
        };
        self.settings.metrics.incomplete();
        self.content = Content::Unread(why);
    }
}

impl Mode {
    fn of(first: &ProcessingRequest) -> Mode {
        let modes = first.protocol_config.unwrap_or_default();
        match first.observability_mode {
            true => Mode::Observing,
            false if [modes.request_body_mode, modes.response_body_mode].contains(&FULL_DUPLEX_STREAMED) => {
                Mode::FullDuplex
            }
            false => Mode::Answering,
        }
    }

    fn body_response(self, body: HttpBody) -> BodyResponse {
        match self {
            Mode::FullDuplex => BodyResponse::echo(body),
            Mode::Answering | Mode::Observing => BodyResponse::default(),
        }
    }
}
