//! OTLP/JSON: any text is read or refused, within the growth that is promised, and what was read can be written and read
//! again as the same. Any protobuf that can be written as JSON can be read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::json::{EncodeError, MAX_GROWTH, decode, encode};
use refusal_collector::payload::Message;

fuzz_target!(|input: &[u8]| {
    for signal in Signal::ALL {
        if let Ok(message) = decode(signal, input) {
            assert!(message.len() <= MAX_GROWTH * input.len(), "grown more than is promised");
            match encode(signal, message.as_slice()) {
                Ok(text) => {
                    let again = decode(signal, text.as_bytes()).expect("what was written can be read");
                    assert_eq!(in_order(signal, &again), in_order(signal, &message), "{text}");
                }
                Err(error) => assert_eq!(error, EncodeError::Nesting),
            }
        }
        if let Ok(text) = encode(signal, input) {
            assert!(decode(signal, text.as_bytes()).is_ok(), "{text}");
        }
    }
});

/// Fields stand in the order of the text; prost writes them in the order of their numbers.
fn in_order(signal: Signal, message: &Message) -> Vec<u8> {
    fn read<M: prost::Message + Default>(message: &Message) -> Vec<u8> {
        M::decode(message.as_slice()).expect("JSON becomes sound protobuf").encode_to_vec()
    }
    match signal {
        Signal::Traces => read::<ExportTraceServiceRequest>(message),
        Signal::Logs => read::<ExportLogsServiceRequest>(message),
        Signal::Metrics => read::<ExportMetricsServiceRequest>(message),
    }
}
