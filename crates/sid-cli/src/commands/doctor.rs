//! `sid doctor`: what works, what does not, and what to do about it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};
use sid_llm::{ModelConfig, OllamaConfig, OpenAiConfig, ProfileOverrides};

use crate::client::{Request, read};
use crate::error::CliError;
use crate::output::table::Table;
use crate::output::text::thousands;
use crate::output::{Output, Paint};
use crate::session::Session;
use crate::wire;

/// Check models, embedder and store. With --url, only that model endpoint, without any server or data folder.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only this configured model
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    model: Option<String>,
    /// A model endpoint that is not configured (yet), such as http://127.0.0.1:8080/v1
    #[arg(long)]
    url: Option<String>,
    /// The name that the endpoint knows the model by [default: the first that it lists]
    #[arg(long, value_name = "M", requires = "url", default_value = "")]
    model_name: String,
    /// The endpoint's key, if it wants one
    #[arg(long, value_name = "K", requires = "url", env = "SID_CLI_MODEL_KEY", hide_env_values = true)]
    model_key: Option<String>,
    /// What the endpoint speaks
    #[arg(long, requires = "url", value_enum, default_value_t = Api::Openai)]
    api: Api,
    /// Longest wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Api {
    /// The OpenAI chat API
    Openai,
    /// Ollama's own API
    Ollama,
}

/// What a trial of one capability showed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Verdict {
    capability: String,
    ok: bool,
    detail: String,
    ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    /// Sid can do without.
    Weak,
    Bad,
}

impl Verdict {
    fn grade(&self) -> Grade {
        match (self.ok, self.capability.as_str()) {
            (true, _) => Grade::Good,
            (false, "reachable" | "auth" | "model" | "chat" | "store") => Grade::Bad,
            (false, _) => Grade::Weak,
        }
    }

    /// What to do about a failure.
    fn advice(&self) -> &'static str {
        match self.capability.as_str() {
            "reachable" => "start the model's server, or correct base_url in [models.NAME] of sid.toml",
            "auth" => "set api_key (or api_key_file) in [models.NAME] of sid.toml, or SID_MODELS__NAME__API_KEY",
            "model" => "set model in [models.NAME] to a name that the endpoint lists",
            "chat" => "look at the endpoint's own log; try another model or a shorter context",
            "streaming" => "answers come late and in one piece; Sid works all the same",
            "usage" => "nothing is needed: Sid counts tokens by itself",
            "tool_call" => "Sid asks for tools in another way; if memory is still not written, set tool_mode to \"structured\" or \"text\"",
            "json_schema" => "Sid asks for tools natively or in the text instead",
            "context_window" => {
                "set context_window in [models.NAME] to what the engine was started with (llama.cpp: -c, vLLM: --max-model-len, Ollama: num_ctx)"
            }
            "embeddings" => "check [embedder] in sid.toml; until then recall goes by words alone",
            "semantic_recall" => {
                "recall is LEXICAL ONLY: it finds the same words, not the same meaning. Set [embedder] kind = \"fastembed\" (a model in this process) or \"openai\" (an endpoint)"
            }
            "store" => "check the data folder's path and permissions",
            _ => "",
        }
    }
}

pub(crate) async fn run(args: Doctor, session: &Session) -> Result<(), CliError> {
    let mut patients: Vec<(String, Vec<Verdict>)> = Vec::new();
    match &args.url {
        Some(url) => {
            session.out.note(&format!("asking {url}; this takes a few short answers of the model"))?;
            patients.push((format!("endpoint {url}"), probe_url(url, &args).await?));
        }
        None => {
            patients.push(("memory".into(), memory(session).await?));
            for model in models(session, args.model.as_deref()).await? {
                session.out.note(&format!("asking the model `{model}`; this takes a few short answers"))?;
                let answer = session.client().await?.value(Request::post(&["models", &model, "probe"])).await?;
                patients.push((format!("model {model}"), verdicts(answer)?));
            }
        }
    }
    report(&patients, &session.out)?;
    let bad = patients.iter().flat_map(|(_, v)| v).filter(|v| v.grade() == Grade::Bad).count();
    if bad == 0 {
        return Ok(());
    }
    Err(CliError::failed(
        "SID-CLI-UNWELL",
        format!("{bad} of the checks that Sid cannot do without failed"),
        "do what stands beside each, then run `sid doctor` again",
    ))
}

async fn memory(session: &Session) -> Result<Vec<Verdict>, CliError> {
    let client = session.client().await?;
    let started = std::time::Instant::now();
    let index: wire::Index = read(client.value(Request::get(&["index"])).await?, "the index")?;
    let ms = started.elapsed().as_millis() as u64;
    let store = Verdict { capability: "store".into(), ok: true, detail: format!("{} answers", client.describe()), ms };
    let generation = index.generation.clone().unwrap_or_else(|| "no embedder".into());
    let (indexed, pending) = (thousands(index.indexed), thousands(index.pending));
    let detail = format!("{generation}; {indexed} memories have vectors, {pending} wait");
    let recall = Verdict { capability: "semantic_recall".into(), ok: index.is_semantic, detail, ms: 0 };
    Ok(vec![store, recall])
}

async fn models(session: &Session, only: Option<&str>) -> Result<Vec<String>, CliError> {
    let answer = session.client().await?.value(Request::get(&["models"])).await?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let names: Vec<String> = items.iter().filter_map(|m| Some(m.get("name")?.as_str()?.to_owned())).collect();
    match only {
        None => Ok(names),
        Some(only) if names.iter().any(|n| n == only) => Ok(vec![only.to_owned()]),
        Some(only) => {
            let hint = format!("configured: {}", names.join(", "));
            Err(CliError::failed("SID-CLI-NO-MODEL", format!("there is no model `{only}` in the configuration"), hint))
        }
    }
}

