//! However the bytes of an answer are split, the events say the same.

use proptest::prelude::*;
use serde_json::json;
use sid_llm::{Assembler, AssemblerOptions, ChatEvent, ChatReply, ChatRequest, SseParser};
use sid_types::ToolSpec;

fn request() -> ChatRequest {
    let tool =
        |name: &str| ToolSpec { name: name.into(), description: String::new(), parameters: json!({"type": "object", "properties": {}}) };
    ChatRequest { tools: vec![tool("f").into(), tool("conversation_search").into()], ..ChatRequest::default() }
}

/// Plays bytes in these pieces; answers the reply and what was shown.
fn play(bytes: &[u8], cuts: &[usize]) -> (ChatReply, String) {
    let mut parser = SseParser::new(1 << 20);
    let mut assembler = Assembler::new(request().into(), AssemblerOptions::default());
    let mut events = Vec::new();
    let mut sse = Vec::new();
    let mut from = 0;
    let ends: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    for end in ends.into_iter().chain([bytes.len()]) {
        parser.feed(&bytes[from..end], &mut sse).expect("small");
        from = end;
        for event in sse.drain(..) {
            if event.data != "[DONE]" {
                assembler.openai(&serde_json::from_str(&event.data).expect("written by this test")).expect("no fault");
                events.extend(assembler.take_events());
            }
        }
    }
    assert!(parser.finish().is_none());
    events.extend(assembler.finish());
    let mut shown = String::new();
    let mut reply = None;
    for event in events {
        match event {
            ChatEvent::TextDelta(text) => shown.push_str(&text),
            ChatEvent::Restart => shown.clear(),
            ChatEvent::ReasoningDelta(_) => {}
            ChatEvent::Done(done) => reply = Some(*done),
        }
    }
    (reply.expect("an answer"), shown)
}

/// A stream with the content in these pieces.
fn stream(pieces: &[&str], line_end: &str) -> Vec<u8> {
    let mut out = String::new();
    for piece in pieces {
        let chunk = json!({"choices": [{"index": 0, "delta": {"content": piece}}]});
        out.push_str(&format!(": alive{line_end}data: {chunk}{line_end}{line_end}"));
    }
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    out.push_str(&format!("data: {end}{line_end}{line_end}data: [DONE]{line_end}{line_end}"));
    out.into_bytes()
}

/// Fragments of all dialects, whole, broken and mixed with words.
fn fragment() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "<tool_call>",
        "</tool_call>",
        "{\"name\": \"f\", \"arguments\": {\"x\": \"é\"}}",
        "{\"name\": \"g\", \"arguments\": {}}",
        "{\"tool\": \"f\", \"arguments\": {\"x\": \"half",
        "<function=f>",
        "<parameter=x>1</parameter>",
        "</function>",
        "[TOOL_CALLS]",
        "[f(x=1, y=\"a\")]",
        "[f(",
        "```json\n",
        "```",
        "\n```\n",
        "```rust\nlet x = {};\n```\n",
        "<think>",
        "</think>",
        "<|channel|>",
        "analysis<|message|>",
        "final<|message|>",
        "<|end|>",
        "<|python_tag|>",
        "<｜DSML｜invoke name=\"f\">",
        "</｜DSML｜invoke>",
        "<｜tool▁calls▁begin｜>",
        "<|im_end|>",
        "\n",
        " ",
        "`",
        "> ",
        "{",
        "[",
        "<",
        "Where are the pickles? 世界 🥒",
        "; ",
        "conversation_search",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 2 => "[a-z{}<>\\[\\]`\"\\n |]{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn the_reply_does_not_depend_on_the_split(
        fragments in prop::collection::vec(fragment(), 0..10),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        bytes in prop::collection::vec(any::<usize>(), 0..20),
        crlf in any::<bool>(),
    ) {
        let content: String = fragments.concat();
        let whole = play(&stream(&[&content], "\n"), &[]);

        let mut ends: Vec<usize> = cuts.iter().map(|c| c.index(content.len() + 1)).filter(|at| content.is_char_boundary(*at)).collect();
        ends.sort_unstable();
        ends.push(content.len());
        let mut pieces = Vec::new();
        let mut from = 0;
        for end in ends {
            pieces.push(&content[from..end]);
            from = end;
        }
        let split = play(&stream(&pieces, if crlf { "\r\n" } else { "\n" }), &bytes);
        prop_assert_eq!(&split.0, &whole.0);
        prop_assert_eq!(&split.1, &whole.1);
        // What was shown is what is answered.
        prop_assert_eq!(split.1.trim(), split.0.text.trim());

        let chars: Vec<String> = content.chars().map(String::from).collect();
        let chars: Vec<&str> = chars.iter().map(String::as_str).collect();
        let single = play(&stream(&chars, "\n"), &[]);
        prop_assert_eq!(&single.0, &whole.0);
        prop_assert_eq!(&single.1, &whole.1);
    }
}

#[test]
fn hostile_output_costs_no_more_than_its_length() {
    let start = std::time::Instant::now();
    for unit in [
        "<tool_call>",
        "{\"name\": \"f\", ",
        "[f(",
        "<",
        "```json\n{\"name\"",
        "<|channel|>",
        "<think>",
        "[TOOL_CALLS]f{",
        "> <tool_call>\n",
        "\n{\"tool\": ",
    ] {
        let mut assembler = Assembler::new(request().into(), AssemblerOptions::default());
        let content = unit.repeat(400_000 / unit.len());
        for piece in content.as_bytes().chunks(40) {
            assembler.text(&String::from_utf8_lossy(piece)).expect("below the limit");
            assembler.take_events();
        }
        assembler.finish();
    }
    // Linear work takes about a second of an unoptimised build; quadratic work would take hours.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
