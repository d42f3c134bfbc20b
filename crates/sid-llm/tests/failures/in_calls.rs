//! Streamed calls, arguments, ends, usage.

use serde_json::{Value, json};
use sid_llm::{Assembler, AssemblerOptions, ChatEvent, Finish};

use crate::cassette::{Case, delta, end, pickles, play, request};

#[test]
fn streamed_calls_in_every_disorder() {
    let tc = |value: Value| delta(json!({"tool_calls": value}));
    let search = "conversation_search";
    let a = "{\"query\": \"pickles\"}";
    for case in [
        Case::of(
            "in pieces",
            vec![
                tc(json!([{"index": 0, "id": "a", "type": "function", "function": {"name": search, "arguments": ""}}])),
                tc(json!([{"index": 0, "function": {"arguments": "{\"query\": \"pic"}}])),
                tc(json!([{"index": 0, "function": {"arguments": "kles\"}"}}])),
                end("tool_calls"),
            ],
        ),
        Case::of(
            "whole in one chunk",
            vec![tc(json!([{"index": 0, "id": "a", "function": {"name": search, "arguments": a}}])), end("tool_calls")],
        ),
        Case::of(
            "arguments as an object",
            vec![tc(json!([{"index": 0, "id": "a", "function": {"name": search, "arguments": {"query": "pickles"}}}])), end("tool_calls")],
        ),
        Case::of(
            "without index",
            vec![
                tc(json!([{"id": "a", "function": {"name": search, "arguments": ""}}])),
                tc(json!([{"function": {"arguments": a}}])),
                end("tool_calls"),
            ],
        ),
        Case::of(
            "without id",
            vec![
                tc(json!([{"index": 0, "function": {"name": search, "arguments": "{\"query\": "}}])),
                tc(json!([{"index": 0, "function": {"arguments": "\"pickles\"}"}}])),
                end("tool_calls"),
            ],
        ),
        Case::of(
            "name and id with every piece",
            vec![
                tc(json!([{"index": 0, "id": "a", "function": {"name": search, "arguments": "{\"query\": "}}])),
                tc(json!([{"index": 0, "id": "a", "function": {"name": search, "arguments": "\"pickles\"}"}}])),
                end("tool_calls"),
            ],
        ),
        Case::of(
            "the name in pieces",
            vec![
                tc(json!([{"index": 0, "id": "a", "function": {"name": "conversation"}}])),
                tc(json!([{"index": 0, "function": {"name": "_search", "arguments": a}}])),
                end("tool_calls"),
            ],
        ),
        Case::of(
            "an object instead of a list",
            vec![tc(json!({"index": 0, "id": "a", "function": {"name": search, "arguments": a}})), end("tool_calls")],
        ),
        Case::of(
            "the old function_call",
            vec![
                delta(json!({"function_call": {"name": search, "arguments": ""}})),
                delta(json!({"function_call": {"arguments": a}})),
                end("function_call"),
            ],
        ),
        Case::of("finish says stop", vec![tc(json!([{"index": 0, "id": "a", "function": {"name": search, "arguments": a}}])), end("stop")]),
        Case::of(
            "a polluted name",
            vec![
                tc(json!([{"index": 0, "id": "a", "function": {"name": "conversation_search<|channel|>commentary", "arguments": a}}])),
                end("tool_calls"),
            ],
        ),
        Case::of("`argument`", vec![tc(json!([{"index": 0, "id": "a", "function": {"name": search, "argument": a}}])), end("tool_calls")]),
        Case::of(
            "always an empty list beside it",
            vec![
                delta(json!({"content": "", "tool_calls": []})),
                tc(json!([{"index": 0, "id": "a", "function": {"name": search, "arguments": a}}])),
                end("tool_calls"),
            ],
        ),
    ] {
        case.call(search, pickles()).check();
    }
    for arguments in [json!(null), json!(""), json!("{}"), json!("null"), json!({})] {
        Case::of(
            "no arguments",
            vec![tc(json!([{"index": 0, "id": "a", "function": {"name": "diary_read", "arguments": arguments}}])), end("tool_calls")],
        )
        .call("diary_read", json!({}))
        .check();
    }
    Case::of("no arguments at all", vec![tc(json!([{"index": 0, "id": "a", "function": {"name": "diary_read"}}])), end("tool_calls")])
        .call("diary_read", json!({}))
        .check();

    Case::of(
        "two without arguments, index always 0",
        vec![
            tc(json!([{"index": 0, "id": "x", "function": {"name": "diary_read", "arguments": ""}}])),
            tc(json!([{"index": 0, "id": "y", "function": {"name": "diary_read", "arguments": ""}}])),
            end("tool_calls"),
        ],
    )
    .call("diary_read", json!({}))
    .call("diary_read", json!({}))
    .check();

    let two = |name: &'static str, chunks: Vec<Value>| {
        Case::of(name, chunks).call(search, json!({"query": "a"})).call(search, json!({"query": "b"})).check();
    };
    two(
        "parallel",
        vec![
            tc(json!([{"index": 0, "id": "x", "function": {"name": search, "arguments": ""}}])),
            tc(json!([{"index": 0, "function": {"arguments": "{\"query\": \"a\"}"}}])),
            tc(json!([{"index": 1, "id": "y", "function": {"name": search, "arguments": ""}}])),
            tc(json!([{"index": 1, "function": {"arguments": "{\"query\": \"b\"}"}}])),
            end("tool_calls"),
        ],
    );
    two(
        "parallel and interleaved",
        vec![
            tc(json!([{"index": 0, "id": "x", "function": {"name": search}}, {"index": 1, "id": "y", "function": {"name": search}}])),
            tc(json!([{"index": 1, "function": {"arguments": "{\"query\": "}}])),
            tc(json!([{"index": 0, "function": {"arguments": "{\"query\": \"a\"}"}}])),
            tc(json!([{"index": 1, "function": {"arguments": "\"b\"}"}}])),
            end("tool_calls"),
        ],
    );
    two(
        "index always 0",
        vec![
            tc(json!([{"index": 0, "id": "x", "function": {"name": search, "arguments": "{\"query\": \"a\"}"}}])),
            tc(json!([{"index": 0, "id": "y", "function": {"name": search, "arguments": "{\"query\": \"b\"}"}}])),
            end("tool_calls"),
        ],
    );
    two(
        "index always 0 and no ids",
        vec![
            tc(json!([{"index": 0, "function": {"name": search, "arguments": "{\"query\": \"a\"}"}}])),
            tc(json!([{"index": 0, "function": {"name": search, "arguments": "{\"query\": \"b\"}"}}])),
            end("tool_calls"),
        ],
    );
    two(
        "the same id twice, without index",
        vec![
            tc(
                json!([{"id": "x", "function": {"name": search, "arguments": "{\"query\": \"a\"}"}}, {"id": "x", "function": {"name": search, "arguments": "{\"query\": \"b\"}"}}]),
            ),
            end("tool_calls"),
        ],
    );
    two(
        "neither index nor id",
        vec![
            tc(json!([{"function": {"name": search, "arguments": "{\"query\": \"a\"}"}}])),
            tc(json!([{"function": {"name": search, "arguments": "{\"query\": \"b\"}"}}])),
            end("tool_calls"),
        ],
    );
    two(
        "run together",
        vec![
            tc(json!([{"index": 0, "id": "x", "function": {"name": search, "arguments": "{\"query\": \"a\"}"}}])),
            tc(json!([{"index": 0, "function": {"arguments": "{\"query\": \"b\"}"}}])),
            end("tool_calls"),
        ],
    );
}

