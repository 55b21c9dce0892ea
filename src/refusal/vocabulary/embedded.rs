//! The data files: compiled in, and as they are read.

use super::VocabularyError;
use super::index::Data;

/// What `build.rs` makes of the data files.
const DATA: &str = include_str!(concat!(env!("OUT_DIR"), "/vocabulary.json"));

/// What is compiled in.
pub(super) fn data() -> Result<Data, VocabularyError> {
    serde_json::from_str(DATA).map_err(|error| VocabularyError::Syntax {
        file: "vocabulary.json".to_owned(),
        position: None,
        reason: error.to_string(),
    })
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
