//! Compiles `proto/` without protoc, and the vocabulary to JSON, which no start has to read as YAML.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

/// The vocabulary's files, one per vendor. Where a word or an error is looked for in all vendors, it is in this order.
const VENDORS: [&str; 24] = [
    "anthropic",
    "openai",
    "azure",
    "google",
    "bedrock",
    "cohere",
    "mistral",
    "groq",
    "together",
    "xai",
    "deepseek",
    "qwen",
    "zhipu",
    "moonshot",
    "ollama",
    "vllm",
    "sglang",
    "huggingface",
    "openrouter",
    "litellm",
    "cerebras",
    "fireworks",
    "perplexity",
    "ai21",
];

fn main() -> Result<(), Box<dyn Error>> {
    proto()?;
    vocabulary()
}

fn proto() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["refusal/v1/refusal.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}

fn vocabulary() -> Result<(), Box<dyn Error>> {
    let vendors = VENDORS.map(data_file).into_iter().collect::<Result<Vec<_>, _>>()?;
    let all = serde_json::json!({ "vendors": vendors, "emitters": data_file("emitters")? });
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("vocabulary.json"), all.to_string())?;
    Ok(())
}

/// Without its types: the tests of the vocabulary check them, and say where in the YAML a mistake is.
fn data_file(name: &str) -> Result<serde_json::Value, Box<dyn Error>> {
    let path = format!("src/refusal/vocabulary/{name}.yaml");
    println!("cargo:rerun-if-changed={path}");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{path}: {error}").into())
}
