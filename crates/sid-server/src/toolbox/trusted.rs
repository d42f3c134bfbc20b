//! Functions whose results their tenant vouches for.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::ToolSpec;

/// A function that declares its results to be trusted, whatever it says of them itself.
pub(super) struct Trusted(pub(super) Arc<dyn Tool>);

#[async_trait]
impl Tool for Trusted {
    fn spec(&self) -> ToolSpec {
        self.0.spec()
    }

    fn effect(&self) -> EffectClass {
        self.0.effect()
    }

    fn declaration(&self) -> Declaration {
        Declaration { untrusted: false, ..self.0.declaration() }
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        ToolOutcome { sources: Vec::new(), ..self.0.call(context, arguments).await }
    }
}
