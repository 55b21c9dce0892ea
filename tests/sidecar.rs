//! The sidecar as it is handed out: its own configuration, an application with an SDK, and Pods that come and go.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;
#[path = "support/process.rs"]
mod process;

use backend::{Answer, Backend};
use exporters::span_names;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use process::Collector;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// All ways to put the sidecar beside an application share its configuration; this one can be read without Helm.
const OPERATOR: &str = include_str!("../deploy/sidecar/operator.yaml");

const PODS: usize = 3;
const SPANS: usize = 150;

/// Kubernetes stops a native sidecar when its application has ended, and starts the next Pod before.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_of_an_application_survive_a_rolling_restart() {
    let backend = Backend::start().await;
    backend.always(Answer::After(Duration::from_millis(50)));
    let directories: Vec<_> = (0..PODS).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut sent = BTreeSet::new();
    let mut next = Some(start(directories[0].path(), &backend));
    for pod in 0..PODS {
        let mut sidecar = next.take().unwrap();
        sent.extend(application(pod, &sidecar.http).await);
        let refusals = sidecar.sum("llm_refusals_total", &[r#"llm_workload="shop""#]);
        assert_eq!(refusals, SPANS as u64, "the workload is the Pod's label");
        next = directories.get(pod + 1).map(|directory| start(directory.path(), &backend));
        sidecar.signal("TERM");
        assert_eq!(sidecar.ended().code(), Some(0), "{}", sidecar.log());
        // Nothing is left on the emptyDir, which goes with the Pod.
        assert!(!sidecar.log().contains("stays on disk"), "{}", sidecar.log());
    }
    let arrived: BTreeSet<String> =
        backend.accepted().iter().flat_map(|request| span_names(&request.message())).collect();
    assert_eq!(sent.len(), PODS * SPANS);
    let lost: Vec<_> = sent.difference(&arrived).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), sent.len());
}

fn start(directory: &Path, backend: &Backend) -> Collector {
    let (_, config) = OPERATOR.split_once("\n  config:\n").unwrap();
    let config = config.replace("/var/lib/refusal-collector", directory.to_str().unwrap());
    let backend = format!("http://{}", backend.address);
    let resource = "service.name=shop,k8s.pod.name=shop-0,k8s.namespace.name=shops";
    Collector::start_sidecar(&config, &[("OTLP_BACKEND", &backend), ("OTEL_RESOURCE_ATTRIBUTES", resource)])
}

/// An application that does not say its name; its spans are on their way when it ends. Gives their names.
async fn application(pod: usize, endpoint: &str) -> Vec<String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("http://{endpoint}/v1/traces"))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.unwrap())
        .with_resource(Resource::builder_empty().build())
        .build();
    let runtime = tokio::runtime::Handle::current();
    let spans = tokio::task::spawn_blocking(move || {
        let _runtime = runtime.enter();
        let tracer = provider.tracer("my.llm.client");
        let names: Vec<String> = (0..SPANS).map(|span| format!("pod {pod} span {span}")).collect();
        for name in &names {
            let mut span = tracer.start(name.clone());
            span.set_attribute(KeyValue::new("gen_ai.operation.name", "chat"));
            span.set_attribute(KeyValue::new("gen_ai.provider.name", "anthropic"));
            span.set_attribute(KeyValue::new("gen_ai.response.finish_reasons", "refusal"));
            span.end();
        }
        provider.shutdown().unwrap();
        names
    });
    spans.await.unwrap()
}
