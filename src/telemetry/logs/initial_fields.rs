//! Fields that stand on every line.

use crate::config::model::LogEncoding;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// `initial_fields`, as they are written into a line.
#[derive(Clone, Debug)]
pub struct WithFields {
    encoding: LogEncoding,
    text: String,
}

impl WithFields {
    /// These fields.
    pub fn new(encoding: LogEncoding, fields: &BTreeMap<String, String>) -> Self {
        let mut text = String::new();
        for (name, value) in fields {
            // Writing to a string does not fail, nor does a text as JSON.
            let _ = match encoding {
                LogEncoding::Console => write!(text, " {name}={value:?}"),
                LogEncoding::Json => write!(text, "{}:{},", json(name), json(value)),
            };
        }
        WithFields { encoding, text }
    }

    /// A format whose lines have these fields.
    pub fn around<F>(self, inner: F) -> Format<F> {
        Format { fields: self, inner }
    }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Another format, with fields.
#[derive(Clone, Debug)]
pub struct Format<F> {
    fields: WithFields,
    inner: F,
}

impl<F, S, N> FormatEvent<S, N> for Format<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let WithFields { encoding, text } = &self.fields;
        if text.is_empty() {
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match encoding {
            LogEncoding::Console => writeln!(writer, "{}{text}", line.trim_end()),
            LogEncoding::Json => write!(writer, "{{{text}{}", line.strip_prefix('{').unwrap_or_default()),
        }
    }
}
