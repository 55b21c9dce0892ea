//! The public vocabulary as closed enums, and the verdict that is made of them.

use std::borrow::Cow;
use std::fmt;

/// How one LLM response ended, and if it was a refusal, all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// `llm.stop_reason.class`.
    pub class: Class,
    /// `llm.stop_reason.value`: the value as it arrived, cut to [`MAX_VALUE_BYTES`]; `None` when it is missing.
    pub value: Option<Cow<'a, str>>,
    /// Set exactly when `class` is [`Class::Refusal`].
    pub refusal: Option<Refusal<'a>>,
    /// Set when a fallback model served a request that another had declined; `class` is then the outcome of the
    /// fallback.
    pub recovered: Option<Recovered<'a>>,
}

/// `llm.refusal.*` of one refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The primary category.
    pub category: Category,
    /// All categories that fired, when more than one; else empty.
    pub categories: Vec<Category>,
    /// The vendor's own word for the category.
    pub vendor_category: Option<Cow<'a, str>>,
    /// Who declined.
    pub actor: Actor,
    /// What was declined.
    pub side: Side,
    /// When, relative to the output.
    pub phase: Phase,
    /// Whether it came as a result or as an error.
    pub delivery: Delivery,
    /// What the vendor charges.
    pub billing: Billing,
    /// Whether tokens that were already streamed must be thrown away; `None` when the telemetry does not tell.
    pub discard_output: Option<bool>,
    /// The attribute or field the verdict rests on.
    pub signal: Cow<'a, str>,
    /// What policy says the caller should do.
    pub action: Action,
    /// From policy, else the vendor's recommendation.
    pub fallback_model: Option<Cow<'a, str>>,
}

/// `llm.refusal.recovered`: a declined request that a fallback served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered<'a> {
    /// The model that served, where it is told.
    pub by: Option<Cow<'a, str>>,
    /// Why the first model declined.
    pub category: Category,
    /// The vendor's own word for that.
    pub vendor_category: Option<Cow<'a, str>>,
}

impl Verdict<'_> {
    /// The vendor's own word for the category, of a refusal or of a decline that a fallback served.
    pub fn vendor_category(&self) -> Option<&str> {
        let refused = self.refusal.as_ref().and_then(|refusal| refusal.vendor_category.as_deref());
        refused.or_else(|| self.recovered.as_ref()?.vendor_category.as_deref())
    }

    /// The same verdict, which borrows nothing.
    pub fn into_owned(self) -> Verdict<'static> {
        Verdict {
            class: self.class,
            value: owned(self.value),
            refusal: self.refusal.map(Refusal::into_owned),
            recovered: self.recovered.map(|recovered| Recovered {
                by: owned(recovered.by),
                category: recovered.category,
                vendor_category: owned(recovered.vendor_category),
            }),
        }
    }
}

impl Refusal<'_> {
    /// The same refusal, which borrows nothing.
    pub fn into_owned(self) -> Refusal<'static> {
        Refusal {
            category: self.category,
            categories: self.categories,
            vendor_category: owned(self.vendor_category),
            actor: self.actor,
            side: self.side,
            phase: self.phase,
            delivery: self.delivery,
            billing: self.billing,
            discard_output: self.discard_output,
            signal: Cow::Owned(self.signal.into_owned()),
            action: self.action,
            fallback_model: owned(self.fallback_model),
        }
    }
}

fn owned(text: Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
    text.map(|text| Cow::Owned(text.into_owned()))
}

/// The bound on `llm.stop_reason.value`, in bytes; a value is cut at a character boundary.
pub const MAX_VALUE_BYTES: usize = 256;

/// Declares a closed enum of the vocabulary: its variants, their names on the wire, and both directions.
macro_rules! closed_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of the vocabulary.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The name in attributes, labels and data files.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<$name> {
                match name { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = Cow::<'de, str>::deserialize(deserializer)?;
                $name::from_name(&name).ok_or_else(|| serde::de::Error::unknown_variant(&name, &[$($text,)+]))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": [$($text,)+]})
            }
        }
    };
}

pub(crate) use closed_enum;

closed_enum! {
    /// `llm.stop_reason.class`.
    Class {
        /// The model ended its turn by itself.
        Complete = "complete",
        /// An output, context or token limit cut the answer.
        Length = "length",
        /// The model hands over to a tool.
        ToolUse = "tool_use",
        /// A stop sequence of the caller fired.
        StopSequence = "stop_sequence",
        /// The turn is unfinished on purpose; the caller should continue it.
        Pause = "pause",
        /// Model, platform or customer policy declined.
        Refusal = "refusal",
        /// Generation failed for a technical reason.
        Error = "error",
        /// A known value that is none of the above.
        Other = "other",
        /// A value that the vocabulary does not list.
        Unknown = "unknown",
        /// A finished response with no stop reason at all.
        Missing = "missing",
    }
}

