//! What counting costs per response: adding it to a tally, and the commit of the tally, with labels that repeat and
//! labels that are scattered; and the commit alone. Every response is new, as in traffic: ids come from a running number.
#![allow(missing_docs, clippy::indexing_slicing)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use refusal_collector::config::model::LabelLimits;
use refusal_collector::refusal::verdict::{Action, Actor, Category, Class, Delivery, Phase};
use refusal_collector::telemetry::own::Own;
use refusal_collector::telemetry::registry::Registry;
use refusal_collector::telemetry::responses::Responses;
use refusal_collector::telemetry::tally::Tally;
use refusal_collector::telemetry::text::Form;
use refusal_collector::telemetry::{Identity, Observation, RefusalLabels};
use std::hint::black_box;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What tells one response from another.
struct Ids {
    response: String,
    trace: [u8; 16],
    span: [u8; 8],
    parent: [u8; 8],
}

/// New ids in each request; of four spans one trace, each with a parent that is no response.
fn request(size: u64, next: &mut u64) -> Vec<Ids> {
    let ids = |n: u64| {
        let scatter = |n: u64| n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        let mut trace = [7; 16];
        trace[..8].copy_from_slice(&scatter(n / 4));
        Ids { response: format!("msg_01{n:022x}"), trace, span: scatter(n * 2), parent: scatter(n * 2 + 1) }
    };
    *next += size;
    (*next - size..*next).map(ids).collect()
}

/// The labels of the n-th response.
type Labels = dyn Fn(usize) -> Observation<'static>;

fn ordinary() -> Observation<'static> {
    Observation {
        provider: "anthropic",
        model: "claude-opus-4-5-20251101",
        workload: "checkout-assistant",
        instrumentation: "opentelemetry.instrumentation.anthropic",
        class: Class::Complete,
        value: Some("end_turn"),
        vendor_category: None,
        refusal: None,
        recovered: None,
        input_tokens: Some(800),
        output_tokens: Some(200),
        discard_output: false,
        blind_emitter: false,
        identity: Identity::default(),
    }
}

fn refused() -> Observation<'static> {
    let refusal = RefusalLabels {
        category: Category::Cyber,
        actor: Actor::PlatformClassifier,
        phase: Phase::MidStream,
        delivery: Delivery::Success,
        action: Action::Surface,
    };
    let (class, value) = (Class::Refusal, Some("refusal"));
    Observation { class, value, refusal: Some(refusal), discard_output: true, ..ordinary() }
}

fn fill(tally: &mut Tally, ids: &[Ids], labels: &Labels) {
    for (n, ids) in ids.iter().enumerate() {
        let identity = Identity {
            response_id: &ids.response,
            request_id: "",
            trace_id: &ids.trace,
            span_id: &ids.span,
            parent_span_id: &ids.parent,
            is_span: true,
            leaf: true,
        };
        tally.add(&Observation { identity, ..labels(n) });
    }
}

fn counters(criterion: &mut Criterion) {
    let models: Vec<&'static str> = (0..50).map(|n| &*format!("model-{n}").leak()).collect();
    let workloads: Vec<&'static str> = (0..20).map(|n| &*format!("workload-{n}").leak()).collect();
    let same = |_: usize| ordinary();
    // What an application does: mostly one model and workload, several endings.
    let mixed = |n: usize| match n % 16 {
        0 => refused(),
        1..6 => Observation { class: Class::ToolUse, value: Some("tool_use"), ..ordinary() },
        _ => ordinary(),
    };
    let scattered =
        move |n: usize| Observation { model: models[n % 50], workload: workloads[n % 20], ..mixed(n) };
    let cases: [(&str, &Labels); 3] = [("same", &same), ("mixed", &mixed), ("scattered", &scattered)];

    for (name, labels) in cases {
        let mut group = criterion.benchmark_group(format!("tally and commit, {name} labels"));
        for size in [8, 512, 8192] {
            let responses = Responses::new(LabelLimits::default());
            let mut next = 0;
            group.throughput(Throughput::Elements(size));
            group.bench_function(format!("add {size}"), |bencher| {
                bencher.iter_batched_ref(
                    || (request(size, &mut next), responses.tally()),
                    |(ids, tally)| fill(tally, ids, labels),
                    BatchSize::SmallInput,
                );
            });
            group.bench_function(format!("add and commit {size}"), |bencher| {
                bencher.iter_batched_ref(
                    || request(size, &mut next),
                    |ids| {
                        let mut tally = responses.tally();
                        fill(&mut tally, ids, labels);
                        responses.commit(tally);
                    },
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

/// Commits alone, of what is new but for its trace: of 512 traces each brings one response per request. That fills the
/// table of responses seen, so what counts is how many of its cache lines each response touches.
fn commits(criterion: &mut Criterion) {
    const TRACES: u64 = 512;
    let responses = Responses::new(LabelLimits::default());
    let mut next = 0;
    let mut tally = || {
        let mut ids = request(TRACES, &mut next);
        for (n, ids) in (0_u64..).zip(&mut ids) {
            ids.trace[..8].copy_from_slice(&n.to_le_bytes());
            ids.parent = [0; 8];
        }
        let mut tally = responses.tally();
        fill(&mut tally, &ids, &|_| ordinary());
        tally
    };
    (0..1000).for_each(|_| drop(responses.commit(tally())));
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(TRACES));
    group.bench_function(format!("{TRACES} new responses of {TRACES} known traces"), |bencher| {
        bencher.iter_batched(&mut tally, |tally| responses.commit(tally), BatchSize::SmallInput);
    });
    group.finish();
}

fn scrape(criterion: &mut Criterion) {
    let responses = Arc::new(Responses::new(LabelLimits::default()));
    let mut tally = responses.tally();
    for n in 0..100_000 {
        let (model, workload) = (format!("model-{}", n % 64), format!("workload-{}", n % 487));
        tally.add(&Observation { model: &model, workload: &workload, ..refused() });
    }
    responses.commit(tally);
    let registry = Registry::new(Own::new(), responses);
    let series =
        registry.text(Form::Prometheus, false).lines().filter(|line| line.starts_with("llm_")).count();
    criterion.bench_function(&format!("scrape of {series} series"), |bencher| {
        bencher.iter(|| black_box(registry.text(Form::OpenMetrics, false)));
    });
}

criterion_group!(benches, counters, commits, scrape);
criterion_main!(benches);
