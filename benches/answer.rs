//! What reading a vendor answer costs: as JSON, as a stream of events, compressed, and a long text in it, which is only
//! passed over.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use refusal_collector::refusal::answer::coding::{Bounds, Coding, Decoder};
use refusal_collector::refusal::answer::{Answer, Extractor, Reader};
use std::hint::black_box;
use std::io::Write;

/// An answer with so many bytes of text, as prose is escaped: a quote or a new line every hundred bytes.
fn message(text: usize) -> String {
    let line =
        "The quick brown fox jumps over the lazy dog, and the dog said in its usual words: \\\"no\\\".\\n";
    let text: String = line.chars().cycle().take(text.saturating_sub(text % line.len())).collect();
    format!(
        r#"{{"id":"msg_01RefusalSample0001","type":"message","role":"assistant","model":"claude-x","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"refusal","stop_sequence":null,"stop_details":{{"type":"refusal","category":"cyber","explanation":"why"}},"usage":{{"input_tokens":106,"output_tokens":57,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"service_tier":"standard"}}}}"#
    )
}

/// A stream of OpenAI's chunks, about so many bytes.
fn chunks(bytes: usize) -> String {
    let chunk = |delta: &str, reason: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1789700000,\"model\":\"gpt-x\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let word = chunk("{\"content\":\" word\"}", "null");
    let mut stream = word.repeat(bytes / word.len());
    stream.push_str(&chunk("{}", "\"stop\""));
    stream.push_str("data: [DONE]\n\n");
    stream
}

/// A stream of events, compressed and flushed after each.
fn flushed(coding: Coding, stream: &str) -> Vec<u8> {
    let mut coded = Vec::new();
    let events = stream.split_inclusive("\n\n");
    match coding {
        Coding::Gzip | Coding::Deflate => {
            let mut encoder = flate2::write::GzEncoder::new(&mut coded, flate2::Compression::default());
            events.for_each(|event| {
                encoder.write_all(event.as_bytes()).and_then(|()| encoder.flush()).unwrap()
            });
            encoder.finish().unwrap();
        }
        Coding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(&mut coded, 4096, 5, 22);
            events.for_each(|event| {
                encoder.write_all(event.as_bytes()).and_then(|()| encoder.flush()).unwrap()
            });
        }
        Coding::Zstd => {
            let mut encoder = zstd::Encoder::new(&mut coded, 3).unwrap();
            events.for_each(|event| {
                encoder.write_all(event.as_bytes()).and_then(|()| encoder.flush()).unwrap()
            });
            encoder.finish().unwrap();
        }
    }
    coded
}

fn answers(c: &mut Criterion) {
    let mut group = c.benchmark_group("answer");
    for (name, body) in [
        ("json/1KiB", message(512)),
        ("json/16KiB", message(16 << 10)),
        ("json/1MiB", message(1 << 20)),
        ("sse/1KiB", chunks(1 << 10)),
        ("sse/16KiB", chunks(16 << 10)),
    ] {
        assert!(!Answer::read(body.as_bytes()).stops.is_empty());
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| Answer::read(black_box(body.as_bytes()))));
    }

    // As it comes from the wire: what is left of one answer's chunks is the state between them.
    let stream = chunks(16 << 10);
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("sse/16KiB in 256-byte chunks", |b| {
        b.iter(|| {
            let mut reader = Reader::new();
            black_box(stream.as_bytes()).chunks(256).for_each(|chunk| reader.feed(chunk));
            reader.finish()
        });
    });

    // The same as servers compress it, each event flushed: what a tap undoes.
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
        let coded = flushed(coding, &stream);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(format!("sse/16KiB as {}", coding.token()), |b| {
            b.iter(|| {
                let mut reader = Reader::new();
                let mut decoder = Decoder::new(coding, Bounds::default());
                black_box(&coded).chunks(256).for_each(|chunk| {
                    decoder.feed(chunk, |_| true, |text| reader.feed(text)).unwrap();
                });
                assert!(!reader.finish().stops.is_empty());
            });
        });
    }

    // Content without anything to escape: the search for its end.
    let plain = format!("{{\"output\":[{{\"text\":\"{}\"}}]}}", "x".repeat(1 << 20));
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("one plain MiB of text", |b| b.iter(|| Answer::read(black_box(plain.as_bytes()))));

    let arguments = format!("{{\"input\":{}}}", message(16 << 10));
    group.throughput(Throughput::Bytes(arguments.len() as u64));
    group.bench_function("16KiB that are not looked into", |b| {
        b.iter(|| Answer::read(black_box(arguments.as_bytes())))
    });

    group.throughput(Throughput::Elements(1));
    group.bench_function("structured choice", |b| {
        b.iter_batched(
            Extractor::new,
            |mut walk| {
                walk.begin_object();
                walk.key("index");
                walk.integer(0);
                walk.key("finish_reason");
                walk.string("content_filter");
                walk.key("message");
                walk.begin_object();
                walk.key("content");
                walk.string("Sure, the first step is ");
                walk.end();
                walk.end();
                walk.finish()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, answers);
criterion_main!(benches);
