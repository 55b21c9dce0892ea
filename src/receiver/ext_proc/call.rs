//! What headers tell of a call. Whatever else is in them is dropped unread: Envoy may be told to send credentials.

use super::messages::{HeaderMap, HeaderValue, HttpHeaders, Struct};
use crate::refusal::vocabulary::Vocabulary;
use crate::tap::Parent;
use std::collections::HashMap;

/// The request's side of a call.
#[derive(Debug, Default)]
pub struct Call {
    /// `gen_ai.provider.name` or another key that the vocabulary knows; empty where nothing tells it.
    pub provider: Box<str>,
    /// The host that the application asked for.
    pub host: Box<str>,
    /// The model, where the path names it.
    pub model: Box<str>,
    /// What the path asks for.
    pub endpoint: Endpoint,
    /// The span that the application was in.
    pub parent: Option<Parent>,
    /// The value of the header that names the workload.
    pub workload: Option<Box<str>>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// An answer of a model.
    Generation,
    /// Something known that is no answer of a model.
    Other,
    /// The path is not known, or was not told.
    #[default]
    Unknown,
}

/// What a receiver is told to look for.
#[derive(Debug)]
pub struct Sources<'a> {
    /// From route names and hosts to providers.
    pub providers: &'a HashMap<String, String>,
    /// The header that names the workload, in lower case.
    pub workload_header: Option<&'a str>,
    /// Whose hosts and names are known.
    pub vocabulary: &'a Vocabulary,
}

impl Call {
    /// Reads the headers of a request and what Envoy says about it.
    pub fn of(headers: &HttpHeaders, attributes: &HashMap<String, Struct>, sources: &Sources<'_>) -> Call {
        let header = |name: &str| text_of(headers, name);
        let route = attributes.values().find_map(|attributes| attributes.fields.get(ROUTE_NAME));
        let route = route.map_or("", |route| route.string_value.as_str());
        let authority = header(":authority").unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        // Gemini's clients may put the key behind the question mark.
        let path = header(":path").unwrap_or_default().split(['?', '#']).next().unwrap_or_default();
        let known = |key: &str| sources.vocabulary.provider_of_key(key).map(|_| key.to_owned());
        let configured = [route, host].into_iter().find_map(|key| sources.providers.get(key).cloned());
        let of_host = || sources.vocabulary.provider_of_host(host).map(|provider| provider.name.to_owned());
        let provider = configured.or_else(|| known(route)).or_else(of_host).unwrap_or_default();
        Call {
            provider: provider.into(),
            host: bounded(host),
            model: bounded(model_in(path)),
            endpoint: Endpoint::of(path),
            parent: header("traceparent").and_then(Parent::parse),
            workload: sources.workload_header.and_then(header).filter(|name| !name.is_empty()).map(bounded),
        }
    }

    /// Whether this may be a call to a model.
    pub fn is_of_interest(&self) -> bool {
        match self.endpoint {
            Endpoint::Generation => true,
            Endpoint::Other => false,
            Endpoint::Unknown => !self.provider.is_empty(),
        }
    }
}

impl Endpoint {
    fn of(path: &str) -> Endpoint {
        let path = path.trim_end_matches('/');
        let ends = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
        match () {
            _ if ends(GENERATION) => Endpoint::Generation,
            _ if ends(OTHER) => Endpoint::Other,
            _ => Endpoint::Unknown,
        }
    }
}

/// How the paths end under which vendors answer with what a model said, from their API references.
const GENERATION: &[&str] = &[
    // Anthropic Messages.
    "/v1/messages",
    // OpenAI, and all that imitate it; Azure.
    "/chat/completions",
    "/completions",
    "/responses",
    // Gemini and Vertex.
    ":generateContent",
    ":streamGenerateContent",
    ":rawPredict",
    ":streamRawPredict",
    // Bedrock.
    "/converse",
    "/converse-stream",
    "/invoke",
    "/invoke-with-response-stream",
    // Ollama.
    "/api/chat",
    "/api/generate",
    // Cohere.
    "/v1/chat",
    "/v2/chat",
    // DashScope.
    "/text-generation/generation",
    "/multimodal-generation/generation",
];

