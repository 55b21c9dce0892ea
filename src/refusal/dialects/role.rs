//! Whether an item is one call to a model, something around such calls, or something else.

/// What an item stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Not told, or by a word that nobody knows: a response when it carries something that only a response has.
    Unsure,
    /// One call to a model: a response in any case.
    Leaf,
    /// An agent's, chain's or framework's item around calls to a model: a response only if it says how one ended.
    Wrapper,
    /// Never a response.
    Other,
}

/// What the words of `gen_ai.operation.name` and of libraries' own keys for the kind of an item mean. They do not
/// contradict each other, so they are one list. Span kind (CLIENT, INTERNAL) tells nothing: half of the libraries use
/// INTERNAL.
pub(crate) fn role(word: &str) -> Role {
    let word = word.trim_matches('"');
    if let Some(operation) = word.strip_prefix("ai.") {
        return vercel(operation);
    }
    if word.ends_with("Generator") {
        return Role::Leaf;
    }
    let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map_or(Role::Unsure, |(_, role)| *role)
}

/// `ai.operationId`: the inner spans are calls, the outer ones are around them.
fn vercel(operation: &str) -> Role {
    match operation {
        _ if operation.ends_with(".doGenerate") || operation.ends_with(".doStream") => Role::Leaf,
        _ if operation.starts_with("toolCall") || operation.starts_with("embed") => Role::Other,
        _ => Role::Wrapper,
    }
}

/// The usual ones first.
const WORDS: &[(&str, Role)] = &[
    ("chat", Role::Leaf),
    ("LLM", Role::Leaf),
    ("generate_content", Role::Leaf),
    ("text_completion", Role::Leaf),
    ("completion", Role::Leaf),
    // eBPF instrumentation: the `type` or `object` of the vendor's answer.
    ("message", Role::Leaf),
    ("response", Role::Leaf),
    ("error", Role::Leaf),
    ("stream_generate_content", Role::Leaf),
    ("invoke_model", Role::Leaf),
    ("generation", Role::Leaf),
    ("chat_model", Role::Leaf),
    ("invoke_agent", Role::Wrapper),
    ("agent", Role::Wrapper),
    ("chain", Role::Wrapper),
    ("workflow", Role::Wrapper),
    ("task", Role::Wrapper),
    ("invoke_workflow", Role::Wrapper),
    ("agent_step", Role::Wrapper),
    ("execute_event_loop_cycle", Role::Wrapper),
    ("plan", Role::Wrapper),
    ("framework", Role::Unsure),
    ("execute_tool", Role::Other),
    ("tool", Role::Other),
    ("embeddings", Role::Other),
    ("embedding", Role::Other),
    ("retrieval", Role::Other),
    ("retriever", Role::Other),
    ("rerank", Role::Other),
    ("reranker", Role::Other),
    ("guardrail", Role::Other),
    ("evaluator", Role::Other),
    ("prompt", Role::Other),
    ("parser", Role::Other),
    ("memory", Role::Other),
    ("create_agent", Role::Other),
    ("vectordb", Role::Other),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_what_is_around_them() {
        for (word, expected) in [
            ("chat", Role::Leaf),
            ("\"CHAT_MODEL\"", Role::Leaf),
            ("ai.generateText.doGenerate", Role::Leaf),
            ("ai.streamText", Role::Wrapper),
            ("ai.toolCall", Role::Other),
            ("OpenAIChatGenerator", Role::Leaf),
            ("AGENT", Role::Wrapper),
            ("EMBEDDING", Role::Other),
            ("openai.responses.create", Role::Unsure),
        ] {
            assert_eq!(role(word), expected, "{word}");
        }
    }
}
