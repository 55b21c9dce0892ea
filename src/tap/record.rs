//! One call, as it was seen on the wire, and what became of it.

use crate::proto::v1 as proto;
use crate::refusal::answer::Answer;
use crate::refusal::event::{Kind, RefusalEvent};
use crate::refusal::judge::{Call, judge_answer};
use crate::refusal::policy::Policy;
use crate::refusal::verdict::{Category, Class, Verdict};
use crate::refusal::vocabulary::Vocabulary;
use crate::telemetry::{Identity, Observation, RefusalLabels};
use std::time::{SystemTime, UNIX_EPOCH};

/// What was seen of one call. Nothing of what anybody said is in it.
#[derive(Debug)]
pub struct Exchange {
    /// By its route or host; may be empty.
    pub provider: Box<str>,
    /// The host that was asked for; may be empty.
    pub host: Box<str>,
    /// The model that was asked for, where the path tells it; may be empty.
    pub model: Box<str>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The answer came as a stream.
    pub streamed: bool,
    /// The answer did not come to its end.
    pub cut: bool,
    /// How it ended.
    pub answer: Answer,
    /// The vendor's id of the request; may be empty.
    pub request_id: Box<str>,
    /// The span that the application was in.
    pub parent: Option<Parent>,
    /// The workload, where a header names it.
    pub workload: Option<Box<str>>,
    /// When.
    pub times: Times,
}

/// The moments of a call.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The request went out.
    pub started: SystemTime,
    /// The first bytes of the answer came.
    pub first_byte: Option<SystemTime>,
    /// The last bytes came.
    pub ended: SystemTime,
}

/// The span that a request was made in, as `traceparent` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// The flags; bit 0: sampled.
    pub flags: u8,
}

impl Parent {
    /// Reads a `traceparent` (W3C Trace Context, 3.2); none if it is not valid.
    pub fn parse(header: &str) -> Option<Parent> {
        let mut parts = header.trim().split('-');
        let version: [u8; 1] = hex(parts.next()?)?;
        let parent = Parent {
            trace_id: hex(parts.next()?)?,
            span_id: hex(parts.next()?)?,
            flags: u8::from_be_bytes(hex(parts.next()?)?),
        };
        let is_valid = version != [0xff] && parent.trace_id != [0; 16] && parent.span_id != [0; 8];
        let has_more = version == [0] && parts.next().is_some();
        (is_valid && !has_more).then_some(parent)
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text.len() == 2 * N && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    is_hex.then_some(bytes)
}

/// A call that was judged.
#[derive(Clone, Debug)]
pub struct Record {
    /// `gen_ai.provider.name`; may be empty.
    pub provider: Box<str>,
    /// The model that was asked for, else the one that answered; may be empty.
    pub model: Box<str>,
    /// The model that answered; may be empty.
    pub response_model: Box<str>,
    /// The vendor's id of the response; may be empty.
    pub response_id: Box<str>,
    /// The vendor's id of the request; may be empty.
    pub request_id: Box<str>,
    /// The span that the application was in.
    pub parent: Option<Parent>,
    /// The workload, as far as it is known without the application's telemetry.
    pub workload: Box<str>,
    /// A header of the request named the workload; else the collector's own resource speaks for it.
    pub workload_named: bool,
    /// How the call ended.
    pub verdict: Verdict<'static>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The error's type or code, where the answer is one; may be empty.
    pub error: Box<str>,
    /// Input tokens, as the vendor counts them.
    pub input_tokens: Option<u64>,
    /// Output tokens, as the vendor counts them.
    pub output_tokens: Option<u64>,
    /// When.
    pub times: Times,
}

impl Record {
    /// Judges an exchange. `workload` is what is said where no header names one. What policy says of it is another matter:
    /// the workload may be told by a span.
    pub fn judged(exchange: Exchange, vocabulary: &Vocabulary, workload: &str) -> Record {
        let Exchange { provider, host, model, status, streamed, cut, answer, request_id, parent, .. } =
            exchange;
        let workload_named = exchange.workload.is_some();
        let workload = exchange.workload.unwrap_or_else(|| workload.into());
        let response_model = answer.model.clone().unwrap_or_default();
        let asked = if model.is_empty() { &response_model } else { &model };
        let call = Call {
            source: SOURCE,
            provider: &provider,
            host: &host,
            model: asked,
            workload: &workload,
            http_status: status,
            streamed: streamed || cut,
        };
        let (input_tokens, output_tokens) = (answer.input_tokens, answer.output_tokens);
        let response_id = answer.id.clone().unwrap_or_default();
        let error = answer.error.as_ref().and_then(|error| error.kind.clone().or_else(|| error.code.clone()));
        let policy = Policy::default();
        let judgment = judge_answer(answer, &call, vocabulary, &policy);
        Record {
            provider: judgment.provider.as_ref().into(),
            verdict: judgment.verdict.into_owned(),
            model: asked.clone(),
            response_model,
            response_id,
            request_id,
            parent,
            workload,
            workload_named,
            status,
            error: error.unwrap_or_default(),
            input_tokens,
            output_tokens,
            times: exchange.times,
        }
    }

