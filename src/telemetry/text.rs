//! Metrics as text: Prometheus 0.0.4 and OpenMetrics 1.0.
//!
//! Names are translated as OpenTelemetry's specification has it (Prometheus and OpenMetrics compatibility): dots become
//! underscores, a unit is appended (except for things that are counted), counters end in `_total`. Metrics are sorted
//! by name. Exemplars and, where they are switched on, `_created` times are told in OpenMetrics only.

use crate::telemetry::metric::{Descriptor, Kind, Point, Sink, Value};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// A text form of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Form {
    /// The form that a client likes best by its `Accept` header; Prometheus' where that tells nothing.
    pub fn accepted_by(accept: &str) -> Form {
        let mut best = (0.0, Form::Prometheus);
        for range in accept.split(',') {
            let Some((quality, form)) = media_range(range) else { continue };
            if quality > best.0 {
                best = (quality, form);
            }
        }
        best.1
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One alternative of an `Accept` header: how much it is liked, and as which form; `None` where we do not speak it.
fn media_range(range: &str) -> Option<(f32, Form)> {
    let mut parts = range.split(';').map(str::trim);
    let form = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/openmetrics-text" => Form::OpenMetrics,
        "text/plain" | "text/*" | "*/*" => Form::Prometheus,
        _ => return None,
    };
    let mut quality = 1.0;
    for parameter in parts {
        let (name, value) = parameter.split_once('=')?;
        match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"'), form) {
            ("q", value, _) => quality = value.parse().ok()?,
            ("version", "1.0.0", Form::OpenMetrics) | ("version", "0.0.4", Form::Prometheus) => {}
            ("version", _, _) => return None,
            _ => {}
        }
    }
    Some((quality, form))
}

/// Writes metrics as text.
#[derive(Debug)]
pub struct Text {
    form: Form,
    with_created: bool,
    metric: Option<Names>,
    blocks: Vec<Block>,
}

/// The names of the metric that is being written.
#[derive(Debug)]
struct Names {
    family: String,
    sample: String,
    kind: Kind,
    unit: Option<&'static str>,
    help: &'static str,
}

/// All lines of one metric.
#[derive(Debug)]
struct Block {
    family: String,
    lines: String,
}

impl Text {
    /// Nothing written yet. `with_created` adds the start of each counter, which Prometheus stores as one more series
    /// unless it is told otherwise.
    pub fn new(form: Form, with_created: bool) -> Self {
        Text { form, with_created, metric: None, blocks: Vec::new() }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        self.blocks.sort_by(|a, b| a.family.cmp(&b.family));
        let mut text =
            String::with_capacity(self.blocks.iter().map(|block| block.lines.len()).sum::<usize>() + 6);
        text.extend(self.blocks.into_iter().map(|block| block.lines));
        if self.form == Form::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }

    fn write(&mut self, point: &Point<'_>) -> Result<(), std::fmt::Error> {
        let Text { form, with_created, metric, blocks } = self;
        let Some(names) = metric else { return Ok(()) };
        let is_begun = blocks.last().is_some_and(|block| block.family == names.family);
        if !is_begun {
            let mut lines = String::new();
            names.write_head(*form, &mut lines)?;
            blocks.push(Block { family: names.family.clone(), lines });
        }
        let Some(Block { lines, .. }) = blocks.last_mut() else { return Ok(()) };
        lines.push_str(&names.sample);
        write_labels(lines, point.labels);
        write_value(lines, point.value)?;
        if let (Form::OpenMetrics, Kind::Counter, Some(exemplar)) = (*form, names.kind, point.exemplar) {
            lines.push_str(" # {trace_id=\"");
            write_hex(lines, &exemplar.trace_id)?;
            lines.push_str("\",span_id=\"");
            write_hex(lines, &exemplar.span_id)?;
            write!(lines, "\"}} {} ", exemplar.value)?;
            write_time(lines, exemplar.time)?;
        }
        lines.push('\n');
        if let (Form::OpenMetrics, true, Some(start)) = (*form, *with_created, point.start) {
            write!(lines, "{}_created", names.family)?;
            write_labels(lines, point.labels);
            lines.push(' ');
            write_time(lines, start)?;
            lines.push('\n');
        }
        Ok(())
    }
}

