//! What the model is told of a result.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use sid_tools::http::Headers;
use sid_tools::{ToolOutcome, fit_result};
use sid_types::Tokens;

const UNKNOWN: &str = "[content of a kind that is not known here]";

/// Text as it is; of what a model cannot read, what it is and how large. Structured content stands in where there is no text.
pub(crate) fn of_result(result: &CallToolResult, headers: &Headers, budget: Tokens) -> ToolOutcome {
    let mut parts: Vec<String> = result.content.iter().map(part).filter(|p| !p.is_empty()).collect();
    let has_text = result.content.iter().any(|c| matches!(c, ContentBlock::Text(_)));
    if let Some(value) = result.structured_content.as_ref().filter(|_| !has_text) {
        parts.push(value.to_string());
    }
    let is_error = result.is_error == Some(true);
    if parts.is_empty() {
        parts.push(if is_error { "It failed, and the server does not say why.".into() } else { "Done.".into() });
    }
    // Before it is cut: half a secret would not be found.
    let text = fit_result(&headers.hide(parts.join("\n\n")), budget);
    if is_error { ToolOutcome::error(text) } else { ToolOutcome::text(text) }
}

fn part(content: &ContentBlock) -> String {
    match content {
        ContentBlock::Text(text) => text.text.trim().to_owned(),
        ContentBlock::Image(image) => format!("[image: {}, {} bytes; it cannot be shown here]", image.mime_type, bytes_of(&image.data)),
        ContentBlock::Audio(audio) => format!("[audio: {}, {} bytes; it cannot be played here]", audio.mime_type, bytes_of(&audio.data)),
        ContentBlock::ResourceLink(link) => {
            let about = link.description.as_deref().map(|d| format!(" ({d})")).unwrap_or_default();
            format!("[link: {} <{}>{about}]", link.name, link.uri)
        }
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("[{uri}]\n{}", text.trim()),
            ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                let kind = mime_type.as_deref().unwrap_or("of no stated kind");
                format!("[{uri}: {kind}, {} bytes; it cannot be shown here]", bytes_of(blob))
            }
            _ => UNKNOWN.to_owned(),
        },
        _ => UNKNOWN.to_owned(),
    }
}

/// Of base64, without decoding it.
fn bytes_of(data: &str) -> usize {
    data.trim_end_matches('=').len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(result: Value) -> ToolOutcome {
        let result: CallToolResult = serde_json::from_value(result).expect("a result");
        of_result(&result, &Headers::default(), Tokens(2_000))
    }

    #[test]
    fn every_kind_of_content_becomes_text() {
        let content = json!([
            {"type": "text", "text": "Hello."},
            {"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"},
            {"type": "audio", "data": "aGVsbG8=", "mimeType": "audio/wav"},
            {"type": "resource_link", "uri": "file:///a", "name": "a", "description": "A file"},
            {"type": "resource", "resource": {"uri": "file:///b", "text": "inside"}},
            {"type": "resource", "resource": {"uri": "file:///c", "blob": "aGVsbG8=", "mimeType": "application/pdf"}},
        ]);
        let outcome = told(json!({"content": content, "structuredContent": {"said": "Hello."}}));
        assert!(!outcome.is_error);
        for says in
            ["Hello.", "image/png, 5 bytes", "audio/wav, 5 bytes", "a <file:///a> (A file)", "[file:///b]\ninside", "application/pdf"]
        {
            assert!(outcome.text.contains(says), "{says}: {}", outcome.text);
        }
        assert!(!outcome.text.contains("aGVsbG8") && !outcome.text.contains("said"), "{}", outcome.text);
    }

    #[test]
    fn structured_content_stands_in_for_text() {
        assert_eq!(told(json!({"content": [], "structuredContent": {"degrees": 7}})).text, r#"{"degrees":7}"#);
        assert_eq!(told(json!({"content": []})).text, "Done.");
    }

    #[test]
    fn an_error_is_an_error_and_a_flood_is_cut() {
        let failed = told(json!({"content": [{"type": "text", "text": "no such file"}], "isError": true}));
        assert!(failed.is_error && failed.text == "no such file");
        assert!(told(json!({"content": [], "isError": true})).is_error);
        let flood = told(json!({"content": [{"type": "text", "text": "word ".repeat(100_000)}]}));
        assert!(flood.text.len() < 10_000 && flood.text.contains("[cut:"), "{}", flood.text.len());
    }
}
