use super::*;
use proptest::prelude::*;
use std::fmt::Write;

/// Writes down what it is told, as JSON-like text; wants at most `limit` bytes of each string.
#[derive(Default)]
struct Record {
    said: String,
    limit: usize,
    refuse: bool,
}

impl Visitor for Record {
    fn begin(&mut self, container: Container) -> bool {
        self.said.push_str(match container {
            Container::Object => "{",
            Container::Array => "[",
        });
        !self.refuse
    }
    fn end(&mut self, closed: bool) {
        self.said.push_str(if closed { ">" } else { "~" });
    }
    fn key(&mut self, key: &[u8]) {
        write!(self.said, "{}:", String::from_utf8_lossy(key)).unwrap();
    }
    fn begin_string(&mut self) -> Want {
        Want::Start(self.limit)
    }
    fn string(&mut self, text: Text<'_>) {
        let open = if text.closed { "" } else { "~" };
        let more = if text.more { "+" } else { "" };
        write!(self.said, "\"{}{more}\"{open} ", text.start_str()).unwrap();
    }
    fn piece(&mut self, _: &[u8]) {}
    fn end_pieces(&mut self, _: bool) {}
    fn number(&mut self, number: &str) {
        write!(self.said, "{number} ").unwrap();
    }
    fn boolean(&mut self, value: bool) {
        write!(self.said, "{value} ").unwrap();
    }
    fn null(&mut self) {
        self.said.push_str("null ");
    }
}

fn said_in_chunks(text: &[u8], size: usize) -> (String, bool) {
    let mut tokenizer = Tokenizer::default();
    let mut record = Record { limit: 32, ..Record::default() };
    for chunk in text.chunks(size.max(1)) {
        tokenizer.feed(chunk, &mut record);
    }
    let whole = tokenizer.finish(&mut record);
    (record.said, whole)
}

fn said(text: &str) -> String {
    let (said, whole) = said_in_chunks(text.as_bytes(), usize::MAX);
    assert!(whole, "{text} is not whole: {said}");
    said
}

fn cut(text: &str) -> String {
    let (said, whole) = said_in_chunks(text.as_bytes(), usize::MAX);
    assert!(!whole, "{text} is whole: {said}");
    said
}