#[test]
fn arguments_and_ends() {
    let call = |arguments: &str, finish: &str| {
        vec![
            delta(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "conversation_search", "arguments": arguments}}]})),
            end(finish),
        ]
    };
    for (name, written) in [
        ("a trailing comma", "{\"query\": \"pickles\",}"),
        ("a missing brace", "{\"query\": \"pickles\""),
        ("single quotes", "{'query': 'pickles'}"),
        ("encoded twice", "\"{\\\"query\\\": \\\"pickles\\\"}\""),
        ("a fence around it", "```json\n{\"query\": \"pickles\"}\n```"),
        ("words before it", "Arguments: {\"query\": \"pickles\"}"),
        ("a brace too many", "{\"query\": \"pickles\"}}"),
    ] {
        Case::of(name, call(written, "tool_calls")).call("conversation_search", pickles()).check();
    }
    Case::of("cut off by the limit", call("{\"query\": \"half a str", "length"))
        .call("conversation_search", json!("{\"query\": \"half"))
        .finish(Finish::Length)
        .check();
    Case::of("nonsense", call("pickles!", "tool_calls")).call("conversation_search", json!("pickles!")).check();
    Case::of("too deep", call(&format!("{{\"a\":{}{}}}", "[".repeat(300), "]".repeat(300)), "tool_calls"))
        .call("conversation_search", json!("{\"a\":[["))
        .check();

    Case::of("announced calls that never come", vec![delta(json!({"content": ""})), end("tool_calls")]).finish(Finish::Other).check();
    Case::of("announced calls, but words", vec![delta(json!({"content": "Hi."})), end("tool_calls")]).text("Hi.").check();
    Case::of("an unheard-of reason", vec![delta(json!({"content": "Hi."})), end("abort")]).text("Hi.").finish(Finish::Other).check();
    Case::of("cut off", vec![delta(json!({"content": "Hi, I am"})), end("length")]).text("Hi, I am").finish(Finish::Length).check();
    Case::of("control tokens at the end", vec![delta(json!({"content": "Hi.<|im_end|>"})), end("stop")]).text("Hi.").check();
    Case::of("content as parts", vec![delta(json!({"content": [{"type": "text", "text": "Hi."}]})), end("stop")]).text("Hi.").check();
    Case::of(
        "the whole message again at the end",
        vec![
            delta(json!({"content": "Hi."})),
            json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}]}),
        ],
    )
    .text("Hi.")
    .check();
    Case::of(
        "a second choice nobody asked for",
        vec![delta(json!({"content": "Hi."})), json!({"choices": [{"index": 1, "delta": {"content": "Ho."}}]}), end("stop")],
    )
    .text("Hi.")
    .check();
}