impl Sink for Text {
    fn metric(&mut self, metric: &Descriptor) {
        self.metric = Some(Names::new(metric));
    }

    fn point(&mut self, point: &Point<'_>) {
        // Writing to a string does not fail.
        let _ = self.write(point);
    }
}

impl Names {
    fn new(metric: &Descriptor) -> Self {
        let family = family_name(metric);
        let sample = if metric.is_counter() { format!("{family}_total") } else { family.clone() };
        let (kind, unit) = (metric.kind, metric.unit.prometheus());
        Names { family, sample, kind, unit, help: metric.help }
    }

    fn write_head(&self, form: Form, lines: &mut String) -> std::fmt::Result {
        // In Prometheus' form a metric is called like its samples.
        let name = match form {
            Form::Prometheus => &self.sample,
            Form::OpenMetrics => &self.family,
        };
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        write!(lines, "# HELP {name} ")?;
        for character in self.help.chars() {
            match character {
                '\\' => lines.push_str("\\\\"),
                '\n' => lines.push_str("\\n"),
                '"' if form == Form::OpenMetrics => lines.push_str("\\\""),
                _ => lines.push(character),
            }
        }
        write!(lines, "\n# TYPE {name} {kind}\n")?;
        if let (Form::OpenMetrics, Some(unit)) = (form, self.unit) {
            writeln!(lines, "# UNIT {name} {unit}")?;
        }
        Ok(())
    }
}

/// The name of a metric in OpenMetrics, without `_total`.
fn family_name(metric: &Descriptor) -> String {
    let mut name = name(metric.name);
    if let Some(unit) = metric.unit.prometheus()
        && name.rsplit('_').next() != Some(unit)
    {
        name.push('_');
        name.push_str(unit);
    }
    name
}

/// The name that samples of a metric have in both forms.
pub fn sample_name(metric: &Descriptor) -> String {
    let family = family_name(metric);
    if metric.is_counter() { family + "_total" } else { family }
}

/// An attribute's or metric's name as Prometheus has it.
pub fn name(dotted: &str) -> String {
    dotted.replace('.', "_")
}

fn write_labels(lines: &mut String, labels: &[(&str, &str)]) {
    for (n, (label, value)) in labels.iter().enumerate() {
        lines.push(if n == 0 { '{' } else { ',' });
        lines.extend(label.chars().map(|character| if character == '.' { '_' } else { character }));
        lines.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => lines.push_str("\\\\"),
                '\n' => lines.push_str("\\n"),
                '"' => lines.push_str("\\\""),
                _ => lines.push(character),
            }
        }
        lines.push('"');
    }
    if !labels.is_empty() {
        lines.push('}');
    }
}

fn write_value(lines: &mut String, value: Value) -> std::fmt::Result {
    match value {
        Value::Integer(value) => write!(lines, " {value}"),
        Value::Float(value) if value.is_nan() => write!(lines, " NaN"),
        Value::Float(f64::INFINITY) => write!(lines, " +Inf"),
        Value::Float(f64::NEG_INFINITY) => write!(lines, " -Inf"),
        Value::Float(value) => write!(lines, " {value}"),
    }
}

fn write_hex(lines: &mut String, bytes: &[u8]) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(lines, "{byte:02x}"))
}