#[test]
fn json_is_read() {
    assert_eq!(said(r#"{"a":1,"b":[true,false,null],"c":"d"}"#), "{a:1 b:[true false null >c:\"d\" >");
    assert_eq!(said(" {\n\t\"a\" : -1.5e3 , \"b\" : { } , \"c\":[ ] }\r\n"), "{a:-1.5e3 b:{>c:[>>");
    assert_eq!(said(""), "");
}

#[test]
fn escapes_are_decoded() {
    assert_eq!(said(r#"["\"\\\/\b\n\u00e9\ud83d\ude00"]"#), "[\"\"\\/\u{8}\né😀\" >");
    // A lone half of a pair, and what looks like an escape but is none.
    assert_eq!(said(r#"["\ude00x","\uzz"]"#), "[\"\u{fffd}x\" \"zz\" >");
}

#[test]
fn python_reprs_are_read() {
    assert_eq!(
        said(r#"{'a': None, 'b': True, 'c': False, 'd': nan, 'e': (1, 2,), 'f': "it's", 'g': 'it\'s'}"#),
        "{a:null b:true c:false d:null e:[1 2 >f:\"it's\" g:\"it's\" >"
    );
    assert_eq!(
        said(
            "Choice(finish_reason=<FinishReason.STOP: 'STOP'>, index=0, parts=[Part(text='x')], when=date(2026, 1))"
        ),
        "{finish_reason:\"STOP\" index:0 parts:[{text:\"x\" >>when:{2026:1:>>"
    );
    assert_eq!(
        said("{'a': <HarmCategory.HATE: 3>, 'b': <a.Stream object at 0x7f>}"),
        "{a:\"HarmCategory.HATE\" b:null >"
    );
    assert_eq!(said("{'a', 'b'}"), "{a:b:>");
    assert_eq!(said("[b'x', FinishReason.STOP]"), "[\"x\" \"FinishReason.STOP\" >");
}

#[test]
fn several_values_in_a_row_are_read() {
    assert_eq!(said("{\"a\":1}\n{\"a\":2}\n\u{1e}{\"a\":3}"), "{a:1 >{a:2 >{a:3 >");
    assert_eq!(said("{\"a\":1},{\"a\":2},"), "{a:1 >{a:2 >");
    assert_eq!(said("[1,2,]{\"a\":1,}"), "[1 2 >{a:1 >");
    // The end of a word at the end may be missing.
    assert_eq!(said("null 3 true"), "null 3 ");
}

#[test]
fn what_is_cut_off_is_told_as_such() {
    assert_eq!(cut(r#"{"a":"b"#), "{a:\"b\"~ ~");
    assert_eq!(cut(r#"{"a":12"#), "{a:~");
    assert_eq!(cut(r#"{"a":nul"#), "{a:~");
    assert_eq!(cut(r#"{"a"#), "{~");
    assert_eq!(cut(r#"{"a":["b","#), "{a:[\"b\" ~~");
}

#[test]
fn broken_grammar_is_not_repaired() {
    // The quotes of the text were not escaped: its content must not become structure.
    assert_eq!(cut(r#"{"text":"he said "stop_reason":"refusal" to me"}"#), "{text:\"he said \" ~");
    assert_eq!(cut(r#"{"a" "b"}"#), "{a:~");
    assert_eq!(cut(r#"{"a":1 "b":2}"#), "{a:1 ~");
    assert_eq!(cut(r#"{"a":}"#), "{a:~");
    assert_eq!(cut(r#"[1}"#), "[1 ~");
    assert_eq!(said("the model said {\"a\":1}"), "");
    assert_eq!(said("{\"a\":1} and {\"b\":2}"), "{a:1 >");
}

#[test]
fn in_prose_values_are_looked_for() {
    let mut record = Record { limit: 32, ..Record::default() };
    let mut tokenizer = Tokenizer::in_prose();
    tokenizer.feed(b"It's [a code] 400 - {'a': {'b': None}} (see \"c\")", &mut record);
    assert!(tokenizer.finish(&mut record));
    assert_eq!(record.said, "[\"a\" ~{a:{b:null >>");
}

#[test]
fn strings_are_kept_only_as_far_as_wanted() {
    let (said, _) = said_in_chunks("[\"äöü and much more than thirty-two bytes\"]".as_bytes(), 1);
    assert_eq!(said, "[\"äöü and much more than thirty+\" >");
    let mut record = Record { limit: 3, ..Record::default() };
    let mut tokenizer = Tokenizer::default();
    tokenizer.feed("[\"äöü\"]".as_bytes(), &mut record);
    // Half a character is left out.
    assert_eq!(record.said, "[\"ä+\" >");
    let long_key = format!("{{\"{}\":1}}", "k".repeat(MAX_KEY + 1));
    assert_eq!(self::said(&long_key), "{:1 >");
}

#[test]
fn what_nobody_wants_is_skipped_as_a_whole() {
    let mut record = Record { refuse: true, ..Record::default() };
    let mut tokenizer = Tokenizer::default();
    tokenizer.feed(b"{\"a\":[{\"b\":\"]}\\\"\"}, '}']}[1]", &mut record);
    assert!(tokenizer.finish(&mut record));
    assert_eq!(record.said, "{[");
}

#[test]
fn depth_is_bounded_and_what_follows_is_read() {
    let deep = format!("[{}1{},2]", "[".repeat(200), "]".repeat(200));
    let (said, whole) = said_in_chunks(deep.as_bytes(), 7);
    assert!(whole);
    assert!(said.ends_with(">2 >"), "{said}");
    assert_eq!(said.matches('>').count(), 64);
    assert!(!said_in_chunks(&[b'['; 100_000], 1000).1);
}

#[test]
fn a_whole_text_is_given_as_far_as_wanted() {
    let text = Text::whole("secret", 3);
    assert_eq!((text.start, text.more), (&b"sec"[..], true));
}

proptest! {
    #[test]
    fn the_split_does_not_matter(text in "[\\[\\]{}():,=<>'\"\\\\ nul0.1tuabé\\n]{0,80}", size in 1usize..9) {
        prop_assert_eq!(
            said_in_chunks(text.as_bytes(), usize::MAX),
            said_in_chunks(text.as_bytes(), size)
        );
    }

    #[test]
    fn what_serde_writes_is_read_back(value in json()) {
        let text = serde_json::to_string(&[&value]).unwrap();
        let mut expected = String::new();
        describe(&value, &mut expected);
        prop_assert_eq!(said(&text), format!("[{expected}>"));
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn describe(value: &serde_json::Value, said: &mut String) {
    use serde_json::Value;
    match value {
        Value::Null => said.push_str("null "),
        Value::Bool(value) => write!(said, "{value} ").unwrap(),
        Value::Number(number) => write!(said, "{number} ").unwrap(),
        Value::String(text) => {
            let start = Text::whole(text, 32);
            let more = if start.more { "+" } else { "" };
            write!(said, "\"{}{more}\" ", start.start_str()).unwrap();
        }
        Value::Array(values) => {
            said.push('[');
            values.iter().for_each(|value| describe(value, said));
            said.push('>');
        }
        Value::Object(map) => {
            said.push('{');
            for (key, value) in map {
                write!(said, "{key}:").unwrap();
                describe(value, said);
            }
            said.push('>');
        }
    }
}
