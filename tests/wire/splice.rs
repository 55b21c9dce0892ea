//! Requests in every form that the wire allows are read and rewritten as the references say.

use crate::reference;
use crate::tree::{Entropy, encode};
use crate::witness::Witness;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use proptest::prelude::*;
use prost::Message as _;
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::splice::{count, splice, splice_in_order};
use refusal_collector::payload::Message;

pub fn entropy() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..3000)
}

pub fn signal() -> impl Strategy<Value = Signal> {
    prop_oneof![Just(Signal::Traces), Just(Signal::Logs), Just(Signal::Metrics)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_seen_and_what_leaves_is_what_the_references_say(signal in signal(), entropy in entropy()) {
        let tree = Entropy(&entropy).request(signal);
        let request = encode(&tree);
        let expected = reference::sightings(signal, &request);

        let mut witness = Witness::new(signal);
        let outcome = splice(signal, &request, &mut witness).unwrap();

        let mut quick = Witness::new(signal);
        if let Some(in_order) = splice_in_order(signal, &request, &mut quick).unwrap() {
            prop_assert!(in_order == outcome);
            prop_assert_eq!(format!("{:?}", quick.sightings), format!("{:?}", witness.sightings));
        }
        prop_assert_eq!(outcome.items, reference::items(signal, &request));
        prop_assert_eq!(count(signal, &request), Ok(outcome.items));
        prop_assert_eq!(format!("{:?}", witness.sightings), format!("{expected:?}"));
        match outcome.rewritten {
            None => prop_assert!(!expected.iter().any(reference::wants_mark)),
            Some(Message::Bare(_)) => prop_assert!(false, "a rewritten request without its frame"),
            Some(Message::Framed(frame)) => {
                let (prefix, rewritten) = frame.split_at(5);
                prop_assert_eq!(prefix[0], 0);
                prop_assert_eq!(&prefix[1..], (rewritten.len() as u32).to_be_bytes());
                prop_assert!(rewritten == reference::marked(signal, &tree, &expected));
                prop_assert_eq!(without_marks(signal, rewritten), without_marks(signal, &request));
            }
        }
    }
}

/// The request as prost reads it, less the marks.
fn without_marks(signal: Signal, request: &[u8]) -> String {
    let unmark = |attributes: &mut Vec<KeyValue>| {
        attributes.retain(|attribute| attribute.key != "marked");
    };
    match signal {
        Signal::Traces => {
            let mut request = ExportTraceServiceRequest::decode(request).unwrap();
            let scopes = request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
            scopes.flat_map(|scope| &mut scope.spans).for_each(|span| unmark(&mut span.attributes));
            format!("{request:?}")
        }
        Signal::Logs => {
            let mut request = ExportLogsServiceRequest::decode(request).unwrap();
            let scopes = request.resource_logs.iter_mut().flat_map(|group| &mut group.scope_logs);
            scopes.flat_map(|scope| &mut scope.log_records).for_each(|record| unmark(&mut record.attributes));
            format!("{request:?}")
        }
        Signal::Metrics => unreachable!("metrics are not rewritten"),
    }
}