    /// Input and output tokens, as the vendor counts them.
    pub fn tokens(&self) -> (Option<u64>, Option<u64>) {
        (self.input_tokens, self.output_tokens)
    }

    /// Whether it tells how the call ended.
    pub fn is_conclusive(&self) -> bool {
        self.verdict.class != Class::Missing
    }

    /// Whether telemetry that came to `verdict` by itself says something else, and not only less.
    pub fn disagrees_with(&self, verdict: &Verdict<'_>) -> bool {
        let categories = self.verdict.refusal.as_ref().zip(verdict.refusal.as_ref());
        match categories.map(|(ours, theirs)| (ours.category, theirs.category)) {
            Some((_, Category::Missing | Category::Unspecified)) => false,
            Some((ours, theirs)) => ours != theirs,
            None => verdict.class != Class::Missing && verdict.class != self.verdict.class,
        }
    }

    /// What is told of the call where no span tells of it.
    pub fn event(&self, kind: Kind) -> RefusalEvent {
        let ended = self.times.ended.duration_since(UNIX_EPOCH).unwrap_or_default();
        let workload = self.workload.to_string();
        RefusalEvent {
            time_unix_nano: u64::try_from(ended.as_nanos()).unwrap_or_default(),
            trace_id: self.parent.map_or_else(Vec::new, |parent| parent.trace_id.to_vec()),
            span_id: self.parent.map_or_else(Vec::new, |parent| parent.span_id.to_vec()),
            resource: Some(proto::Resource { workload, ..proto::Resource::default() }),
            scope: Some(proto::Scope { name: SOURCE.to_owned(), ..proto::Scope::default() }),
            provider: self.provider.to_string(),
            model: self.model.to_string(),
            response_id: self.response_id.to_string(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            ..RefusalEvent::saying(kind, &self.verdict)
        }
    }

    /// The call as it is counted where no span tells of it. It is to the span that it was made in what a log record
    /// written there is.
    pub fn observation(&self) -> Observation<'_> {
        let refusal = self.verdict.refusal.as_ref();
        let parent = self.parent.as_ref();
        Observation {
            provider: &self.provider,
            model: &self.model,
            workload: &self.workload,
            instrumentation: SOURCE,
            class: self.verdict.class,
            value: self.verdict.value.as_deref(),
            vendor_category: self.verdict.vendor_category(),
            refusal: refusal.map(RefusalLabels::of),
            recovered: self.verdict.recovered.as_ref().map(|recovered| recovered.category),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            discard_output: refusal.and_then(|refusal| refusal.discard_output).unwrap_or(false),
            blind_emitter: false,
            identity: Identity {
                response_id: &self.response_id,
                request_id: &self.request_id,
                trace_id: parent.map_or(&[], |parent| &parent.trace_id),
                span_id: parent.map_or(&[], |parent| &parent.span_id),
                parent_span_id: &[],
                is_span: false,
                leaf: true,
            },
        }
    }
}

/// How the tap is called in `llm.refusal.signal` and where instrumentations are named.
pub(super) const SOURCE: &str = "ext_proc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_read_and_wrong_ones_are_none() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = Parent::parse(valid).unwrap();
        assert_eq!((parent.trace_id[0], parent.span_id[7], parent.flags), (0x0a, 0x31, 1));
        assert!(Parent::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(Parent::parse(wrong), None, "{wrong}");
        }
    }
}