closed_enum! {
    /// `llm.refusal.category`.
    Category {
        /// Offensive cyber.
        Cyber = "cyber",
        /// Biological harm.
        Bio = "bio",
        /// Chemical, radiological or nuclear harm, or CBRN undivided.
        Cbrn = "cbrn",
        /// Building competing frontier models.
        FrontierLlm = "frontier_llm",
        /// Pulling out hidden reasoning.
        ReasoningExtraction = "reasoning_extraction",
        /// Conventional weapons, military.
        Weapons = "weapons",
        /// Crime, dangerous activity, misconduct, drugs.
        Illicit = "illicit",
        /// Hate, discrimination.
        Hate = "hate",
        /// Harassment, insults, bullying.
        Harassment = "harassment",
        /// Adult sexual content.
        Sexual = "sexual",
        /// Sexual content with minors.
        Csae = "csae",
        /// Violence, gore, threats.
        Violence = "violence",
        /// Self-harm, suicide.
        SelfHarm = "self_harm",
        /// Personal data, identifiable people, secrets.
        Privacy = "privacy",
        /// Recitation, protected material.
        Copyright = "copyright",
        /// Jailbreak, injection, prompt leakage.
        PromptAttack = "prompt_attack",
        /// The agent's own unsafe action was stopped.
        Misalignment = "misalignment",
        /// Elections, civic integrity.
        Civic = "civic",
        /// Health, financial or legal advice.
        RegulatedAdvice = "regulated_advice",
        /// Profanity.
        Profanity = "profanity",
        /// A word list of customer or platform.
        Blocklist = "blocklist",
        /// A customer-defined topic, pattern or rule.
        CustomPolicy = "custom_policy",
        /// A grounding, relevance or reasoning check failed.
        Grounding = "grounding",
        /// The account or end user is restricted.
        Account = "account",
        /// The vendor says harmful and names no area.
        GeneralHarm = "general_harm",
        /// The vendor names a category that has no home here.
        Other = "other",
        /// The vendor named none: null, or its API has no such field.
        Unspecified = "unspecified",
        /// The vendor's API has the field, but the telemetry did not carry it.
        Missing = "missing",
        /// The vendor gave a word that the vocabulary does not list.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// `llm.refusal.actor`: who declined.
    Actor {
        /// The model itself.
        Model = "model",
        /// A classifier of the vendor.
        PlatformClassifier = "platform_classifier",
        /// A guardrail that the customer configured.
        CustomerGuardrail = "customer_guardrail",
        /// A gateway in between.
        Gateway = "gateway",
        /// Not told.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// `llm.refusal.side`: what was declined.
    Side {
        /// The prompt.
        Input = "input",
        /// The answer.
        Output = "output",
        /// Not told.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// `llm.refusal.phase`: when it was declined.
    Phase {
        /// Before any content.
        BeforeOutput = "before_output",
        /// After some content had been streamed.
        MidStream = "mid_stream",
        /// After the whole answer had been generated.
        AfterOutput = "after_output",
        /// Not told.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// `llm.refusal.delivery`: how a flagged request surfaced.
    Delivery {
        /// As a result.
        Success = "success",
        /// As an error.
        Error = "error",
    }
}

closed_enum! {
    /// `llm.refusal.billing`: what the vendor charges for it.
    Billing {
        /// Nothing.
        NotBilled = "not_billed",
        /// The input.
        InputOnly = "input_only",
        /// The input and the output so far.
        InputAndOutput = "input_and_output",
        /// The evaluation by a guardrail.
        GuardrailOnly = "guardrail_only",
        /// Not documented, or not told.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// `llm.refusal.action`: what policy says the caller should do.
    Action {
        /// Show it to the user.
        Surface = "surface",
        /// Send the request to another model.
        Reroute = "reroute",
        /// Tell a person.
        Escalate = "escalate",
        /// Nothing.
        Ignore = "ignore",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for class in Class::ALL {
            assert_eq!(Class::from_name(class.as_str()), Some(*class));
        }
        for category in Category::ALL {
            assert_eq!(Category::from_name(category.as_str()), Some(*category));
        }
        assert_eq!(Class::from_name("Complete"), None);
    }
}
