#![no_main]

#[path = "../bodies/filters.rs"]
mod filters;

libfuzzer_sys::fuzz_target!(|data: &[u8]| filters::check(data));
