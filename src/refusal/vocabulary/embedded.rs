//! The data files, compiled in.

use super::VocabularyError;
use super::data::{EmittersFile, VendorFile};

/// File name and text of each vendor. Where a word or an error is looked for in all vendors, it is in this order.
pub(super) const VENDORS: &[(&str, &str)] = &[
    ("anthropic.yaml", include_str!("anthropic.yaml")),
    ("openai.yaml", include_str!("openai.yaml")),
    ("azure.yaml", include_str!("azure.yaml")),
    ("google.yaml", include_str!("google.yaml")),
    ("bedrock.yaml", include_str!("bedrock.yaml")),
    ("cohere.yaml", include_str!("cohere.yaml")),
    ("mistral.yaml", include_str!("mistral.yaml")),
    ("groq.yaml", include_str!("groq.yaml")),
    ("together.yaml", include_str!("together.yaml")),
    ("xai.yaml", include_str!("xai.yaml")),
    ("deepseek.yaml", include_str!("deepseek.yaml")),
    ("qwen.yaml", include_str!("qwen.yaml")),
    ("zhipu.yaml", include_str!("zhipu.yaml")),
    ("moonshot.yaml", include_str!("moonshot.yaml")),
    ("ollama.yaml", include_str!("ollama.yaml")),
    ("vllm.yaml", include_str!("vllm.yaml")),
    ("sglang.yaml", include_str!("sglang.yaml")),
    ("huggingface.yaml", include_str!("huggingface.yaml")),
    ("openrouter.yaml", include_str!("openrouter.yaml")),
    ("litellm.yaml", include_str!("litellm.yaml")),
    ("cerebras.yaml", include_str!("cerebras.yaml")),
    ("fireworks.yaml", include_str!("fireworks.yaml")),
    ("perplexity.yaml", include_str!("perplexity.yaml")),
    ("ai21.yaml", include_str!("ai21.yaml")),
];

const EMITTERS: (&str, &str) = ("emitters.yaml", include_str!("emitters.yaml"));

/// All vendors.
pub(super) fn vendors() -> Result<Vec<VendorFile>, VocabularyError> {
    VENDORS.iter().map(|(name, text)| parse(name, text)).collect()
}

/// The emitters.
pub(super) fn emitters() -> Result<EmittersFile, VocabularyError> {
    parse(EMITTERS.0, EMITTERS.1)
}

/// Reads one data file strictly.
pub(super) fn parse<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, VocabularyError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let position = error.location().map(|at| (at.line(), at.column()));
        let reason = error.without_snippet().to_string();
        let place = position.map(|(line, column)| format!(" at line {line}, column {column}"));
        let reason = place.and_then(|place| reason.strip_suffix(&place)).unwrap_or(&reason).to_owned();
        VocabularyError::Syntax { file: name.to_owned(), position, reason }
    })
}
