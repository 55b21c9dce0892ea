use super::*;
use crate::refusal::answer::{ErrorFacts, StopField};
use crate::refusal::verdict::{Actor, Billing, Category, Class};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

fn vocabulary() -> Vocabulary {
    Vocabulary::embedded().unwrap()
}

#[test]
fn every_example_in_the_data_gives_what_it_says() {
    let vocabulary = vocabulary();
    let mut wrong = Vec::new();
    let mut run = |vendor: Option<Vendor>, file: &str, example: &data::Example| {
        if let Err(got) = vocabulary.try_example(vendor, example) {
            wrong.push(format!("{file}: {example} gives {got}"));
        }
    };
    for file in vocabulary.vendors() {
        for facts in &file.surfaces {
            assert!(!facts.examples.is_empty(), "{} {:?} has no example", file.vendor, facts.id);
            for example in &facts.examples {
                run(vocabulary.vendor_named(&file.vendor), &file.vendor, example);
            }
        }
    }
    for example in &vocabulary.emitter_data().examples {
        run(None, "emitters", example);
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_is_compiled_in_is_what_the_files_say() {
    fn read<T: DeserializeOwned + Serialize>(path: &Path) -> Value {
        let file: Result<T, _> =
            embedded::parse(&path.display().to_string(), &fs::read_to_string(path).unwrap());
        serde_json::to_value(file.unwrap_or_else(|error| panic!("{error}"))).unwrap()
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/refusal/vocabulary");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (emitters, vendors): (Vec<_>, Vec<_>) = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .partition(|path| path.ends_with("emitters.yaml"));
    let mut vendors: Vec<Value> = vendors.iter().map(|path| read::<data::VendorFile>(path)).collect();
    let emitters: Vec<Value> = emitters.iter().map(|path| read::<data::EmittersFile>(path)).collect();

    let vocabulary = vocabulary();
    let mut compiled: Vec<_> =
        vocabulary.vendors().iter().map(|file| serde_json::to_value(file).unwrap()).collect();
    let name = |file: &Value| file["vendor"].as_str().unwrap().to_owned();
    vendors.sort_by_key(name);
    compiled.sort_by_key(name);
    assert_eq!(compiled, vendors);
    assert_eq!([serde_json::to_value(vocabulary.emitter_data()).unwrap()], emitters[..]);
}

#[test]
fn every_surface_names_its_source_and_the_day_it_was_read() {
    for file in vocabulary().vendors() {
        assert!(!file.identity.providers.is_empty(), "{}", file.vendor);
        for facts in &file.surfaces {
            let id = facts.id.as_deref().unwrap();
            assert!(!facts.source.is_empty() && facts.evidence.is_some(), "{id}");
            assert!(facts.identity.is_none(), "{id}");
            let date = facts.checked.as_deref().unwrap();
            assert!(
                date.len() == 10 && date.starts_with("20") && date.matches('-').count() == 2,
                "{id}: {date}"
            );
        }
    }
}

#[test]
fn no_word_is_listed_twice_for_a_vendor_and_a_field() {
    for file in vocabulary().vendors() {
        let (mut stops, mut categories) = (HashSet::new(), HashSet::new());
        for facts in &file.surfaces {
            for (field, words) in &facts.stop {
                for word in words.keys() {
                    assert!(
                        stops.insert((field.as_str(), word)),
                        "{} {} {word}",
                        file.vendor,
                        field.as_str()
                    );
                }
            }
            for word in facts.categories.keys() {
                assert!(categories.insert(word), "{} {word}", file.vendor);
            }
        }
    }
}

#[test]
fn words_of_one_known_form_agree_in_their_class() {
    let forms = vocabulary().forms;
    for file in vocabulary().vendors() {
        let mut classes = HashMap::new();
        for (field, words) in file.surfaces.iter().flat_map(|facts| &facts.stop) {
            for (word, entry) in words {
                let first = classes.entry((field.as_str(), forms.fold(word).unwrap())).or_insert(entry.class);
                assert_eq!(*first, entry.class, "{} {} {word}", file.vendor, field.as_str());
            }
        }
    }
}

#[test]
fn every_provider_key_of_every_emitter_finds_its_vendor_and_its_exact_name() {
    let vocabulary = vocabulary();
    for (key, name) in [
        ("anthropic", "anthropic"),
        ("anthropic.messages", "anthropic"),
        ("\"anthropic\"", "anthropic"),
        ("openai", "openai"),
        ("OpenAI", "openai"),
        ("openai.chat", "openai"),
        ("openai.responses", "openai"),
        ("azure", "azure.ai.openai"),
        ("az.ai.openai", "azure.ai.openai"),
        ("azure.openai", "azure.ai.openai"),
        ("az.ai.inference", "azure.ai.inference"),
        ("azure_ai", "azure.ai.inference"),
        ("google", "gcp.gemini"),
        ("gemini", "gcp.gemini"),
        ("google.generative-ai", "gcp.gemini"),
        ("google_ai_studio_gemini", "gcp.gemini"),
        ("gcp.gen_ai", "gcp.gen_ai"),
        ("vertex_ai", "gcp.vertex_ai"),
        ("google.vertex.chat", "gcp.vertex_ai"),
        ("vertex.anthropic.messages", "gcp.vertex_ai"),
        ("aws", "aws.bedrock"),
        ("bedrock", "aws.bedrock"),
        ("amazon-bedrock", "aws.bedrock"),
        ("Cohere", "cohere"),
        ("MistralAI", "mistral_ai"),
        ("mistral.chat", "mistral_ai"),
        ("x_ai", "x_ai"),
        ("xai", "x_ai"),
        ("x.ai", "x_ai"),
        ("togetherai.chat", "together_ai"),
        ("fireworks_ai", "fireworks"),
        ("dashscope", "qwen"),
        ("moonshotai", "moonshot_ai"),
        ("hosted_vllm", "vllm"),
        ("litellm_proxy", "litellm"),
        ("ChatOpenAI", "openai"),
        ("AzureChatOpenAI", "azure.ai.openai"),
    ] {
        assert_eq!(vocabulary.provider_of_key(key).map(|found| found.name), Some(name), "{key}");
    }
    for key in ["strands-agents", "microsoft.agent_framework", "", ".", "acme", "openaix"] {
        assert_eq!(vocabulary.provider_of_key(key), None, "{key}");
    }
}

#[test]
fn hosts_and_models_tell_the_vendor() {
    let vocabulary = vocabulary();
    for (host, name) in [
        ("api.anthropic.com", "anthropic"),
        ("https://API.openai.com:443/v1/", "openai"),
        ("example.openai.azure.com", "azure.ai.openai"),
        ("x.services.ai.azure.com", "azure.ai.inference"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "aws.bedrock"),
        ("openrouter.ai", "openrouter"),
        ("dashscope-intl.aliyuncs.com", "qwen"),
        ("ollama", "ollama"),
        ("vllm.models.svc.cluster.local", "vllm"),
    ] {
        assert_eq!(vocabulary.provider_of_host(host).map(|found| found.name), Some(name), "{host}");
    }
    for host in ["127.0.0.1", "localhost:8000", "notopenai.com", "openai.com.example", "s3.amazonaws.com", ""]
    {
        assert_eq!(vocabulary.provider_of_host(host), None, "{host}");
    }
    for (model, name) in [
        ("claude-sonnet-4-5-20250929", "anthropic"),
        ("anthropic/claude-sonnet-4.5", "anthropic"),
        ("claude-3-5-sonnet-v2@20241022", "gcp.vertex_ai"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "aws.bedrock"),
        ("us.anthropic.claude-3-5-sonnet-20240620-v1:0", "aws.bedrock"),
        ("bedrock/converse/anthropic.claude-3-5-sonnet-20240620-v1:0", "aws.bedrock"),
        ("converse/anthropic.claude-3-5-sonnet-20240620-v1:0", "aws.bedrock"),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2", "aws.bedrock"),
        ("gpt-4.1-2025-04-14", "openai"),
        ("openai/gpt-4.1", "openai"),
        ("o3", "openai"),
        ("azure/my-gpt41", "azure.ai.openai"),
        ("gemini-2.5-flash", "gcp.gemini"),
        ("models/gemini-2.5-flash", "gcp.gemini"),
        ("publishers/google/models/gemini-2.5-pro", "gcp.vertex_ai"),
        ("vertex_ai/gemini-2.5-pro", "gcp.vertex_ai"),
        ("openrouter/anthropic/claude-3", "openrouter"),
        ("command-a-03-2025", "cohere"),
        ("mistral-large-2411", "mistral_ai"),
        ("grok-4", "x_ai"),
        ("deepseek-chat", "deepseek"),
        ("GLM-4.6", "zhipu"),
    ] {
        assert_eq!(vocabulary.provider_of_model(model).map(|found| found.name), Some(name), "{model}");
    }
    for model in ["my-gpt41", "llama-3.3-70b-versatile", "", "/", "my-claude"] {
        assert_eq!(vocabulary.provider_of_model(model), None, "{model}");
    }
}

#[test]
fn behind_a_mapping_a_missing_category_is_missing_where_the_vendor_names_them() {
    let vocabulary = vocabulary();
    let names =
        |vendor: &str, word| vocabulary.names_categories(vocabulary.vendor_named(vendor).unwrap(), word);
    assert!(names("anthropic", Some("refusal")));
    assert!(names("anthropic", Some("content_filter")));
    assert!(names("google", Some("SAFETY")));
    assert!(names("google", Some("content_filter")));
    assert!(names("azure", Some("content_filter")));
    assert!(names("azure", None));
    assert!(names("bedrock", Some("guardrail_intervened")));
    assert!(names("bedrock", Some("content_filter")));
    assert!(!names("bedrock", Some("content_filtered")));
    assert!(!names("openai", Some("content_filter")));
    assert!(!names("openai", Some("FinishReason.CONTENT_FILTER")));
    assert!(!names("openai", None));
    assert!(names("openai", Some("refusal")), "Claude behind an OpenAI-compatible endpoint");
    assert!(!names("cohere", Some("ERROR_TOXIC")));
    assert!(!names("deepseek", Some("content_filter")));
}

#[test]
fn a_borrowed_word_tells_its_class_but_not_who_declined() {
    let vocabulary = vocabulary();
    let anthropic = vocabulary.vendor_named("anthropic");
    let mapped = vocabulary.stop(anthropic, StopField::FinishReason, "content_filter").unwrap();
    assert_eq!((mapped.class, mapped.actor), (Class::Refusal, None));
    let openai = vocabulary.vendor_named("openai");
    let own = vocabulary.stop(openai, StopField::FinishReason, "content_filter").unwrap();
    assert_eq!(own.actor, Some(Actor::PlatformClassifier));
}

#[test]
fn what_clients_call_openai_may_speak_as_its_imitators_but_never_completes_by_it() {
    let vocabulary = vocabulary();
    let openai = vocabulary.vendor_named("openai");
    let class = |word| vocabulary.stop(openai, StopField::FinishReason, word).map(|stop| stop.class);
    assert_eq!(class("sensitive"), Some(Class::Refusal));
    assert_eq!(class("insufficient_system_resource"), Some(Class::Error));
    assert_eq!(class("model_length"), Some(Class::Length));
    assert_eq!(class("eos"), None);
    assert_eq!(class("COMPLETE"), None);
}

#[test]
fn billing_depends_on_who_declined() {
    let vocabulary = vocabulary();
    let bedrock = vocabulary.vendor_named("bedrock");
    assert_eq!(vocabulary.billing(bedrock, Actor::CustomerGuardrail).before_output, Billing::GuardrailOnly);
    assert_eq!(vocabulary.billing(bedrock, Actor::PlatformClassifier).before_output, Billing::Unknown);
    let anthropic = vocabulary.vendor_named("anthropic");
    assert_eq!(vocabulary.billing(anthropic, Actor::Unknown).before_output, Billing::NotBilled);
    assert_eq!(vocabulary.billing(anthropic, Actor::Unknown).mid_stream, Billing::InputAndOutput);
    assert_eq!(vocabulary.billing(None, Actor::Model).error, Billing::Unknown);
}

#[test]
fn the_sentence_of_an_error_names_the_vendors_own_category() {
    let vocabulary = vocabulary();
    let message = "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_QUANTUM";
    let facts = ErrorFacts { message: Some(message.into()), ..ErrorFacts::default() };
    assert_eq!(vocabulary.error_category_word(None, &facts), Some("SAFETY_CHECK_TYPE_QUANTUM"));
    assert_eq!(vocabulary.error(None, &facts).unwrap().category, Some(Category::Unknown));
}

#[test]
fn emitters_are_known_by_scope() {
    let vocabulary = vocabulary();
    assert!(vocabulary.emitter("litellm").unwrap().blind);
    assert!(vocabulary.emitter("pydantic-ai").unwrap().blind);
    assert!(!vocabulary.emitter("opentelemetry.instrumentation.genai.anthropic").unwrap().blind);
    assert!(vocabulary.emitter("langtrace_python_sdk.instrumentation.openai.instrumentation").unwrap().blind);
    assert_eq!(vocabulary.emitter(""), None);
    assert_eq!(vocabulary.emitter("my.app"), None);
    for emitter in vocabulary.emitters() {
        assert!(emitter.blind <= emitter.remedy.is_some(), "{} is blind and has no remedy", emitter.name);
    }
}
