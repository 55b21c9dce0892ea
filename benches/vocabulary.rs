//! What lookups cost: `cargo bench --bench vocabulary`. Exact words must stay below 50 ns.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use refusal_collector::refusal::answer::{ErrorFacts, StopField};
use refusal_collector::refusal::vocabulary::Vocabulary;
use std::hint::black_box;

fn lookups(c: &mut Criterion) {
    let vocabulary = Vocabulary::embedded().unwrap();
    let anthropic = vocabulary.vendor_named("anthropic");
    let google = vocabulary.vendor_named("google");
    let mut stop = c.benchmark_group("stop");
    for (name, vendor, word) in [
        ("own word", anthropic, "end_turn"),
        ("word of OpenAI's", google, "stop"),
        ("word of Anthropic's", google, "refusal"),
        ("word of emitters", anthropic, "content-filter"),
        ("enum form", google, "FinishReason.STOP"),
        ("unknown", anthropic, "quantum_flux_halt"),
        ("unknown without vendor", None, "quantum_flux_halt"),
    ] {
        stop.bench_function(name, |b| {
            b.iter(|| vocabulary.lookup(black_box(vendor), StopField::FinishReason, black_box(word)));
        });
    }
    stop.finish();

    let mut provider = c.benchmark_group("provider");
    provider
        .bench_function("key as listed", |b| b.iter(|| vocabulary.provider_of_key(black_box("gcp.gemini"))));
    provider
        .bench_function("key respelled", |b| b.iter(|| vocabulary.provider_of_key(black_box("MistralAI"))));
    provider.bench_function("key unknown", |b| {
        b.iter(|| vocabulary.provider_of_key(black_box("strands-agents")))
    });
    let host = "bedrock-runtime.us-east-1.amazonaws.com";
    provider.bench_function("host", |b| b.iter(|| vocabulary.provider_of_host(black_box("api.openai.com"))));
    provider.bench_function("host by pattern", |b| b.iter(|| vocabulary.provider_of_host(black_box(host))));
    provider
        .bench_function("host unknown", |b| b.iter(|| vocabulary.provider_of_host(black_box("127.0.0.1"))));
    provider.bench_function("model", |b| b.iter(|| vocabulary.provider_of_model(black_box("gpt-4.1"))));
    provider
        .bench_function("model unknown", |b| b.iter(|| vocabulary.provider_of_model(black_box("my-gpt41"))));
    provider.finish();

    let told = |message: &str| ErrorFacts { message: Some(message.into()), ..ErrorFacts::default() };
    let rate = told("Error code: 429 - Rate limit reached for gpt-4.1");
    let refused = told("Error code: 400 - Your request was rejected as a result of our safety system.");
    let other = told(&"Error code: 400 - messages: at least one message is required ".repeat(8));
    let openai = vocabulary.vendor_named("openai");
    let mut error = c.benchmark_group("error");
    error.bench_function("rate limit", |b| b.iter(|| vocabulary.error(openai, black_box(&rate))));
    error.bench_function("refusal", |b| b.iter(|| vocabulary.error(openai, black_box(&refused))));
    error.bench_function("other, 500 bytes", |b| b.iter(|| vocabulary.error(openai, black_box(&other))));
    error.finish();

    c.bench_function("emitter", |b| {
        b.iter(|| vocabulary.emitter(black_box("opentelemetry.instrumentation.openai.v1")))
    });
    c.bench_function("emitter unknown", |b| b.iter(|| vocabulary.emitter(black_box("my.company.app"))));
    c.bench_function("build", |b| b.iter(|| Vocabulary::embedded().unwrap()));
}

criterion_group!(benches, lookups);
criterion_main!(benches);
