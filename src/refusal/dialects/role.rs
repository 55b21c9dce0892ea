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
pub(crate) fn role(word: &[u8]) -> Role {
    let word = unquoted(word);
    if let Some(operation) = word.strip_prefix(b"ai.") {
        return vercel(operation);
    }
    if word.ends_with(b"Generator") {
        return Role::Leaf;
    }
    let mut lower = [0; LONGEST];
    let Some(lower) = lower.get_mut(..word.len()) else { return Role::Unsure };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    in_lower_case(lower)
}

/// Whether a span's name starts with the operation of a call to a model, as `chat gpt-4.1` does by convention.
///
/// Scopes of SDKs' instrumentations may have many spans of other kinds: their names are told apart by three letters,
/// because [`role`] alone was 6 % of the samples of a profile.
#[inline]
pub(crate) fn is_named_like_a_call(name: &[u8]) -> bool {
    let operation = name.split(|byte| *byte == b' ').next().unwrap_or_default();
    may_be_a_leaf(operation) && role(operation) == Role::Leaf
}

#[inline]
fn may_be_a_leaf(word: &[u8]) -> bool {
    let known_start = match word {
        [b'"', ..] => true,
        [a, b, c, ..] => matches!(
            &[*a, *b, *c].map(|letter| letter.to_ascii_lowercase()),
            b"cha" | b"llm" | b"gen" | b"tex" | b"com" | b"mes" | b"res" | b"err" | b"str" | b"inv" | b"ai."
        ),
        _ => false,
    };
    known_start || word.ends_with(b"Generator")
}

/// A word without the quotes around it, however many.
fn unquoted(mut word: &[u8]) -> &[u8] {
    while let [b'"', rest @ ..] | [rest @ .., b'"'] = word {
        word = rest;
    }
    word
}

/// `ai.operationId`: the inner spans are calls, the outer ones are around them.
fn vercel(operation: &[u8]) -> Role {
    match operation {
        _ if operation.ends_with(b".doGenerate") || operation.ends_with(b".doStream") => Role::Leaf,
        _ if operation.starts_with(b"toolCall") || operation.starts_with(b"embed") => Role::Other,
        _ => Role::Wrapper,
    }
}

/// The longest of the words below, in bytes.
const LONGEST: usize = 24;

fn in_lower_case(word: &[u8]) -> Role {
    match word {
        b"chat" | b"llm" | b"generate_content" | b"text_completion" | b"completion" => Role::Leaf,
        b"stream_generate_content" | b"invoke_model" | b"generation" | b"chat_model" => Role::Leaf,
        // eBPF instrumentation: the `type` or `object` of the vendor's answer.
        b"message" | b"response" | b"error" => Role::Leaf,
        b"invoke_agent" | b"agent" | b"chain" | b"workflow" | b"task" | b"invoke_workflow" => Role::Wrapper,
        b"agent_step" | b"execute_event_loop_cycle" | b"plan" => Role::Wrapper,
        b"execute_tool" | b"tool" | b"embeddings" | b"embedding" | b"retrieval" | b"retriever" => Role::Other,
        b"rerank" | b"reranker" | b"guardrail" | b"evaluator" | b"prompt" | b"parser" => Role::Other,
        b"memory" | b"create_agent" | b"vectordb" => Role::Other,
        _ => Role::Unsure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_what_is_around_them() {
        for (word, expected) in [
            ("chat", Role::Leaf),
            ("LLM", Role::Leaf),
            ("generate_content", Role::Leaf),
            ("text_completion", Role::Leaf),
            ("completion", Role::Leaf),
            ("message", Role::Leaf),
            ("response", Role::Leaf),
            ("Error", Role::Leaf),
            ("stream_generate_content", Role::Leaf),
            ("invoke_model", Role::Leaf),
            ("GET", Role::Unsure),
            ("\"CHAT_MODEL\"", Role::Leaf),
            ("ai.generateText.doGenerate", Role::Leaf),
            ("ai.streamText", Role::Wrapper),
            ("ai.toolCall", Role::Other),
            ("OpenAIChatGenerator", Role::Leaf),
            ("AGENT", Role::Wrapper),
            ("EMBEDDING", Role::Other),
            ("execute_event_loop_cycle", Role::Wrapper),
            ("execute_event_loop_cycles", Role::Unsure),
            ("framework", Role::Unsure),
            ("", Role::Unsure),
            ("openai.responses.create", Role::Unsure),
        ] {
            assert_eq!(role(word.as_bytes()), expected, "{word}");
            let name = format!("{word} gpt-4.1");
            assert_eq!(is_named_like_a_call(name.as_bytes()), expected == Role::Leaf, "{name}");
        }
    }
}
