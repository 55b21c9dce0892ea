//! LiteLLM's OpenTelemetry callback: `litellm_request` with words translated to OpenAI's (an unknown one becomes
//! `stop`), and its child `raw_gen_ai_request` with the fields of the vendor's answer under `llm.<vendor>.`, nested
//! ones as the text of a Python object. The latter are matched by form (see `contract::pattern`).

use super::{Meaning::*, Table};

pub(super) const KEYS: Table =
    &[("error.llm_provider", OtherProvider), ("litellm.provider.model", ModelName)];
