#![no_main]

#[path = "../bodies/url_guard.rs"]
mod url_guard;

libfuzzer_sys::fuzz_target!(|data: &[u8]| url_guard::check(data));
