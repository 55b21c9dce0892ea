//! Haystack. A generator's output is JSON of replies, the reason in each one's `meta`; the pipeline's span repeats it
//! under another key, which is not read.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[("haystack.component.type", SpanKind), ("haystack.component.output", Body)];
