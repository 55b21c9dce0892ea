//! OTLP/JSON and protobuf say the same.

use crate::splice::{entropy, signal};
use crate::tree::{Entropy, encode};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use proptest::prelude::*;
use prost::Message as _;
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::json::{self, EncodeError};
use std::fs;
use std::path::{Path, PathBuf};

/// All recorded requests that are there in both forms.
fn twins() -> Vec<(Signal, PathBuf, PathBuf)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let folders =
        fs::read_dir(corpus).unwrap().map(|folder| folder.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|json| {
            let logs = json.to_string_lossy().ends_with(".logs.json");
            let signal = if logs { Signal::Logs } else { Signal::Traces };
            (signal, json.clone(), json.with_extension("pb"))
        })
        .collect()
}

#[test]
fn recorded_requests_mean_the_same_in_both_forms() {
    let twins = twins();
    assert!(twins.len() > 400, "only {} recorded requests were found", twins.len());
    for (signal, json, protobuf) in twins {
        let (text, protobuf) = (fs::read(&json).unwrap(), fs::read(protobuf).unwrap());
        let decoded = json::decode(signal, &text).unwrap();
        assert_eq!(read(signal, decoded.as_slice()), read(signal, &protobuf), "{}", json.display());
    }
}

#[test]
fn what_is_written_of_recorded_requests_is_read_by_others() {
    for (signal, _, protobuf) in twins() {
        let protobuf = fs::read(protobuf).unwrap();
        // These forms want lists in values even if they are empty.
        let text = json::encode(signal, &protobuf).unwrap();
        let text = text.replace(r#"Value":{}"#, r#"Value":{"values":[]}"#);
        let read_by_serde = match signal {
            Signal::Traces => {
                format!("{:?}", serde_json::from_str::<ExportTraceServiceRequest>(&text).unwrap())
            }
            Signal::Logs => format!("{:?}", serde_json::from_str::<ExportLogsServiceRequest>(&text).unwrap()),
            Signal::Metrics => {
                format!("{:?}", serde_json::from_str::<ExportMetricsServiceRequest>(&text).unwrap())
            }
        };
        assert_eq!(read_by_serde, read(signal, &protobuf));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_way_to_json_and_back_changes_nothing(signal in signal(), entropy in entropy()) {
        let request = encode(&Entropy(&entropy).request(signal));
        let text = match json::encode(signal, &request) {
            Ok(text) => text,
            Err(EncodeError::Nesting) => return Ok(()),
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        let back = json::decode(signal, text.as_bytes()).unwrap();
        prop_assert_eq!(read(signal, back.as_slice()), read(signal, &request));
        let again = json::encode(signal, back.as_slice());
        prop_assert_eq!(again.as_deref(), Ok(text.as_str()));
    }

    #[test]
    fn damaged_text_is_refused_or_read_but_never_a_panic(
        signal in signal(),
        entropy in entropy(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let request = encode(&Entropy(&entropy).request(signal));
        let Ok(text) = json::encode(signal, &request) else { return Ok(()) };
        let mut text = text.into_bytes();
        for (at, byte) in damage {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Ok(read_back) = json::decode(signal, &text) {
            prop_assert!(read_back.len() <= text.len() * 4);
            read(signal, read_back.as_slice());
        }
    }
}

/// The request as prost reads it.
fn read(signal: Signal, protobuf: &[u8]) -> String {
    match signal {
        Signal::Traces => format!("{:?}", ExportTraceServiceRequest::decode(protobuf).unwrap()),
        Signal::Logs => format!("{:?}", ExportLogsServiceRequest::decode(protobuf).unwrap()),
        Signal::Metrics => format!("{:?}", ExportMetricsServiceRequest::decode(protobuf).unwrap()),
    }
}
