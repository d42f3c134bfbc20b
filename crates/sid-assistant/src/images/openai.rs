//! `/images/generations`, as at OpenAI and the servers of open models: images as base64 or behind URLs.

use serde::Deserialize;
use serde_json::json;

use super::service::{Asked, Failure, Made, Service};

#[derive(Deserialize)]
struct Answer {
    data: Vec<Datum>,
}

#[derive(Deserialize)]
struct Datum {
    b64_json: Option<String>,
    url: Option<String>,
}

pub(super) async fn make(service: &Service<'_>, asked: &Asked) -> Made {
    let mut body = service.model.fields.clone();
    body.extend([
        ("model".to_owned(), json!(service.model.model)),
        ("prompt".to_owned(), json!(asked.prompt)),
        ("n".to_owned(), json!(asked.n)),
        ("size".to_owned(), json!(asked.size)),
    ]);
    let answer = service.ask("/images/generations", &body.into(), asked.n).await?;
    let answer: Answer = serde_json::from_value(answer).map_err(|_| Failure::Unusable("the service's answer has no `data`".into()))?;
    let mut made = Vec::new();
    // No more than were asked for and counted.
    for datum in answer.data.into_iter().take(asked.n as usize) {
        match (datum.b64_json.filter(|b| !b.is_empty()), datum.url) {
            (Some(base64), _) => made.push(service.decoded(&base64)),
            (None, Some(url)) => made.push(service.fetched(&url).await),
            (None, None) => {}
        }
    }
    if made.is_empty() { Err(Failure::Unusable("the service's answer has no image".into())) } else { Ok(made) }
}
