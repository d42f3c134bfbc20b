//! From the methods of an `impl` block to the tools of a box.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, ImplItem, ItemImpl, Result, Type, parse2};

use crate::attribute::Options;
use crate::function::{Declared, method_type};

/// `#[toolbox] impl Kitchen { #[tool] async fn .. }`.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(syn::Error::new_spanned(attribute, "#[toolbox] takes no options: they belong to each `#[tool(..)]`"));
    }
    let mut block: ItemImpl = parse2(item).map_err(|e| syn::Error::new(e.span(), "#[toolbox] belongs on an `impl` block"))?;
    let owner = block.self_ty.clone();
    let Type::Path(path) = owner.as_ref() else {
        return Err(syn::Error::new_spanned(&owner, "#[toolbox] belongs on the `impl` block of a named type"));
    };
    if !block.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(&block.generics, "a toolbox has no generic parameters: write the block for one type"));
    }
    let owner_name = path.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
    let mut kinds = Vec::new();
    let mut tools = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        let Some(at) = method.attrs.iter().position(|a| a.path().is_ident("tool")) else { continue };
        let attribute = method.attrs.remove(at);
        let mut options = Options::default();
        if !matches!(attribute.meta, syn::Meta::Path(_)) {
            attribute.parse_nested_meta(|meta| options.take(&meta))?;
        }
        match method.sig.inputs.first() {
            Some(FnArg::Receiver(receiver)) if receiver.reference.is_some() && receiver.mutability.is_none() => {}
            _ => {
                return Err(syn::Error::new_spanned(
                    &method.sig,
                    "a tool's method takes `&self`: calls run at the same time; put what changes behind a lock",
                ));
            }
        }
        let tool = Declared::read(options, &method.attrs, &mut method.sig)?;
        let kind = method_type(&owner_name, &method.sig.ident);
        let name = &method.sig.ident;
        tools.push(tool.implement(&quote!(#kind), &quote!(self.0.#name)));
        kinds.push(kind);
    }
    if kinds.is_empty() {
        return Err(syn::Error::new_spanned(&owner, "no method of this block carries `#[tool]`"));
    }
    Ok(quote! {
        #block

        const _: () = {
            #(struct #kinds(::std::sync::Arc<#owner>);)*

            impl ::sid_tools::Toolbox for #owner {
                fn tools(self: ::std::sync::Arc<Self>) -> ::std::vec::Vec<::std::sync::Arc<dyn ::sid_tools::Tool>> {
                    ::std::vec![#(::std::sync::Arc::new(#kinds(::std::sync::Arc::clone(&self)))),*]
                }
            }

            #(#tools)*
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(item: TokenStream, words: &str) {
        let error = expand(TokenStream::new(), item).expect_err("it must not be taken").to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn what_cannot_be_a_toolbox_is_refused_with_what_to_do() {
        refused(quote!(impl A { async fn f(&self) {} }), "carries `#[tool]`");
        refused(quote!(impl A { #[tool] #[doc = "x"] async fn f(&mut self) {} }), "behind a lock");
        refused(quote!(impl A { #[tool] #[doc = "x"] async fn f() {} }), "takes `&self`");
        refused(
            quote!(
                impl<T> A<T> {
                    #[tool]
                    #[doc = "x"]
                    async fn f(&self) {}
                }
            ),
            "for one type",
        );
        refused(
            quote!(
                struct A;
            ),
            "`impl` block",
        );
    }
}
