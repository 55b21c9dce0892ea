//! What the type of a message, an event or a part says of its text.

use super::super::json::Text;
use super::super::{Content, Shape};
use super::facts::bounded;
use super::{Extractor, flag};

impl Extractor {
    /// The type of a message, an event or an error.
    pub(super) fn found_type(&mut self, word: &str) {
        match word {
            "message" => {
                self.flag(flag::MESSAGE);
                if self.has(flag::STOP_REASON) {
                    self.found_shape(Shape::AnthropicMessages);
                }
            }
            "error" => self.flag(flag::ERROR),
            "refusal" => self.flag(flag::REFUSAL),
            "message_start" | "message_delta" | "message_stop" => {
                self.found_shape(Shape::AnthropicMessages);
                self.stream = true;
                self.ended |= word == "message_stop";
            }
            "message-start" | "message-end" | "stream-start" | "stream-end" => {
                self.found_shape(Shape::CohereChat);
                self.flag(flag::ANSWER);
                self.stream = true;
                self.ended |= word.ends_with("-end");
            }
            "content_block_start" | "content_block_delta" | "content_block_stop" | "ping" => {
                self.stream = true
            }
            _ if word.starts_with("response.") => {
                self.stream = true;
                let end = word.rsplit('.').next().unwrap_or_default();
                let whole = word.split('.').count() == 2;
                self.ended |=
                    whole && matches!(end, "completed" | "failed" | "incomplete" | "cancelled" | "done");
                self.flag(flag::TYPED);
                self.flag(if word.contains("refusal") {
                    flag::REFUSAL
                } else if word.contains("function_call") || word.contains("custom_tool_call") {
                    flag::TOOL
                } else if word.contains("output_text") || word.contains("audio") {
                    0
                } else {
                    flag::ASIDE
                });
                if self.has(flag::TEXT) {
                    self.found_delta_kind();
                }
            }
            _ if self.answer.error.is_none() && self.has(flag::ROOT) => {
                self.wait(|waiting| waiting.kind = Some(bounded(word.as_bytes())));
            }
            _ => {}
        }
    }

    /// A delta that is a string: an event's type tells whose, and may come before or after it.
    pub(super) fn found_delta(&mut self, flags: u16, text: Text<'_>) {
        if text.is_empty() || self.found_mask(text) {
            return;
        }
        self.flag(flag::TEXT);
        if flags & flag::TYPED != 0 {
            self.found_delta_kind();
        }
    }

    fn found_delta_kind(&mut self) {
        if self.has(flag::REFUSAL) {
            self.found_refusal_part();
        } else if self.has(flag::TOOL) {
            self.found_tool_call();
        } else if !self.has(flag::ASIDE) {
            self.found_content();
        }
    }

    /// The `object` of OpenAI's APIs and of those that imitate them.
    pub(super) fn found_object(&mut self, word: &str) {
        match word {
            "error" => self.flag(flag::ERROR),
            "response" => {
                self.flag(flag::ANSWER | flag::OPENAI | flag::RESPONSE);
                self.found_shape(Shape::OpenAiResponses);
            }
            "realtime.response" | "thread.run" | "thread.message" | "interaction" => {
                self.flag(flag::ANSWER | flag::OPENAI | flag::RESPONSE);
            }
            "chat.completion" | "chat.completion.chunk" | "text_completion" => {
                self.flag(flag::ANSWER | flag::OPENAI);
                self.found_shape(Shape::OpenAiChat);
                self.stream |= word.ends_with(".chunk");
            }
            _ => {}
        }
    }

    pub(super) fn found_part_type(&mut self, word: &str) {
        self.flag(flag::TYPED);
        let names = |part: &str| word.contains(part);
        if word == "refusal" {
            self.flag(flag::REFUSAL);
            self.found_refusal_part();
        } else if names("fallback") {
            self.flag(flag::FALLBACK);
        } else if names("result") || names("response") {
            // What a tool said.
        } else if names("server") || names("mcp") {
            // The vendor calls these tools itself.
            self.found_content();
        } else if names("tool") || names("function") {
            self.found_tool_call();
        } else if ["image", "audio", "video", "file", "document", "blob", "redacted"].into_iter().any(names) {
            self.found_content();
        }
        if self.has(flag::TEXT) && !self.has(flag::REFUSAL) {
            self.found_content();
        }
    }

    /// The items that the caller must answer; the vendor answers the other calls itself.
    pub(super) fn found_item_type(&mut self, word: &str) {
        if matches!(
            word,
            "function_call"
                | "custom_tool_call"
                | "computer_call"
                | "local_shell_call"
                | "shell_call"
                | "apply_patch_call"
                | "mcp_approval_request"
        ) {
            self.found_tool_call();
        }
    }

    /// A text that is content, unless it is empty or masked.
    pub(super) fn found_text(&mut self, text: Text<'_>) {
        if text.is_empty() {
            if text.closed {
                self.found_place();
            }
        } else if !self.found_mask(text) {
            self.found_content();
        }
    }

    pub(super) fn found_refusal(&mut self, text: Text<'_>) {
        if !text.is_empty() {
            self.found_refusal_part();
        }
    }

    fn found_refusal_part(&mut self) {
        self.answer.refusal_part |= !self.has(flag::FOREIGN);
    }

    /// Whether a text stands for one that somebody took out, or for none at all.
    pub(super) fn found_mask(&mut self, text: Text<'_>) -> bool {
        let masked = !text.more && is_mask(text.start);
        self.masked |= masked;
        masked
    }

    /// There is content.
    pub(super) fn found_content(&mut self) {
        if !self.has(flag::FOREIGN) {
            self.answer.content = Content::Some;
        }
    }

    /// There is a place for content.
    pub(super) fn found_place(&mut self) {
        if self.answer.content == Content::Unknown && !self.has(flag::FOREIGN) {
            self.answer.content = Content::Empty;
        }
    }
}

/// `***`, `[REDACTED]`, and the text that Python makes of no text.
fn is_mask(text: &[u8]) -> bool {
    if text.iter().all(|&byte| byte == b'*') {
        return true;
    }
    let start = text.iter().position(u8::is_ascii_alphabetic).unwrap_or(0);
    let end = text.iter().rposition(u8::is_ascii_alphabetic).map_or(0, |at| at + 1);
    let word = text.get(start..end).unwrap_or_default();
    let known: [&[u8]; 5] = [b"redacted", b"filtered", b"hidden", b"omitted", b"none"];
    let bare = word.len() == text.len();
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
        && (!bare || word == b"None" || word == b"REDACTED")
}
