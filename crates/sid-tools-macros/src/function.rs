//! From one function to one tool.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::parse::Parser as _;
use syn::{Attribute, Expr, ExprLit, FnArg, ItemFn, Lit, Meta, Pat, PatType, Result, ReturnType, Signature, Type, parse2};

use crate::attribute::Options;

/// `#[tool(..)] async fn`.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut options = Options::default();
    syn::meta::parser(|meta| options.take(&meta)).parse2(attribute)?;
    let mut function: ItemFn = parse2(item)
        .map_err(|e| syn::Error::new(e.span(), "#[tool] belongs on an async function; for methods put #[toolbox] on the `impl` block"))?;
    let tool = Declared::read(options, &function.attrs, &mut function.sig)?;
    let kind = Ident::new(&upper_camel(&function.sig.ident.to_string()), function.sig.ident.span());
    let visibility = &function.vis;
    let about = format!("The tool that calls `{}`.", function.sig.ident);
    let name = &function.sig.ident;
    let expanded = tool.implement(&quote!(#kind), &quote!(#name));
    Ok(quote! {
        #function

        #[doc = #about]
        #[derive(Debug, Clone, Copy, Default)]
        #visibility struct #kind;

        #expanded
    })
}

/// One function or method as it was declared.
pub(crate) struct Declared {
    name: String,
    description: String,
    options: Options,
    /// Parameters in order; `None` stands for the context.
    parameters: Vec<Option<Parameter>>,
    output: Output,
}

struct Parameter {
    name: Ident,
    ty: Type,
    attributes: Vec<Attribute>,
}

enum Output {
    Value,
    Result,
    Outcome,
}

impl Declared {
    /// Reads the signature, and takes what only this attribute understands away from its parameters.
    pub(crate) fn read(options: Options, attributes: &[Attribute], signature: &mut Signature) -> Result<Self> {
        if signature.asyncness.is_none() {
            return Err(syn::Error::new_spanned(signature.fn_token, "a tool is an async function: write `async fn`"));
        }
        if !signature.generics.params.is_empty() {
            return Err(syn::Error::new_spanned(
                &signature.generics,
                "a tool has no generic parameters: its schema must be known; name the types",
            ));
        }
        let description = docs(attributes);
        if description.is_empty() {
            return Err(syn::Error::new_spanned(
                &signature.ident,
                "say what the tool does in a doc comment (`/// ..`): the model chooses by it",
            ));
        }
        let mut parameters = Vec::new();
        for input in &mut signature.inputs {
            match input {
                FnArg::Receiver(_) => {}
                FnArg::Typed(typed) => parameters.push(parameter(typed)?),
            }
        }
        let output = match &signature.output {
            ReturnType::Type(_, ty) => match last_segment(ty).as_deref() {
                Some("Result") => Output::Result,
                Some("ToolOutcome") => Output::Outcome,
                _ => Output::Value,
            },
            ReturnType::Default => Output::Value,
        };
        let name = options.name.as_ref().map_or_else(|| signature.ident.to_string(), syn::LitStr::value);
        Ok(Self { name, description, options, parameters, output })
    }

    /// The implementation of `Tool` for `kind`; `callee` is the function to call.
    pub(crate) fn implement(&self, kind: &TokenStream, callee: &TokenStream) -> TokenStream {
        let Self { name, description, .. } = self;
        let declaration = self.options.declaration();
        let fields = self.parameters.iter().flatten().map(Parameter::field);
        let passed = self.parameters.iter().map(|p| match p {
            Some(Parameter { name, .. }) => quote!(arguments.#name),
            None => quote!(context),
        });
        let call = quote!(#callee(#(#passed),*).await);
        let answer = match self.output {
            Output::Value => quote!(::sid_tools::function::answer(context, #call)),
            Output::Result => quote!(::sid_tools::function::answer_or_error(context, #call)),
            Output::Outcome => call,
        };
        quote! {
            const _: () = {
                use ::sid_tools::function::{async_trait::async_trait, schemars, serde, serde_json, sid_types};

                #[derive(serde::Deserialize, schemars::JsonSchema)]
                #[serde(crate = "::sid_tools::function::serde")]
                #[schemars(crate = "::sid_tools::function::schemars")]
                struct Arguments {
                    #(#fields),*
                }

                #[async_trait]
                impl ::sid_tools::Tool for #kind {
                    fn spec(&self) -> sid_types::ToolSpec {
                        sid_types::ToolSpec {
                            name: ::std::string::String::from(#name),
                            description: ::std::string::String::from(#description),
                            parameters: ::sid_tools::function::schema::<Arguments>(),
                        }
                    }

                    fn effect(&self) -> ::sid_tools::EffectClass {
                        ::sid_tools::Tool::declaration(self).effect
                    }

                    fn declaration(&self) -> ::sid_tools::Declaration {
                        #declaration
                    }

                    async fn call(
                        &self,
                        context: &::sid_tools::ToolContext,
                        arguments: serde_json::Map<::std::string::String, serde_json::Value>,
                    ) -> ::sid_tools::ToolOutcome {
                        #[allow(unused_variables, reason = "a tool may take no arguments")]
                        let arguments: Arguments = match ::sid_tools::function::arguments(arguments) {
                            ::std::result::Result::Ok(arguments) => arguments,
                            ::std::result::Result::Err(outcome) => return outcome,
                        };
                        #answer
                    }
                }
            };
        }
    }
}

impl Parameter {
    /// The parameter as a field. An `Option` may be left out, and its schema is that of what is in it.
    fn field(&self) -> TokenStream {
        let Self { name, ty, attributes } = self;
        match inner_of_option(ty) {
            Some(inner) => {
                let with = quote!(#inner).to_string();
                quote!(#(#attributes)* #[serde(default)] #[schemars(with = #with)] #name: #ty)
            }
            None => quote!(#(#attributes)* #name: #ty),
        }
    }
}

fn parameter(typed: &mut PatType) -> Result<Option<Parameter>> {
    if let Type::Reference(reference) = typed.ty.as_ref() {
        if last_segment(&reference.elem).as_deref() == Some("ToolContext") {
            return Ok(None);
        }
        return Err(syn::Error::new_spanned(
            &typed.ty,
            "an argument comes from JSON and is owned: take `String` for `&str`, `Vec<T>` for `&[T]`; only `&ToolContext` is a reference",
        ));
    }
    let Pat::Ident(name) = typed.pat.as_ref() else {
        return Err(syn::Error::new_spanned(&typed.pat, "give the argument a name: the model sees it"));
    };
    let kept = |a: &Attribute| ["doc", "serde", "schemars"].iter().any(|word| a.path().is_ident(word));
    let attributes = typed.attrs.iter().filter(|a| kept(a)).cloned().collect();
    typed.attrs.retain(|a| !kept(a));
    Ok(Some(Parameter { name: name.ident.clone(), ty: typed.ty.as_ref().clone(), attributes }))
}

/// A doc comment as text: lines of a paragraph are joined, as rustdoc would.
fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|a| match &a.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.trim().split("\n\n").map(|p| p.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

fn last_segment(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
        Type::Group(group) => last_segment(&group.elem),
        _ => None,
    }
}

fn inner_of_option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|s| s.ident == "Option")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(syn::GenericArgument::Type(inner)) => Some(inner),
        _ => None,
    }
}

pub(crate) fn upper_camel(snake: &str) -> String {
    let words = snake.trim_start_matches("r#").split('_').filter(|w| !w.is_empty());
    words.map(|w| w[..1].to_ascii_uppercase() + &w[1..]).collect()
}

/// A name for the type of a method's tool that nobody else has.
pub(crate) fn method_type(owner: &str, method: &Ident) -> Ident {
    format_ident!("{}{}Tool", owner, upper_camel(&method.to_string()), span = Span::call_site())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(attribute: TokenStream, item: TokenStream, words: &str) {
        let error = expand(attribute, item).expect_err("it must not be taken").to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn what_cannot_be_a_tool_is_refused_with_what_to_do() {
        refused(
            quote!(),
            quote!(
                #[doc = "x"]
                fn f() {}
            ),
            "write `async fn`",
        );
        refused(
            quote!(),
            quote!(
                async fn f() {}
            ),
            "doc comment",
        );
        refused(
            quote!(),
            quote!(
                struct F;
            ),
            "#[toolbox]",
        );
        refused(
            quote!(),
            quote!(
                #[doc = "x"]
                async fn f(a: &str) {}
            ),
            "`String` for `&str`",
        );
        refused(
            quote!(),
            quote!(
                #[doc = "x"]
                async fn f((a, b): (u8, u8)) {}
            ),
            "give the argument a name",
        );
        refused(
            quote!(),
            quote!(
                #[doc = "x"]
                async fn f<T>(a: T) {}
            ),
            "no generic parameters",
        );
        refused(
            quote!(reads),
            quote!(
                #[doc = "x"]
                async fn f() {}
            ),
            "`read`, `external`",
        );
        refused(
            quote!(read, idempotent),
            quote!(
                #[doc = "x"]
                async fn f() {}
            ),
            "`read` alone",
        );
        refused(
            quote!(timeout_ms = 0),
            quote!(
                #[doc = "x"]
                async fn f() {}
            ),
            "above 0",
        );
        refused(
            quote!(name = "a b"),
            quote!(
                #[doc = "x"]
                async fn f() {}
            ),
            "1 to 64 characters",
        );
    }

    #[test]
    fn names_become_types() {
        for (snake, camel) in [("add", "Add"), ("order_sandwich", "OrderSandwich"), ("__x_1", "X1"), ("r#type", "Type")] {
            assert_eq!(upper_camel(snake), camel);
        }
    }
}
