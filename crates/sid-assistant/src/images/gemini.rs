//! Google's Gemini API: `:generateContent` with images among the parts of the answer, and `:predict` for Imagen.

use serde_json::{Value, json};
use uuid::Uuid;

use super::service::{Asked, Failure, Made, Service, told};
use super::{Picture, sides};

/// Shapes that both take.
const SHAPES: [(&str, f64); 5] = [("1:1", 1.0), ("3:4", 0.75), ("4:3", 4.0 / 3.0), ("9:16", 0.5625), ("16:9", 16.0 / 9.0)];

pub(super) async fn make(service: &Service<'_>, asked: &Asked) -> Made {
    let name = service.model.model.rsplit('/').next().unwrap_or_default();
    if name.starts_with("imagen") { predict(service, asked).await } else { generate(service, asked).await }
}

/// The shape that is nearest to a size: the service knows no others.
fn shape(size: &str) -> &'static str {
    let (width, height) = sides(size).unwrap_or((1, 1));
    let wanted = (f64::from(width) / f64::from(height)).ln();
    let distance = |ratio: f64| (ratio.ln() - wanted).abs();
    SHAPES.iter().min_by(|a, b| distance(a.1).total_cmp(&distance(b.1))).map_or("1:1", |(name, _)| name)
}

fn path(service: &Service<'_>, method: &str) -> String {
    format!("/models/{}:{method}", service.model.model)
}

/// One image for each request: the service knows no number of them.
async fn generate(service: &Service<'_>, asked: &Asked) -> Made {
    let mut config = service.model.fields.clone();
    config.insert("responseModalities".into(), json!(["TEXT", "IMAGE"]));
    config.insert("imageConfig".into(), json!({"aspectRatio": shape(&asked.size)}));
    let body = json!({"contents": [{"role": "user", "parts": [{"text": asked.prompt}]}], "generationConfig": config});
    let mut made = Vec::new();
    for n in 0..asked.n {
        // Each is a request of its own, for whoever takes two with one key for the same.
        let service = Service { token: Uuid::new_v5(&service.token, &n.to_be_bytes()), ..*service };
        let one = service.ask(&path(&service, "generateContent"), &body, 1).await.and_then(|answer| of_content(&service, &answer));
        let is_enough = one.is_err();
        made.push(one);
        // What failed once would most likely fail again, and be paid for again.
        if is_enough {
            break;
        }
    }
    Ok(made)
}

fn of_content(service: &Service<'_>, answer: &Value) -> Result<Picture, Failure> {
    let candidate = &answer["candidates"][0];
    let parts = candidate["content"]["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
    // What a model thinks on the way (`thought`) may hold images, too, that are not the answer.
    let data = parts.iter().filter(|part| part["thought"] != json!(true)).find_map(|part| part["inlineData"]["data"].as_str());
    if let Some(data) = data {
        return service.decoded(data);
    }
    if let Some(reason) = answer["promptFeedback"]["blockReason"].as_str() {
        return Err(Failure::Refused(told(reason)));
    }
    let why = candidate["finishReason"].as_str().unwrap_or_default();
    if ["SAFETY", "PROHIBITED", "BLOCKLIST", "RECITATION", "SPII"].iter().any(|word| why.contains(word)) {
        return Err(Failure::Refused(told(candidate["finishMessage"].as_str().unwrap_or(why))));
    }
    let says = told(parts.iter().find_map(|part| part["text"].as_str()).unwrap_or(why));
    Err(Failure::Refused(if says.is_empty() { "it answers without an image and does not say why".into() } else { says }))
}

async fn predict(service: &Service<'_>, asked: &Asked) -> Made {
    let mut parameters = service.model.fields.clone();
    parameters.insert("sampleCount".into(), json!(asked.n));
    parameters.insert("aspectRatio".into(), json!(shape(&asked.size)));
    // Without this nothing at all is said of what was filtered.
    parameters.entry("includeRaiReason").or_insert(json!(true));
    let body = json!({"instances": [{"prompt": asked.prompt}], "parameters": parameters});
    let answer = service.ask(&path(service, "predict"), &body, asked.n).await?;
    let predictions = answer["predictions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let made: Vec<_> = predictions
        .iter()
        .take(asked.n as usize)
        .filter_map(|prediction| match (prediction["bytesBase64Encoded"].as_str(), prediction["raiFilteredReason"].as_str()) {
            (Some(data), _) => Some(service.decoded(data)),
            (None, Some(reason)) => Some(Err(Failure::Refused(told(reason)))),
            (None, None) => None,
        })
        .collect();
    let nothing = || Failure::Refused("it answers without an image, which it does for what it filters".into());
    if made.is_empty() { Err(nothing()) } else { Ok(made) }
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn sizes_become_the_nearest_shape() {
        for (size, expected) in [
            ("1024x1024", "1:1"),
            ("1536x1024", "4:3"),
            ("1024x1536", "3:4"),
            ("1920x1080", "16:9"),
            ("1080x1920", "9:16"),
            ("8192x64", "16:9"),
        ] {
            assert_eq!(shape(size), expected, "{size}");
        }
    }
}
