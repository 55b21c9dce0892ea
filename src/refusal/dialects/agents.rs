//! Agent frameworks and SDKs that add little to the GenAI conventions: Strands (reasons only in span events), Semantic
//! Kernel, Microsoft's Agent Framework, the OpenAI Agents SDK, AWS's botocore.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[("aws.request_id", RequestId)];