#[test]
fn whole_answers_read_like_streams() {
    let message = json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": null, "reasoning_content": "Hm.",
        "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "conversation_search", "arguments": "{\"query\": \"a\"}"}},
            {"id": "x", "type": "function", "function": {"name": "conversation_search", "arguments": "{\"query\": \"b\"}"}},
        ],
    }}], "usage": {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}});
    let (reply, _) = play(&request("?"), &[message]);
    assert_eq!((reply.calls.len(), reply.reasoning.as_str(), reply.finish), (2, "Hm.", Finish::ToolCalls));
    assert_ne!(reply.calls[0].id, reply.calls[1].id);
    let usage = reply.usage.expect("reported");
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), (10, 3, 8));
}

#[test]
fn lines_of_ollama() {
    let mut assembler = Assembler::new(request("?").into(), AssemblerOptions::default());
    for line in [
        json!({"message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": false}),
        // Whole calls, each with index 0, without ids, and once without arguments.
        json!({"message": {"role": "assistant", "content": "", "tool_calls": [{"function": {"index": 0, "name": "diary_read"}}]}, "done": false}),
        json!({"message": {"role": "assistant", "content": "", "tool_calls": [{"function": {"index": 0, "name": "diary_read", "arguments": {"levels": "[\"day\"]"}}}]}, "done": false}),
        json!({"message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop", "prompt_eval_count": 20, "eval_count": 5}),
    ] {
        assembler.ollama(&line).expect("no fault");
    }
    let Some(ChatEvent::Done(reply)) = assembler.finish().pop() else { panic!("an answer at the end") };
    let arguments: Vec<_> = reply.calls.iter().map(|c| c.arguments.clone().map(Value::Object)).collect();
    assert_eq!(arguments, [Ok(json!({})), Ok(json!({"levels": ["day"]}))]);
    assert_eq!((reply.reasoning.as_str(), reply.finish, reply.usage.map(|u| u.prompt_tokens)), ("Hm.", Finish::ToolCalls, Some(20)));
    assert_ne!(reply.calls[0].id, reply.calls[1].id);
}

#[test]
fn usage_on_every_chunk_or_empty_or_in_timings() {
    let with = |usage: Value| json!({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": usage});
    let (reply, _) = play(
        &request("?"),
        &[
            with(json!({"prompt_tokens": 10, "completion_tokens": 1})),
            with(json!({})),
            with(json!(null)),
            with(json!({"prompt_tokens": 10, "completion_tokens": 3})),
            end("stop"),
        ],
    );
    assert_eq!(reply.usage.map(|u| u.completion_tokens), Some(3));
    let (reply, _) = play(&request("?"), &[with(json!({})), end("stop")]);
    assert_eq!(reply.usage, None);
    let mut last = end("stop");
    last["timings"] = json!({"cache_n": 90, "prompt_n": 10, "predicted_n": 5});
    let (reply, _) = play(&request("?"), &[delta(json!({"content": "x"})), last]);
    assert_eq!(reply.usage.map(|u| (u.prompt_tokens, u.cached_tokens)), Some((100, 90)));
}

#[test]
fn errors_inside_a_stream() {
    let mut assembler = Assembler::new(request("?").into(), AssemblerOptions::default());
    let error = assembler.openai(&json!({"error": {"message": "parser exception", "code": 500}})).expect_err("an error");
    assert_eq!(error.code(), "SID-LLM-SERVER-FAULT");
    let error = assembler.openai(&json!({"error": "the request exceeds the available context size"})).expect_err("an error");
    assert_eq!(error.code(), "SID-LLM-CONTEXT-OVERFLOW");
    assert!(assembler.openai(&json!([1, 2])).is_err());
}

#[test]
fn the_number_of_calls_is_bounded() {
    let one = json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"name": "diary_read", "arguments": "{}"}}]}}]});
    let (reply, _) = play(&request("?"), &vec![one; 1_000]);
    assert_eq!(reply.calls.len(), 128);
    let text = "<tool_call>{\"name\": \"diary_read\", \"arguments\": {}}</tool_call>\n".repeat(1_000);
    let (reply, _) = play(&request("?"), &[delta(json!({"content": text})), end("stop")]);
    assert_eq!(reply.calls.len(), 128);
}

#[test]
fn output_is_bounded() {
    let mut assembler = Assembler::new(request("?").into(), AssemblerOptions { max_output_bytes: 100, id_seed: 0 });
    let chunk = delta(json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "x".repeat(60)}}]}));
    assert!(assembler.openai(&chunk).is_ok());
    assert_eq!(assembler.openai(&chunk).expect_err("too much").code(), "SID-LLM-OUTPUT-TOO-LARGE");
}