/// The server's answer, whether the verdicts stand alone or in a field.
fn verdicts(answer: Value) -> Result<Vec<Verdict>, CliError> {
    let list = match answer {
        Value::Object(mut fields) => fields.remove("verdicts").or_else(|| fields.remove("items")).unwrap_or_default(),
        list => list,
    };
    read(list, "the probe")
}

async fn probe_url(url: &str, args: &Doctor) -> Result<Vec<Verdict>, CliError> {
    crate::client::install_tls();
    let model = match args.model_name.as_str() {
        "" => first_model(url, args).await.unwrap_or_default(),
        name => name.to_owned(),
    };
    let api_key = args.model_key.clone();
    let config = match args.api {
        Api::Openai => ModelConfig::OpenAi(OpenAiConfig { api_key, ..OpenAiConfig::new(url, model) }),
        Api::Ollama => ModelConfig::Ollama(OllamaConfig { base_url: url.to_owned(), api_key, model, ..OllamaConfig::default() }),
    };
    let found = sid_llm::probe(&config, &ProfileOverrides::default(), None, Duration::from_secs(args.patience)).await;
    let copy = |v: sid_llm::Verdict| Verdict { capability: v.capability.into(), ok: v.ok, detail: v.detail, ms: v.ms };
    Ok(found.into_iter().map(copy).collect())
}

/// The first model that the endpoint lists; `None` when it lists none, which the probe then says in its own words.
async fn first_model(url: &str, args: &Doctor) -> Option<String> {
    let root = url.trim_end_matches('/').trim_end_matches("/v1");
    let (path, list, name) = match args.api {
        Api::Openai => ("/v1/models", "data", "id"),
        Api::Ollama => ("/api/tags", "models", "name"),
    };
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().ok()?;
    let mut request = client.get(format!("{root}{path}"));
    if let Some(key) = &args.model_key {
        request = request.bearer_auth(key);
    }
    let answer: Value = request.send().await.ok()?.json().await.ok()?;
    Some(answer.get(list)?.get(0)?.get(name)?.as_str()?.to_owned())
}

fn report(patients: &[(String, Vec<Verdict>)], out: &Output) -> Result<(), CliError> {
    if out.json {
        let one = |v: &Verdict| {
            let grade = match v.grade() {
                Grade::Good => "good",
                Grade::Weak => "weak",
                Grade::Bad => "bad",
            };
            let advice = if v.ok { "" } else { v.advice() };
            json!({"capability": v.capability, "ok": v.ok, "grade": grade, "detail": v.detail, "advice": advice, "ms": v.ms})
        };
        let all = patients.iter().map(|(name, v)| json!({"name": name, "verdicts": v.iter().map(one).collect::<Vec<_>>()}));
        return out.value(&json!({"checked": all.collect::<Vec<_>>()}));
    }
    for (name, verdicts) in patients {
        out.text(&render(name, verdicts, out.paint, out.cut_to()))?;
    }
    Ok(())
}

fn render(name: &str, verdicts: &[Verdict], paint: Paint, columns: Option<usize>) -> String {
    let mut table = Table::new().name("").name("capability").number("ms").text("seen");
    for v in verdicts {
        let mark = match v.grade() {
            Grade::Good => paint.green("good"),
            Grade::Weak => paint.yellow("weak"),
            Grade::Bad => paint.red("BAD"),
        };
        table.row([mark, v.capability.clone(), thousands(v.ms), v.detail.clone()]);
    }
    let mut text = format!("{}\n{}", paint.bold(name), table.render(columns, paint));
    for v in verdicts.iter().filter(|v| !v.ok && !v.advice().is_empty()) {
        let advice = format!("{}: {}", v.capability, v.advice());
        for (i, line) in crate::output::text::wrap(&advice, columns.unwrap_or(110).saturating_sub(4).max(20)).into_iter().enumerate() {
            let lead = if i == 0 { "  → " } else { "    " };
            text.push_str(&if v.grade() == Grade::Bad {
                paint.red(&format!("{lead}{line}"))
            } else {
                paint.yellow(&format!("{lead}{line}"))
            });
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(capability: &str, ok: bool) -> Verdict {
        Verdict { capability: capability.into(), ok, detail: "seen".into(), ms: 7 }
    }

    #[test]
    fn only_what_sid_needs_is_bad() {
        assert_eq!(verdict("chat", false).grade(), Grade::Bad);
        assert_eq!(verdict("tool_call", false).grade(), Grade::Weak);
        assert_eq!(verdict("chat", true).grade(), Grade::Good);
    }

    #[test]
    fn every_failure_says_what_to_do() {
        let all = [
            "reachable",
            "auth",
            "model",
            "chat",
            "streaming",
            "usage",
            "tool_call",
            "json_schema",
            "context_window",
            "embeddings",
            "semantic_recall",
            "store",
        ];
        for capability in all {
            assert!(!verdict(capability, false).advice().is_empty(), "{capability}");
        }
        let text = render("memory", &[verdict("store", true), verdict("semantic_recall", false)], Paint::plain(), None);
        assert!(text.contains("weak  semantic_recall   7  seen"), "{text}");
        assert!(text.contains("→ semantic_recall: recall is LEXICAL ONLY"), "{text}");
        assert!(!text.contains("→ store"), "{text}");
    }

    #[test]
    fn verdicts_are_read_alone_or_in_a_field() {
        let list = json!([{"capability": "chat", "ok": true, "detail": "x", "ms": 3}]);
        for answer in [list.clone(), json!({"verdicts": list.clone()}), json!({"items": list})] {
            assert_eq!(verdicts(answer).expect("verdicts")[0].capability, "chat");
        }
    }
}