/// How paths end under which the same hosts do something else.
const OTHER: &[&str] = &[
    "/models",
    "/embeddings",
    "/embed",
    "/rerank",
    "/moderations",
    "/count_tokens",
    ":countTokens",
    ":embedContent",
    ":batchEmbedContents",
    "/batches",
    "/files",
    "/images/generations",
    "/audio/speech",
    "/audio/transcriptions",
    "/api/tags",
    "/api/embed",
    "/api/embeddings",
];

/// The model in `/models/NAME:generateContent`, `/model/NAME/converse` or `/deployments/NAME/chat/completions`.
fn model_in(path: &str) -> &str {
    let mut segments = path.split('/');
    let is_before = |segment: &&str| matches!(*segment, "models" | "model" | "deployments");
    let name = segments.find(is_before).and_then(|_| segments.next()).unwrap_or_default();
    name.split_once(':')
        .filter(|(_, verb)| !verb.starts_with(|c: char| c.is_ascii_digit()))
        .map_or(name, |(name, _)| name)
}

/// The answer's side of a call, as its headers tell it.
#[derive(Debug, Default)]
pub struct AnswerHead {
    /// The HTTP status.
    pub status: Option<u16>,
    /// What kind of body comes.
    pub content: ContentType,
    /// `content-encoding`.
    pub encoding: Box<str>,
    /// The vendor's id of the request; empty where it gave none.
    pub request_id: Box<str>,
}

/// Bodies, as far as they are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentType {
    /// JSON, or nothing that says otherwise.
    #[default]
    Document,
    /// Events, lines of JSON, or messages of AWS.
    Stream,
    /// What no model's words come in: pictures, sound, archives.
    Foreign,
}

impl AnswerHead {
    /// Reads the headers of an answer.
    pub fn of(headers: &HttpHeaders) -> AnswerHead {
        let header = |name: &str| text_of(headers, name);
        AnswerHead {
            status: header(":status").and_then(|status| status.parse().ok()),
            content: ContentType::of(header("content-type").unwrap_or_default()),
            encoding: bounded(header("content-encoding").unwrap_or_default()),
            request_id: bounded(REQUEST_IDS.iter().find_map(|name| header(name)).unwrap_or_default()),
        }
    }
}

impl ContentType {
    fn of(header: &str) -> ContentType {
        let essence = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/event-stream" | "application/x-ndjson" | "application/jsonl" => ContentType::Stream,
            "application/vnd.amazon.eventstream" | "application/stream+json" => ContentType::Stream,
            "application/octet-stream" | "application/zip" | "application/pdf" => ContentType::Foreign,
            other
                if ["image/", "audio/", "video/", "multipart/"]
                    .iter()
                    .any(|kind| other.starts_with(kind)) =>
            {
                ContentType::Foreign
            }
            _ => ContentType::Document,
        }
    }
}

/// Headers in which vendors name their requests: Anthropic, Azure, Bedrock, OpenAI and others.
const REQUEST_IDS: &[&str] = &["request-id", "apim-request-id", "x-amzn-requestid", "x-request-id"];

/// The attribute of Envoy's that names the route.
const ROUTE_NAME: &str = "xds.route_name";

/// What is kept of a header, in bytes.
const MAX_HEADER: usize = 256;

fn text_of<'h>(headers: &'h HttpHeaders, name: &str) -> Option<&'h str> {
    let HeaderMap { headers } = headers.headers.as_ref()?;
    let HeaderValue { value, raw_value, .. } =
        headers.iter().find(|header| header.key.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(if value.is_empty() { raw_value } else { value }).ok()
}

