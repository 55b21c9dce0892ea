//! Where items come from: their resource and scope.

use super::str;
use crate::otlp::any_value::KeyValue;
use crate::otlp::visit::Envelope;
use crate::otlp::wire::Malformed;
use crate::refusal::dialects::ScopeKind;

/// Where items come from: what their resource and scope tell, read once for all items under them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'m> {
    /// The scope that the resource names, for emitters that leave the scope itself empty (eBPF instrumentation).
    resource_scope: &'m str,
    pub(super) scope: &'m str,
    pub(super) kind: ScopeKind,
}

impl<'m> Origin<'m> {
    /// What a resource tells. Its scopes are told by [`Origin::enter_scope`].
    pub fn of_resource(resource: &Envelope<'m>) -> Result<Self, Malformed> {
        let mut origin = Origin::default();
        let mut fields = resource.fields();
        while let Some(field) = fields.next_field()? {
            if field.number != RESOURCE_ATTRIBUTES {
                continue;
            }
            let attribute = KeyValue::read(resource.message(), field.content()?)?;
            match attribute.key {
                b"otel.scope.name" => origin.resource_scope = attribute.value()?.as_str().unwrap_or_default(),
                b"telemetry.distro.name" if origin.resource_scope.is_empty() => {
                    origin.resource_scope = attribute.value()?.as_str().unwrap_or_default();
                }
                _ => {}
            }
        }
        Ok(origin)
    }

    /// Goes to a scope of the same resource.
    pub fn enter_scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.scope = "";
        let mut fields = scope.fields();
        while let Some(field) = fields.next_field()? {
            if field.number == SCOPE_NAME {
                self.scope = str(scope.message().get(field.content()?).unwrap_or_default());
            }
        }
        self.kind = ScopeKind::of(self.scope);
        Ok(())
    }

    /// `llm.instrumentation`: the scope's name, or what the resource says in its place.
    pub fn instrumentation(&self) -> &'m str {
        match self.scope {
            "" => self.resource_scope,
            scope => scope,
        }
    }
}

const RESOURCE_ATTRIBUTES: u32 = 1;
const SCOPE_NAME: u32 = 1;
