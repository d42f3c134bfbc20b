#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod attribute;
mod function;
mod method;

use proc_macro::TokenStream;

/// Makes a tool from an async function: `order_sandwich` stays what it is, and `OrderSandwich` is a type that implements `Tool`.
///
/// The doc comment is the description for the model, doc comments on parameters describe the arguments. Parameters are anything that
/// implements `serde::Deserialize` and `schemars::JsonSchema`; an `Option` may be left out; `#[serde(..)]` and `#[schemars(..)]` on a parameter
/// are kept. One parameter may be `&ToolContext`. The function returns anything that implements `serde::Serialize`, a `Result` of that with
/// an error that is `Display` (the model reads it), or a `ToolOutcome`.
///
/// In the parentheses: `read` (only reads) or `external` (changes something outside: the default), `idempotent` (a second call with the same
/// [token](https://docs.rs/sid-tools) changes nothing more), `timeout_ms = 5_000` (60,000 by default), `name = "order"`,
/// `secrets = ["kitchen_key"]`, `hosts = ["kitchen.example"]`.
#[proc_macro_attribute]
pub fn tool(attribute: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(attribute.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes tools from the methods of an `impl` block that carry `#[tool]`; the block's type implements `Toolbox`.
///
/// Such a method takes `&self`; the rest is as with functions.
#[proc_macro_attribute]
pub fn toolbox(attribute: TokenStream, item: TokenStream) -> TokenStream {
    method::expand(attribute.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
