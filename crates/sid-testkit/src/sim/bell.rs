//! A tool whose effect is outside and cannot be taken back: each call must ring once at most.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::ToolSpec;
use uuid::Uuid;

use super::link::Link;
use crate::checker::Effect;

/// Counts how often each call came.
#[derive(Default)]
pub(super) struct Bell(Mutex<BTreeMap<Uuid, u64>>);

impl Bell {
    pub(super) fn effects(&self) -> Vec<Effect> {
        self.0.lock().iter().map(|(token, times)| Effect { token: token.to_string(), times: *times }).collect()
    }
}

/// The bell's rope in one process.
pub(super) struct Rope {
    pub(super) bell: std::sync::Arc<Bell>,
    pub(super) link: std::sync::Arc<Link>,
    pub(super) millis: u64,
}

#[async_trait]
impl Tool for Rope {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "ring".into(), description: "Rings the bell.".into(), parameters: json!({"type": "object", "properties": {}}) }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::External { idempotent: false }
    }

    async fn call(&self, context: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        self.link.pause(std::time::Duration::from_millis(self.millis)).await;
        *self.bell.0.lock().entry(context.token).or_default() += 1;
        self.link.pause(std::time::Duration::from_millis(self.millis)).await;
        ToolOutcome::text("It rang.")
    }
}
