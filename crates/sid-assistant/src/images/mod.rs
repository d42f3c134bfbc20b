//! Images made by a model elsewhere.
//!
//! Order matters, since images cost money: what cannot work is refused first, then the day's count is taken, then the service is asked; what
//! it did not make is given back.

mod gemini;
mod openai;
mod service;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_fetch::HostPattern;
use sid_tools::http::{Connection, Headers};
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{Channel, ImageFormat, Source, ToolSpec};

use service::{Asked, Failure, Made, Service};

/// Characters of what is asked for.
const MOST_PROMPT: usize = 4_000;
/// Images of one call, whatever is configured.
const MOST_AT_ONCE: u32 = 10;

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageApi {
    /// `POST {url}/images/generations`, as at OpenAI and the servers of open models.
    #[default]
    OpenAi,
    /// `POST {url}/models/{model}:generateContent`, or `:predict` for models whose name begins with `imagen`.
    Gemini,
}

/// A service that makes images, and how it is asked.
#[derive(Debug, Clone, Default)]
pub struct ImageModel {
    /// What it speaks.
    pub api: ImageApi,
    /// Where it is, with its version at the end: `https://api.example.com/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The name of the secret that is its key; none without.
    pub key: Option<String>,
    /// Sizes that may be asked for, `WIDTHxHEIGHT`, the usual one first.
    pub sizes: Vec<String>,
    /// Most images of one call.
    pub most_at_once: u32,
    /// Most bytes of an image.
    pub most_bytes: usize,
    /// Further fields of the request, as the service names them (`quality`, `response_format`, ...). They go before what is made here.
    pub fields: Map<String, Value>,
}

/// An image as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// What its bytes say that they are.
    pub format: ImageFormat,
    /// All of them.
    pub bytes: Vec<u8>,
}

/// Where images are counted and kept.
#[async_trait]
pub trait Gallery: Send + Sync {
    /// Takes so many of what may be made today. Errors: no more may be, in words for a model.
    async fn take(&self, context: &ToolContext, images: u32) -> Result<(), String>;

    /// Gives back what was taken and not made.
    async fn give_back(&self, context: &ToolContext, images: u32);

    /// Keeps the image, the `n`th of this call. Answers what its user can open. Errors: in words for a model.
    async fn keep(&self, context: &ToolContext, n: u32, prompt: &str, model: &str, picture: Picture) -> Result<String, String>;
}

/// Makes images, at most once for each call.
pub struct GenerateImage {
    name: String,
    model: ImageModel,
    hosts: Vec<HostPattern>,
    connection: Connection,
    gallery: Arc<dyn Gallery>,
}

impl GenerateImage {
    /// The tool under this name. The connection has the client, whose policy says what it may reach and how long that may take, and the secrets.
    ///
    /// Errors: what does not fit, in words for who set it up.
    pub fn new(name: &str, mut model: ImageModel, connection: Connection, gallery: Arc<dyn Gallery>) -> Result<Self, String> {
        let target = connection.fetcher().policy().target(&model.url).map_err(|e| format!("`url`: {e}"))?;
        let host = target.url().host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let hosts = vec![host.parse().map_err(|_| "`url`: its host cannot be declared".to_owned())?];
        if model.model.is_empty() || !model.model.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@".contains(c)) {
            return Err("`model` is the model's name at the service: letters, digits and - _ . / : @".into());
        }
        if !(1..=MOST_AT_ONCE).contains(&model.most_at_once) {
            return Err(format!("`most_at_once` is 1 to {MOST_AT_ONCE}"));
        }
        if model.sizes.is_empty() {
            model.sizes.push("1024x1024".into());
        }
        if let Some(wrong) = model.sizes.iter().find(|size| sides(size).is_none()) {
            return Err(format!("`sizes` are like `1024x1024`, each side 64 to 8192, not `{wrong}`"));
        }
        model.url.truncate(model.url.trim_end_matches('/').len());
        Ok(Self { name: name.to_owned(), model, hosts, connection, gallery })
    }

    /// Errors: what does not fit, in words for the model.
    fn asked(&self, arguments: &Map<String, Value>) -> Result<Asked, String> {
        let prompt = arguments.get("prompt").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        if prompt.is_empty() || prompt.chars().count() > MOST_PROMPT {
            return Err(format!("`prompt` must have 1 to {MOST_PROMPT} characters."));
        }
        let size = arguments.get("size").and_then(Value::as_str).unwrap_or(&self.model.sizes[0]).to_owned();
        if !self.model.sizes.contains(&size) {
            return Err(format!("`size` must be one of {}.", self.model.sizes.join(", ")));
        }
        let n = arguments.get("n").and_then(Value::as_u64).unwrap_or(1);
        let n = u32::try_from(n).ok().filter(|n| (1..=self.model.most_at_once).contains(n));
        let n = n.ok_or_else(|| format!("`n` must be 1 to {}.", self.model.most_at_once))?;
        Ok(Asked { prompt, size, n })
    }

    async fn make(&self, context: &ToolContext, asked: &Asked, headers: &Headers) -> Made {
        let service = Service { model: &self.model, hosts: &self.hosts, fetcher: self.connection.fetcher(), headers, token: context.token };
        match self.model.api {
            ImageApi::OpenAi => openai::make(&service, asked).await,
            ImageApi::Gemini => gemini::make(&service, asked).await,
        }
    }

    async fn headers(&self, context: &ToolContext) -> Result<Headers, String> {
        let mut headers = Headers::default();
        if let Some(name) = &self.model.key {
            let (header, prefix) = match self.model.api {
                ImageApi::OpenAi => ("authorization", "Bearer "),
                ImageApi::Gemini => ("x-goog-api-key", ""),
            };
            headers.put_secret(header, prefix, name, self.connection.secret(context, name).await?);
        }
        Ok(headers)
    }

    /// Keeps images, and says what the model is told of them.
    async fn kept(&self, context: &ToolContext, asked: &Asked, made: Vec<Result<Picture, Failure>>) -> Result<String, String> {
        let (mut links, mut problem) = (Vec::new(), None);
        for (n, one) in (0_u32..).zip(made) {
            match one {
                Ok(picture) => match self.gallery.keep(context, n, &asked.prompt, &self.model.model, picture).await {
                    Ok(link) => links.push(link),
                    Err(error) => problem = Some(format!("it was made and could not be kept: {error}.")),
                },
                Err(failure) => problem = problem.or_else(|| Some(failure.to_string())),
            }
        }
        if links.is_empty() {
            return Err(problem.unwrap_or_else(|| "nothing came of it.".into()));
        }
        let few = (asked.n as usize).saturating_sub(links.len());
        let few = if few > 0 { format!(" {few} of {} could not be made or kept.", asked.n) } else { String::new() };
        let problem = problem.map(|problem| format!(" Why: {problem}")).unwrap_or_default();
        Ok(format!(
            "Made and kept, for this user to open:\n{}\nGive the user these links as they are; you cannot see the images.{few}{problem}",
            links.join("\n")
        ))
    }
}

