//! What stands in the parentheses of `#[tool(..)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Lit, LitStr, Result, Token, bracketed};

/// The options of one tool.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    is_read: bool,
    is_external: bool,
    is_idempotent: bool,
    timeout_ms: Option<u64>,
    secrets: Vec<LitStr>,
    hosts: Vec<LitStr>,
}

impl Options {
    /// Takes up one option.
    pub(crate) fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let Some(word) = meta.path.get_ident() else { return Err(meta.error(KNOWN)) };
        match word.to_string().as_str() {
            "read" => self.is_read = true,
            "external" => self.is_external = true,
            "idempotent" => self.is_idempotent = true,
            "timeout_ms" => self.timeout_ms = Some(number(meta)?),
            "name" => self.name = Some(name(meta)?),
            "secrets" => self.secrets = list(meta)?,
            "hosts" => self.hosts = list(meta)?,
            _ => return Err(meta.error(KNOWN)),
        }
        if self.is_read && (self.is_external || self.is_idempotent) {
            return Err(meta.error("a tool that only reads is `read` alone: write `read`, or `external`, or `external, idempotent`"));
        }
        Ok(())
    }

    /// The declaration as an expression.
    pub(crate) fn declaration(&self) -> TokenStream {
        let idempotent = self.is_idempotent;
        let effect = if self.is_read {
            quote!(::sid_tools::EffectClass::Read)
        } else {
            quote!(::sid_tools::EffectClass::External { idempotent: #idempotent })
        };
        let timeout = match self.timeout_ms {
            Some(ms) => quote!(::std::time::Duration::from_millis(#ms)),
            None => quote!(::sid_tools::Declaration::TIMEOUT),
        };
        let (secrets, hosts) = (&self.secrets, &self.hosts);
        quote! {
            ::sid_tools::Declaration {
                timeout: #timeout,
                secrets: ::std::vec![#(::std::string::String::from(#secrets)),*],
                hosts: ::std::vec![#(::std::string::String::from(#hosts)),*],
                ..::sid_tools::Declaration::new(#effect)
            }
        }
    }
}

const KNOWN: &str =
    "options of a tool: `read`, `external`, `idempotent`, `timeout_ms = 5_000`, `name = \"..\"`, `secrets = [\"..\"]`, `hosts = [\"..\"]`";

fn number(meta: &ParseNestedMeta<'_>) -> Result<u64> {
    match meta.value()?.parse::<Lit>()? {
        Lit::Int(n) if n.base10_parse::<u64>()? > 0 => n.base10_parse(),
        other => Err(syn::Error::new(other.span(), "a whole number of milliseconds above 0, like `timeout_ms = 5_000`")),
    }
}

fn name(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let name: LitStr = meta.value()?.parse()?;
    let text = name.value();
    let is_fine = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_fine { Ok(name) } else { Err(syn::Error::new(name.span(), "a tool's name has 1 to 64 characters of a-z, A-Z, 0-9, _ and -")) }
}

fn list(meta: &ParseNestedMeta<'_>) -> Result<Vec<LitStr>> {
    let input = meta.value()?;
    let inner;
    bracketed!(inner in input);
    Ok(inner.parse_terminated(|p| p.parse::<LitStr>(), Token![,])?.into_iter().collect())
}
