#![no_main]

#[path = "../bodies/tool_calls.rs"]
mod tool_calls;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tool_calls::check(data));
