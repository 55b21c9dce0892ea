//! A strict reader of metrics as text, written from the grammars of OpenMetrics 1.0 and of Prometheus' text format
//! 0.0.4. It panics at the first thing that is not allowed.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Prometheus,
    OpenMetrics,
}

/// All metrics of a text, by family name.
pub type Families = BTreeMap<String, Family>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    pub kind: String,
    pub unit: Option<String>,
    pub help: Option<String>,
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
    pub exemplar: Option<Exemplar>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
    pub time: Option<f64>,
}

impl Family {
    /// The value of the sample with exactly these labels, in any order.
    pub fn value(&self, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.iter().find(|sample| sample.labels == labels).map(|sample| sample.value)
    }

    pub fn sum(&self) -> f64 {
        self.samples.iter().map(|sample| sample.value).sum()
    }
}

/// Reads a whole text.
pub fn read(text: &str, form: Form) -> Families {
    let body = match form {
        Form::OpenMetrics => {
            text.strip_suffix("# EOF\n").expect("OpenMetrics ends with # EOF and a line feed")
        }
        Form::Prometheus => text,
    };
    assert!(body.is_empty() || body.ends_with('\n'), "the last line has no line feed");
    assert!(!text.contains('\r'), "lines end with a line feed alone");
    let mut reader = Reader { form, families: Families::new(), current: None, seen: BTreeSet::new() };
    for line in body.lines() {
        reader.line(line);
    }
    reader.families
}

struct Reader {
    form: Form,
    families: Families,
    current: Option<String>,
    seen: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        assert!(!line.is_empty(), "an empty line");
        match line.strip_prefix("# ") {
            Some(metadata) => self.metadata(metadata),
            None => self.sample(line),
        }
    }

    fn metadata(&mut self, line: &str) {
        let (keyword, rest) = line.split_once(' ').expect(line);
        let (name, text) = rest.split_once(' ').expect(line);
        assert!(is_metric_name(name), "{line}");
        let family = self.enter(name);
        assert!(family.samples.is_empty(), "metadata after samples: {line}");
        match keyword {
            "TYPE" => {
                assert!(family.kind.is_empty(), "a second TYPE: {line}");
                assert!(["counter", "gauge"].contains(&text), "{line}");
                family.kind = text.to_owned();
            }
            "HELP" => assert_eq!(family.help.replace(unescaped(text)), None, "a second HELP: {line}"),
            "UNIT" => {
                assert_eq!(self.form, Form::OpenMetrics, "{line}");
                assert!(name.ends_with(&format!("_{text}")), "the name does not end with the unit: {line}");
                let family = self.families.get_mut(name).expect(line);
                assert_eq!(family.unit.replace(text.to_owned()), None, "a second UNIT: {line}");
            }
            _ => panic!("unknown metadata: {line}"),
        }
    }

    /// The family of this name, which must be the last one or a new one.
    fn enter(&mut self, name: &str) -> &mut Family {
        if self.current.as_deref() != Some(name) {
            assert!(!self.families.contains_key(name), "{name} is interrupted by another metric");
            self.current = Some(name.to_owned());
        }
        self.families.entry(name.to_owned()).or_default()
    }

    fn sample(&mut self, line: &str) {
        let end = line.find(['{', ' ']).expect(line);
        let (name, rest) = line.split_at(end);
        assert!(is_metric_name(name), "{line}");
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (BTreeMap::new(), rest),
        };
        let rest = rest.strip_prefix(' ').expect(line);
        let (value, exemplar) = match rest.split_once(" # ") {
            None => (rest, None),
            Some((value, exemplar)) => (value, Some(exemplar)),
        };
        let value = number(value);
        let current = self.current.clone().expect("a sample before any metadata");
        let family = self.families.get_mut(&current).expect(line);
        let is_total = match (family.kind.as_str(), self.form) {
            ("counter", Form::OpenMetrics) => {
                let suffix = name.strip_prefix(current.as_str()).expect(line);
                assert!(["_total", "_created"].contains(&suffix), "{line}");
                assert!(!current.ends_with("_total"), "a family that is called _total: {line}");
                suffix == "_total"
            }
            ("counter", Form::Prometheus) => {
                assert_eq!(name, current);
                assert!(name.ends_with("_total"), "{line}");
                true
            }
            ("gauge", _) => {
                assert_eq!(name, current);
                false
            }
            (kind, _) => panic!("a sample of a metric without a type ({kind}): {line}"),
        };
        assert!(family.kind != "counter" || value >= 0.0, "{line}");
        let exemplar = exemplar.map(|exemplar| {
            assert!(self.form == Form::OpenMetrics && is_total, "no exemplar is allowed here: {line}");
            read_exemplar(exemplar)
        });
        let key = format!("{name}{labels:?}");
        assert!(self.seen.insert(key), "a series is told twice: {line}");
        family.samples.push(Sample { name: name.to_owned(), labels, value, exemplar });
    }
}

fn read_exemplar(text: &str) -> Exemplar {
    let (labels, rest) = labels(text.strip_prefix('{').expect(text));
    let length: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    assert!(length <= 128, "the labels of an exemplar have {length} characters");
    let mut numbers = rest.strip_prefix(' ').expect(text).split(' ');
    let value = number(numbers.next().expect(text));
    let time = numbers.next().map(number);
    assert_eq!(numbers.next(), None, "{text}");
    Exemplar { labels, value, time }
}

/// Reads `name="value",…}` and gives what follows.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.starts_with('}') {
        let (name, value) = rest.split_once("=\"").expect(text);
        let is_name = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        assert!(is_name && !name.starts_with("__"), "no name of a label: {name} in {text}");
        let end = end_of_string(value).unwrap_or_else(|| panic!("a value does not end: {text}"));
        let duplicate = labels.insert(name.to_owned(), unescaped(&value[..end]));
        assert_eq!(duplicate, None, "{text}");
        rest = &value[end + 1..];
        if let Some(next) = rest.strip_prefix(',') {
            assert!(!next.starts_with('}'), "a comma without a label: {text}");
            rest = next;
        } else {
            assert!(rest.starts_with('}'), "{text}");
        }
    }
    (labels, &rest[1..])
}

fn end_of_string(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let is_end = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, false) => plain.push(character),
            _ => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(escaped @ ('\\' | '"')) => plain.push(escaped),
                other => panic!("\\{other:?} is no escape: {text}"),
            },
        }
    }
    plain
}

fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn number(text: &str) -> f64 {
    assert!(!text.contains(' '), "more than a number: {text}");
    match text {
        "NaN" => f64::NAN,
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => {
            assert!(text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c)), "no number: {text}");
            text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
        }
    }
}