fn bounded(text: &str) -> Box<str> {
    let end = (0..=text.len().min(MAX_HEADER)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::ext_proc::messages::Value;

    fn headers(list: &[(&str, &str)]) -> HttpHeaders {
        let header = |(key, value): &(&str, &str)| HeaderValue {
            key: (*key).into(),
            raw_value: value.to_string().into(),
            ..HeaderValue::default()
        };
        let headers = list.iter().map(header).collect();
        HttpHeaders { headers: Some(HeaderMap { headers }), end_of_stream: false }
    }

    fn call(list: &[(&str, &str)], route: &str, providers: &[(&str, &str)]) -> Call {
        let vocabulary = Vocabulary::embedded().unwrap();
        let fields = [(ROUTE_NAME.to_owned(), Value { string_value: route.into() })].into();
        let attributes = [("envoy.filters.http.ext_proc".to_owned(), Struct { fields })].into();
        let providers = providers.iter().map(|(key, name)| ((*key).into(), (*name).into())).collect();
        let sources =
            Sources { providers: &providers, workload_header: Some("x-workload"), vocabulary: &vocabulary };
        Call::of(&headers(list), &attributes, &sources)
    }

    #[test]
    fn the_provider_is_told_by_configuration_then_route_then_host() {
        let path = (":path", "/v1/messages");
        let provider = |host, route, configured: &[_]| {
            call(&[path, (":authority", host)], route, configured).provider.into_string()
        };
        assert_eq!(provider("api.anthropic.com", "", &[]), "anthropic");
        assert_eq!(provider("api.anthropic.com:443", "", &[]), "anthropic");
        assert_eq!(provider("127.0.0.1:15001", "openai", &[]), "openai");
        assert_eq!(provider("127.0.0.1:15001", "llm", &[("llm", "mistral_ai")]), "mistral_ai");
        assert_eq!(provider("gateway.local", "llm", &[("gateway.local", "groq")]), "groq");
        assert_eq!(provider("gateway.local", "llm", &[]), "");
    }

    #[test]
    fn paths_tell_what_is_asked_for_and_keep_no_key() {
        let call = |path| call(&[(":path", path), (":authority", "x")], "", &[]);
        let gemini = call("/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent?key=SECRET&alt=sse");
        assert_eq!((&*gemini.model, gemini.endpoint), ("gemini-2.5-pro", Endpoint::Generation));
        assert!(!format!("{gemini:?}").contains("SECRET"));
        let bedrock = call("/model/anthropic.claude-sonnet-4-5-v1:0/invoke");
        assert_eq!(
            (&*bedrock.model, bedrock.endpoint),
            ("anthropic.claude-sonnet-4-5-v1:0", Endpoint::Generation)
        );
        let azure = call("/openai/deployments/prod/chat/completions?api-version=1");
        assert_eq!((&*azure.model, azure.endpoint), ("prod", Endpoint::Generation));
        assert_eq!(call("/v1/models").endpoint, Endpoint::Other);
        assert_eq!(call("/v1/messages/count_tokens").endpoint, Endpoint::Other);
        assert_eq!(call("/health").endpoint, Endpoint::Unknown);
        assert!(!call("/health").is_of_interest());
    }

    #[test]
    fn nothing_else_of_the_headers_is_kept() {
        let secrets = [
            ("authorization", "Bearer CANARY"),
            ("x-api-key", "CANARY"),
            ("cookie", "CANARY"),
            ("x-workload", "checkout"),
            (":path", "/v1/messages?CANARY"),
        ];
        let call = call(&secrets, "", &[]);
        assert_eq!(call.workload.as_deref(), Some("checkout"));
        assert!(!format!("{call:?}").contains("CANARY"));
        let head = AnswerHead::of(&headers(&[
            (":status", "200"),
            ("set-cookie", "CANARY"),
            ("request-id", "req_1"),
        ]));
        assert_eq!((head.status, &*head.request_id), (Some(200), "req_1"));
        assert!(!format!("{head:?}").contains("CANARY"));
    }
}
