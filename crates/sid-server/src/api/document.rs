//! The OpenAPI document: what the handlers say of themselves, and what all of them have in common.

use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
    Schema,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::error::Problem;

const ABOUT: &str = "Perpetual agents with paged memory. Every route needs a key: `Authorization: Bearer sid_…` or `X-Api-Key`; \
or a token of a configured issuer. An operator acts inside a tenant with `X-Sid-Tenant` (`default` when left out); operator and \
tenant keys narrow themselves to one user with `X-Sid-User`, and whoever acts for a user to one of its assistants with `X-Sid-Agent`. \
Errors are problem+json with a stable `code`; under `/v1` they have OpenAI's shape.";

const OPENAI: &str = "Agents as OpenAI models. Only the user messages after the last assistant message are taken; system messages \
of the client are ignored. The conversation is `X-Sid-Conversation`, or `metadata.conversation` / `metadata.conversation_id`, or \
`default`; the user is the key's, `X-Sid-User`, the body's `user`, or `default`. Unknown parameters are ignored.";

/// What the routes are added to.
pub(crate) fn blank() -> OpenApi {
    let tag = |name: &str, about: &str| TagBuilder::new().name(name).description(Some(about)).build();
    let mut license = LicenseBuilder::new().name("MIT OR Apache-2.0").build();
    license.identifier = Some("MIT OR Apache-2.0".into());
    let components = ComponentsBuilder::new()
        .schema(Problem::name(), Problem::schema())
        .security_scheme("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()))
        .security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key"))))
        .build();
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Sid").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT)).license(Some(license)).build())
        .components(Some(components))
        .security(Some([SecurityRequirement::new("bearer", [""; 0]), SecurityRequirement::new("apiKey", [""; 0])]))
        .tags(Some([
            tag("tenants", "Customer organisations. Operators only."),
            tag("keys", "API keys."),
            tag("users", "People of a tenant."),
            tag("teams", "Groups of users that share memory."),
            tag("agents", "Agents of a tenant."),
            tag("conversations", "One agent with one human, or with none."),
            tag("messages", "What is said."),
            tag("runs", "The agent's reactions, their steps and events."),
            tag("blocks", "Core memory."),
            tag("passages", "Archival memory."),
            tag("documents", "Texts from outside that are read in parts, searched and cited."),
            tag("search", "Finding memories, the diary, the index."),
            tag("context", "What assistants keep for their user beside conversations: notes, memories, projects, hand-offs, secrets."),
            tag("timers", "What wakes agents by itself, once or again and again."),
            tag("images", "Images that agents had made."),
            tag("webhooks", "Where your application hears of what happens."),
            tag("tools", "Functions that a tenant gives its agents."),
            tag("models", "Configured models."),
            tag("audit", "Who read or wrote whose memory."),
            tag("operations", "Backup, export, embedding generations."),
            tag("openai", OPENAI),
        ]))
        .build()
}

/// A variant of a tagged enum is its struct *and* its tag. Each part is checked for itself, so a struct that forbids whatever it does not know
/// would forbid the tag. The server goes on refusing unknown fields.
fn open_variants(components: &mut Components) {
    let mut names = Vec::new();
    for schema in components.schemas.values() {
        let RefOr::T(Schema::OneOf(variants)) = schema else { continue };
        for variant in &variants.items {
            let RefOr::T(Schema::AllOf(parts)) = variant else { continue };
            names.extend(parts.items.iter().filter_map(|part| match part {
                RefOr::Ref(to) => to.ref_location.rsplit('/').next().map(str::to_owned),
                RefOr::T(_) => None,
            }));
        }
    }
    for name in names {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(&name) {
            object.additional_properties = None;
        }
    }
}

/// Adds to each operation the error answers that it can give.
pub(crate) fn finish(mut document: OpenApi) -> OpenApi {
    if let Some(components) = &mut document.components {
        open_variants(components);
    }
    for (path, item) in &mut document.paths.paths {
        let is_openai = path.starts_with("/v1");
        let has_names = path.contains('{');
        for (changes, operation) in operations(item) {
            let has_body = operation.request_body.is_some();
            let mut statuses =
                vec![("400", "A parameter, header or field does not fit"), ("401", "No valid key"), ("403", "The key may not do this")];
            let parameters = || {
                operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
                    RefOr::T(parameter) => Some(parameter),
                    RefOr::Ref(_) => None,
                })
            };
            let names = |name: &str| parameters().any(|p| p.name == name);
            let has_query = parameters().any(|p| p.parameter_in == ParameterIn::Query);
            if has_names || has_body || has_query {
                statuses.push(("404", "Not found, or not for this caller: the two are never told apart"));
            }
            if changes {
                statuses.push(("409", "It exists already, or something else was first"));
                statuses.push(("507", "No space is left to write"));
            }
            if names("If-Match") {
                statuses.push(("412", "Somebody was faster: it has another version now"));
            }
            if has_body {
                statuses.push(("413", "The body is too large"));
            }
            if changes || names("after") {
                statuses.push(("422", "The request makes no sense, or its idempotency key was used for another one"));
            }
            if path.contains("/secrets") || path.ends_with("/backup") {
                statuses.push(("501", "This server, or its store, cannot do this as it is set up"));
            }
            statuses.push(("429", "Too many requests, or a full queue; see Retry-After"));
            statuses.push(("500", "A fault of the server"));
            if is_openai {
                statuses.push(("502", "The run ended without an answer"));
            }
            statuses.push(("503", "Busy, shutting down, or the store is unavailable; see Retry-After"));
            for (status, about) in statuses {
                operation.responses.responses.entry(status.to_owned()).or_insert_with(|| error_response(about, is_openai).into());
            }
        }
    }
    document
}

/// The operations of a path, each with whether it may change something.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let all = [(false, &mut item.get), (true, &mut item.put), (true, &mut item.post), (true, &mut item.delete), (true, &mut item.patch)];
    all.into_iter().filter_map(|(changes, operation)| Some((changes, operation.as_mut()?)))
}

fn error_response(about: &str, is_openai: bool) -> utoipa::openapi::Response {
    let (kind, content) = if is_openai {
        ("application/json", ContentBuilder::new().build())
    } else {
        ("application/problem+json", ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build())
    };
    ResponseBuilder::new().description(about).content(kind, content).build()
}
