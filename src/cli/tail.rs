//! `tail`: shows refusal events as they come, from a collector that runs.

use super::Exit;
use crate::proto::v1 as proto;
use crate::proto::v1::refusal_service_client::RefusalServiceClient;
use crate::proto::v1::watch_response::Message;
use crate::refusal::event::{Json, Numbered, RefusalEvent, hex};
use crate::refusal::verdict::{Category, Class};
use clap::Args;
use serde_json::json;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::sleep;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

/// Show refusals, unknown and missing stop reasons as they come, from a collector with the extension refusal_api.
///
/// Nothing of the past is shown. When the collector goes away it is waited for; Ctrl-C ends.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refusal-collector tail
  refusal-collector tail --json class=refusal category=cyber category=bio | jq .
  refusal-collector tail --endpoint http://collector:55679 workload='checkout-*' class=unknown")]
pub struct Tail {
    /// Where the collector's refusal_api listens.
    #[arg(long, value_name = "URL", default_value = "http://localhost:55679")]
    endpoint: String,
    /// One JSON object a line, with the names of the vocabulary as keys.
    #[arg(long)]
    json: bool,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// workload=, provider=, class= or category=, or the attribute's whole name. In workloads and providers * stands for
    /// anything. Of one kind any must hold, of different kinds all.
    #[arg(value_name = "FILTER", value_parser = filter)]
    filters: Vec<Filter>,
}

#[derive(Clone, Debug)]
enum Filter {
    Workload(String),
    Provider(String),
    Class(Class),
    Category(Category),
}

fn filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text.split_once('=').ok_or("write key=value, as in class=refusal")?;
    match key {
        "workload" | "llm.workload" => Ok(Filter::Workload(value.to_owned())),
        "provider" | "gen_ai.provider.name" => Ok(Filter::Provider(value.to_owned())),
        "class" | "llm.stop_reason.class" => word(value, Class::from_name, Class::ALL).map(Filter::Class),
        "category" | "llm.refusal.category" => {
            word(value, Category::from_name, Category::ALL).map(Filter::Category)
        }
        _ => Err(format!("no filter {key:?}; there are workload, provider, class, category")),
    }
}

fn word<T: Numbered>(text: &str, from_name: fn(&str) -> Option<T>, all: &[T]) -> Result<T, String> {
    let known = || all.iter().map(|value| value.word()).collect::<Vec<_>>().join(", ");
    from_name(text).ok_or_else(|| format!("no {text:?}; there are {}", known()))
}

pub fn execute(tail: &Tail) -> Exit {
    let endpoint = match Endpoint::from_shared(tail.endpoint.clone()) {
        Ok(endpoint) => endpoint.connect_timeout(PATIENCE).keep_alive_while_idle(true),
        Err(error) => {
            eprintln!("error: --endpoint {:?}: {error}", tail.endpoint);
            return Exit::Usage;
        }
    };
    let endpoint = endpoint.http2_keep_alive_interval(PING_AFTER).keep_alive_timeout(PATIENCE);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failure;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            exit = follow(tail, &endpoint) => exit,
            _ = tokio::signal::ctrl_c() => Exit::Clean,
        }
    })
}

/// Why there is nothing to follow.
enum End {
    /// Whoever read has gone, or has enough.
    Reader,
    /// The collector is not there now.
    Away(String),
    /// It will never answer this.
    Refused(Status),
}

/// How long a connection or the answer to a ping may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection is tried after this silence.
const PING_AFTER: Duration = Duration::from_secs(20);

/// How long to wait before the collector is tried again: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

async fn follow(tail: &Tail, endpoint: &Endpoint) -> Exit {
    let mut shown = 0;
    let mut pause = PAUSE.0;
    let mut is_away = false;
    loop {
        let before = shown;
        match watch(tail, endpoint, &mut shown, &mut is_away).await {
            End::Reader => return Exit::Clean,
            End::Refused(status) => {
                eprintln!("error: {}: {}", tail.endpoint, status.message());
                return Exit::Failure;
            }
            End::Away(reason) => {
                if !is_away {
                    eprintln!("{}: {reason}; waiting for it", tail.endpoint);
                }
                is_away = true;
            }
        }
        pause = if shown > before { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        sleep(pause).await;
    }
}

async fn watch(tail: &Tail, endpoint: &Endpoint, shown: &mut u64, is_away: &mut bool) -> End {
    let channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => return End::Away(innermost(&error)),
    };
    let mut events = match RefusalServiceClient::new(channel).watch(request(&tail.filters)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return ended(status),
    };
    if *is_away {
        eprintln!("{}: it is back", tail.endpoint);
        *is_away = false;
    }
    loop {
        match events.message().await {
            Ok(Some(proto::WatchResponse { message: Some(message) })) => {
                let is_event = matches!(message, Message::Event(_));
                if show(&line(&message, tail.json)).is_err() {
                    return End::Reader;
                }
                *shown += u64::from(is_event);
                if tail.limit.is_some_and(|limit| *shown >= limit) {
                    return End::Reader;
                }
            }
            // A kind of message of a later version.
            Ok(Some(proto::WatchResponse { message: None })) => {}
            Ok(None) => return End::Away("it has stopped".to_owned()),
            Err(status) => return ended(status),
        }
    }
}

fn ended(status: Status) -> End {
    match status.code() {
        Code::InvalidArgument | Code::Unimplemented | Code::NotFound | Code::Unauthenticated => {
            End::Refused(status)
        }
        _ => End::Away(status.message().to_owned()),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn request(filters: &[Filter]) -> proto::WatchRequest {
    let mut request = proto::WatchRequest::default();
    for filter in filters {
        match filter {
            Filter::Workload(workload) => request.workloads.push(workload.clone()),
            Filter::Provider(provider) => request.providers.push(provider.clone()),
            Filter::Class(class) => request.classes.push(class.number()),
            Filter::Category(category) => request.categories.push(category.number()),
        }
    }
    request
}

fn line(message: &Message, is_json: bool) -> String {
    match (message, is_json) {
        (Message::Event(event), true) => serde_json::to_string(&Json(event)).unwrap_or_default(),
        (Message::Event(event), false) => readable(event),
        (Message::Missed(proto::Missed { events }), true) => json!({ "missed": events }).to_string(),
        (Message::Missed(proto::Missed { events }), false) => format!("(missed {events} events)"),
    }
}

fn readable(event: &RefusalEvent) -> String {
    let trace =
        if event.trace_id.is_empty() { String::new() } else { format!("  trace {}", hex(&event.trace_id)) };
    // What comes from telemetry must not move the cursor.
    let text: String = event.summary().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("{}  {text}{trace}", event.time())
}

fn show(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
