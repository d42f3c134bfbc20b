//! The public REST API, as far as the bench needs it.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: reqwest::Client,
    pub(crate) base: String,
    pub(crate) key: String,
}

impl Api {
    pub(crate) async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<Value> {
        let mut request =
            self.client.request(method, format!("{}/api/v1{path}", self.base)).bearer_auth(&self.key).header("x-sid-tenant", "default");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{path} answered {status}: {text}");
        }
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call(reqwest::Method::POST, path, Some(body)).await
    }

    pub(crate) async fn agent(&self, name: &str) -> Result<()> {
        self.post("/agents", json!({"name": name})).await.map(drop)
    }

    pub(crate) async fn user(&self, handle: &str) -> Result<()> {
        self.post("/users", json!({"handle": handle})).await.map(drop)
    }

    pub(crate) async fn conversation(&self, agent: &str, user: &str, key: &str) -> Result<String> {
        let body = json!({"agent": format!("@{agent}"), "user": format!("@{user}"), "key": key});
        let answer = self.post("/conversations", body).await?;
        Ok(answer["id"].as_str().context("an id")?.to_owned())
    }

    /// One message, to the end of its run.
    pub(crate) async fn say(&self, conversation: &str, text: &str) -> Result<()> {
        let answer = self.post(&format!("/conversations/{conversation}/messages"), json!({"text": text})).await?;
        let status = answer["run"]["status"].as_str().unwrap_or_default();
        if status != "completed" {
            bail!("the run ended as {status}: {answer}");
        }
        Ok(())
    }

    pub(crate) async fn import(&self, conversation: &str, texts: &[String]) -> Result<()> {
        let messages: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| json!({"role": if i % 2 == 0 { "user" } else { "assistant" }, "text": text, "at": "2025-01-01T00:00:00Z"}))
            .collect();
        self.post(&format!("/conversations/{conversation}/import"), json!({"messages": messages})).await.map(drop)
    }
}
