//! Whatever a request is split into holds the same items in the same surroundings.

use crate::corrupt::raw_items;
use crate::reference;
use crate::splice::{entropy, signal};
use crate::tree::{Entropy, encode};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use proptest::prelude::*;
use prost::Message as _;
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::batch::{Part, Split, merge};
use refusal_collector::otlp::splice::count;
use refusal_collector::payload::Message;
use std::fmt::Debug;
use std::num::NonZeroUsize;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_hold_the_same_items_in_the_same_surroundings(
        signal in signal(),
        entropy in entropy(),
        max_items in 1..8usize,
    ) {
        let request = encode(&Entropy(&entropy).request(signal));
        let items = count(signal, &request).unwrap();

        let split = Split::new(signal, Message::Bare(request.clone().into()), NonZeroUsize::new(max_items).unwrap());
        let parts: Vec<Part> = split.unwrap().map(Result::unwrap).collect();

        prop_assert_eq!(parts.len(), items.div_ceil(max_items));
        for (at, part) in parts.iter().enumerate() {
            let expected = if at + 1 < parts.len() { max_items } else { items - at * max_items };
            prop_assert_eq!(part.items, expected);
            prop_assert_eq!(count(signal, part.message.as_slice()), Ok(expected));
            prop_assert!(part.message.len() <= request.len());
        }
        let merged = merge(parts.iter().map(|part| &part.message));
        prop_assert_eq!(items_in_place(signal, merged.as_slice()), items_in_place(signal, &request));
        if signal != Signal::Metrics {
            prop_assert!(raw_items(merged.as_slice()) == raw_items(&request));
        }
    }

    #[test]
    fn merged_requests_hold_the_items_of_all_in_order(signal in signal(), entropies in [entropy(), entropy(), entropy()]) {
        let requests = entropies.map(|entropy| encode(&Entropy(&entropy).request(signal)));
        let messages = requests.clone().map(|request| Message::Bare(request.into()));
        let merged = merge(messages.iter());
        let expected: Vec<_> = requests.iter().flat_map(|request| items_in_place(signal, request)).collect();
        prop_assert_eq!(items_in_place(signal, merged.as_slice()), expected);
    }
}

/// Each item as prost reads it, with everything around it.
fn items_in_place(signal: Signal, request: &[u8]) -> Vec<String> {
    match signal {
        Signal::Traces | Signal::Logs => {
            reference::sightings(signal, request).iter().map(|sighting| format!("{sighting:?}")).collect()
        }
        Signal::Metrics => data_points_in_place(request),
    }
}

fn data_points_in_place(request: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    let mut take = |surroundings: &dyn Debug, points: Vec<String>| {
        all.extend(points.into_iter().map(|point| format!("{surroundings:?} {point}")));
    };
    let texts = |points: &[&dyn Debug]| points.iter().map(|point| format!("{point:?}")).collect::<Vec<_>>();
    for group in ExportMetricsServiceRequest::decode(request).unwrap().resource_metrics {
        for scope in group.scope_metrics {
            for mut metric in scope.metrics {
                macro_rules! take_points {
                    ($($kind:ident)*) => {
                        match &mut metric.data {
                            None => Vec::new(),
                            $(Some(Data::$kind(data)) => {
                                let points = std::mem::take(&mut data.data_points);
                                texts(&points.iter().map(|point| point as &dyn Debug).collect::<Vec<_>>())
                            })*
                        }
                    };
                }
                let points = take_points!(Gauge Sum Histogram ExponentialHistogram Summary);
                let surroundings =
                    (&group.resource, &group.schema_url, &scope.scope, &scope.schema_url, &metric);
                take(&surroundings, points);
            }
        }
    }
    all
}