/// How many may have cost something.
fn spent(made: &Made, asked: u32) -> u32 {
    match made {
        Ok(each) => each.iter().filter(|one| one.as_ref().err().is_none_or(Failure::may_have_cost)).count() as u32,
        Err(failure) if failure.may_have_cost() => asked,
        Err(_) => 0,
    }
}

/// Width and height.
fn sides(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once('x')?;
    let side = |text: &str| text.parse::<u32>().ok().filter(|n| (64..=8_192).contains(n));
    Some((side(width)?, side(height)?))
}

#[async_trait]
impl Tool for GenerateImage {
    fn spec(&self) -> ToolSpec {
        let ImageModel { sizes, most_at_once, .. } = &self.model;
        let mut properties =
            json!({"prompt": {"type": "string", "description": "What the image shows, in detail: subject, style, light, background"}});
        if sizes.len() > 1 {
            properties["size"] =
                json!({"type": "string", "enum": sizes, "description": format!("Width and height; {} when left out", sizes[0])});
        }
        if *most_at_once > 1 {
            properties["n"] = json!({"type": "integer", "minimum": 1, "maximum": most_at_once, "description": "How many; 1 when left out"});
        }
        ToolSpec {
            name: self.name.clone(),
            description:
                "Make an image from a description. It costs money: make one when the user wants one. Answers with links for the user."
                    .into(),
            parameters: json!({"type": "object", "properties": properties, "required": ["prompt"], "additionalProperties": false}),
        }
    }

    fn declaration(&self) -> Declaration {
        Declaration {
            // Each image may be asked for by itself, twice with a pause, or fetched by itself.
            timeout: self.connection.timeout() * (1 + 2 * self.model.most_at_once)
                + service::LONGEST_PAUSE * self.model.most_at_once
                + Duration::from_secs(1),
            secrets: self.model.key.iter().cloned().collect(),
            hosts: self.hosts.iter().map(ToString::to_string).collect(),
            ..Declaration::new(EffectClass::External { idempotent: false })
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let asked = match self.asked(&arguments) {
            Ok(asked) => asked,
            Err(problem) => return ToolOutcome::error(format!("No image was made. {problem}")),
        };
        let headers = match self.headers(context).await {
            Ok(headers) => headers,
            Err(problem) => return ToolOutcome::error(problem),
        };
        if let Err(problem) = self.gallery.take(context, asked.n).await {
            return ToolOutcome::error(format!("No image was made: {problem}."));
        }
        let made = self.make(context, &asked, &headers).await;
        let spent = spent(&made, asked.n);
        if spent < asked.n {
            self.gallery.give_back(context, asked.n - spent).await;
        }
        // A service may say why in its own words.
        let is_told = made.as_ref().map_or(true, |each| each.iter().any(Result::is_err));
        let sources = if is_told { vec![Source::new(Channel::Tool, &self.name)] } else { Vec::new() };
        let told = match made {
            Ok(each) => self.kept(context, &asked, each).await,
            Err(failure) => Err(failure.to_string()),
        };
        let outcome = told.map_or_else(|problem| ToolOutcome::error(format!("There is no image: {problem}")), ToolOutcome::text);
        ToolOutcome { text: headers.hide(outcome.text), sources, ..outcome }
    }
}

#[cfg(test)]
mod tests;