fn write_time(lines: &mut String, time: SystemTime) -> std::fmt::Result {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    write!(lines, "{}.{:03}", since.as_secs(), since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metric::{Exemplar, Unit};
    use std::time::Duration;

    const RESPONSES: Descriptor =
        Descriptor::counter("llm.responses", Unit::Things("{response}"), "A \"help\" \\ text.");
    const MEMORY: Descriptor = Descriptor::gauge("a.memory", Unit::Bytes, "Memory.");
    const CPU: Descriptor = Descriptor::counter("a.cpu_seconds", Unit::Seconds, "Time.");

    fn written(form: Form, with_created: bool) -> String {
        let at = UNIX_EPOCH + Duration::from_millis(1_500_250);
        let exemplar = Exemplar { trace_id: [0xab; 16], span_id: [1; 8], value: 3, time: at };
        let mut text = Text::new(form, with_created);
        text.metric(&RESPONSES);
        let labels = [("llm.workload", "a\"b\\c\nd"), ("class", "")];
        let value = Value::Integer(7);
        text.point(&Point { labels: &labels, value, start: Some(at), exemplar: Some(exemplar) });
        text.metric(&CPU);
        text.point(&Point { labels: &[], value: Value::Float(0.25), start: Some(at), exemplar: None });
        text.metric(&MEMORY);
        text.point(&Point { labels: &[], value: Value::Integer(8), start: None, exemplar: Some(exemplar) });
        text.metric(&Descriptor::gauge("nothing", Unit::Seconds, "Has no points."));
        text.finish()
    }

    #[test]
    fn prometheus_text_has_neither_exemplars_nor_units_nor_created() {
        let expected = r#"# HELP a_cpu_seconds_total Time.
# TYPE a_cpu_seconds_total counter
a_cpu_seconds_total 0.25
# HELP a_memory_bytes Memory.
# TYPE a_memory_bytes gauge
a_memory_bytes 8
# HELP llm_responses_total A "help" \\ text.
# TYPE llm_responses_total counter
llm_responses_total{llm_workload="a\"b\\c\nd",class=""} 7
"#;
        assert_eq!(written(Form::Prometheus, false), expected);
        assert_eq!(written(Form::Prometheus, true), expected);
    }

    #[test]
    fn openmetrics_text_has_exemplars_of_counters_units_and_an_end() {
        let expected = r#"# HELP a_cpu_seconds Time.
# TYPE a_cpu_seconds counter
# UNIT a_cpu_seconds seconds
a_cpu_seconds_total 0.25
# HELP a_memory_bytes Memory.
# TYPE a_memory_bytes gauge
# UNIT a_memory_bytes bytes
a_memory_bytes 8
# HELP llm_responses A \"help\" \\ text.
# TYPE llm_responses counter
llm_responses_total{llm_workload="a\"b\\c\nd",class=""} 7 # {trace_id="abababababababababababababababab",span_id="0101010101010101"} 3 1500.250
# EOF
"#;
        assert_eq!(written(Form::OpenMetrics, false), expected);
    }

    #[test]
    fn created_is_told_where_it_is_switched_on() {
        let text = written(Form::OpenMetrics, true);
        assert!(text.contains("\na_cpu_seconds_total 0.25\na_cpu_seconds_created 1500.250\n"));
        assert!(
            text.contains("\nllm_responses_created{llm_workload=\"a\\\"b\\\\c\\nd\",class=\"\"} 1500.250\n")
        );
        assert!(!text.contains("a_memory_bytes_created"));
    }

    #[test]
    fn the_form_is_the_one_that_the_client_likes_best() {
        // What Prometheus 2.42 and 3 send.
        let v2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let v3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                  application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
                  escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let with_protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                             encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.3";
        for (accept, form) in [
            (v2, Form::OpenMetrics),
            (v3, Form::OpenMetrics),
            (with_protobuf, Form::Prometheus),
            ("", Form::Prometheus),
            ("*/*", Form::Prometheus),
            ("application/openmetrics-text", Form::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", Form::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Form::Prometheus),
            ("application/openmetrics-text;q=0, text/plain", Form::Prometheus),
            ("application/openmetrics-text;q=0", Form::Prometheus),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.2", Form::Prometheus),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Form::Prometheus),
            ("application/json", Form::Prometheus),
        ] {
            assert_eq!(Form::accepted_by(accept), form, "{accept}");
        }
    }
}
