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
    serde_saphyr::from_str(text).map_err(|error| VocabularyError::Syntax {
        file: name.to_owned(),
        position: error.location().map(|at| (at.line(), at.column())),
        reason: error.without_snippet().to_string(),
    })
}
