//! What each operation needs: one table. It is enforced before any handler runs, and shown as `docs/access.md`.
//!
//! A route without a row is closed. Whose records a caller sees is not decided here: every store call checks its scope.

use std::collections::HashMap;
use std::fmt::Write as _;

use axum::extract::MatchedPath;
use axum::http::{HeaderValue, Method, header};
use sid_types::{AccessRole, Permission};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};

use crate::auth::{Caller, Permissions};
use crate::error::{ApiCode, ApiError};

/// As whom somebody acts, from the least reach to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// An assistant of one user.
    Agent,
    /// One user.
    User,
    /// A tenant's application.
    Tenant,
    /// Who looks after the server.
    Operator,
}

impl Level {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Tenant => "tenant",
            Self::Operator => "operator",
        }
    }
}

/// Whose data an operation touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Nobody's: the server itself, or counts.
    Nobody,
    /// The tenant's: names and settings, no memory.
    Tenant,
    /// Nobody's memory, but the way to it.
    Keys,
    /// Memory of everybody whom the caller sees.
    Seen,
    /// Memory of the owner that the request names.
    Named,
    /// Memory of the owner of what the path names.
    OwnerOf(&'static str),
    /// Memory of all tenants.
    All,
}

impl Whose {
    fn words(self) -> String {
        match self {
            Self::Nobody => "none".into(),
            Self::Tenant => "tenant".into(),
            Self::Keys => "keys".into(),
            Self::Seen => "whom the caller sees".into(),
            Self::Named => "the owner that the request names".into(),
            Self::OwnerOf(what) => format!("owner of {what}"),
            Self::All => "all tenants".into(),
        }
    }
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The operation, as in the OpenAPI document.
    pub(crate) operation: &'static str,
    /// One of these is needed.
    any_of: &'static [Permission],
    /// The least reach that it is open to.
    from: Level,
    whose: Whose,
}

const fn row(operation: &'static str, any_of: &'static [Permission], from: Level, whose: Whose) -> Rule {
    Rule { operation, any_of, from, whose }
}

/// The table, by resource.
const RULES: &[Rule] = {
    use Level::{Agent, Operator, Tenant, User};
    use Permission::{
        AuditRead, Chat, ContextDecide, ContextRead, ContextWrite, DirectoryRead, DirectoryWrite, Erase, Export, KeysManage, MemoryRead,
        MemoryWrite, Operate, SecretsReveal,
    };
    use Whose::{All, Keys, Named, Nobody, OwnerOf, Seen};
    const CONVERSATION: Whose = OwnerOf("conversation {id}");
    const RUN: Whose = OwnerOf("run {id}");
    const TIMER: Whose = OwnerOf("timer {id}");
    const IMAGE: Whose = OwnerOf("image {id}");
    const BLOCK: Whose = OwnerOf("block {id}");
    const PASSAGE: Whose = OwnerOf("passage {id}");
    const DOCUMENT: Whose = OwnerOf("document {id}");
    const APPROVAL: Whose = OwnerOf("approval {id}");
    const ITEM: Whose = OwnerOf("item {id}");
    const TASK: Whose = OwnerOf("task {id}");
    const HANDOFF: Whose = OwnerOf("hand-off {id}");
    const PROPOSAL: Whose = OwnerOf("proposal {id}");
    &[
        row("list_tenants", &[Operate], Operator, Nobody),
        row("create_tenant", &[Operate], Operator, Nobody),
        row("get_tenant_limits", &[Operate], Operator, Whose::Tenant),
        row("set_tenant_limits", &[Operate], Operator, Whose::Tenant),
        row("list_keys", &[KeysManage], User, Keys),
        row("create_key", &[KeysManage], User, Keys),
        row("rotate_key", &[KeysManage], User, Keys),
        row("revoke_key", &[KeysManage], User, Keys),
        row("list_users", &[DirectoryRead], Agent, Whose::Tenant),
        row("create_user", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("get_user", &[DirectoryRead], Agent, Whose::Tenant),
        row("update_user", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("erase_user", &[Erase], Tenant, OwnerOf("user {id}")),
        row("list_teams", &[DirectoryRead], Agent, Whose::Tenant),
        row("create_team", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("get_team", &[DirectoryRead], Agent, Whose::Tenant),
        row("list_team_members", &[DirectoryRead], Agent, Whose::Tenant),
        row("add_team_member", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("remove_team_member", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("list_agents", &[DirectoryRead], Agent, Whose::Tenant),
        row("create_agent", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("get_agent", &[DirectoryRead], Agent, Whose::Tenant),
        row("update_agent", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("list_egos", &[DirectoryRead], Agent, Whose::Tenant),
        row("get_ego", &[DirectoryRead], Agent, Whose::Tenant),
        row("put_ego", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("drop_ego", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("list_toolsets", &[DirectoryRead], Tenant, Whose::Tenant),
        row("get_toolset", &[DirectoryRead], Tenant, Whose::Tenant),
        row("put_toolset", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("drop_toolset", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("get_login", &[ContextRead], User, Named),
        row("begin_login", &[ContextWrite], User, Named),
        row("confirm_login", &[ContextWrite], User, Named),
        row("forget_login", &[ContextWrite], User, Named),
        row("erase_agent", &[Erase], Tenant, OwnerOf("agent {id}, and all who met it")),
        row("list_conversations", &[Chat, MemoryRead], Agent, Seen),
        row("open_conversation", &[Chat], Agent, Named),
        row("get_conversation", &[Chat, MemoryRead], Agent, CONVERSATION),
        row("erase_conversation", &[Erase], User, CONVERSATION),
        row("get_context", &[MemoryRead], Agent, CONVERSATION),
        row("list_messages", &[MemoryRead], Agent, CONVERSATION),
        row("send_message", &[Chat], Agent, CONVERSATION),
        row("import_messages", &[MemoryWrite], User, CONVERSATION),
        row("list_runs", &[Chat, MemoryRead], Agent, CONVERSATION),
        row("get_run", &[Chat, MemoryRead], Agent, RUN),
        row("list_run_steps", &[Chat, MemoryRead], Agent, RUN),
        row("get_run_events", &[Chat, MemoryRead], Agent, RUN),
        row("cancel_run", &[Chat], Agent, RUN),
        row("list_approvals", &[Chat, MemoryRead], Agent, Seen),
        row("get_approval", &[Chat, MemoryRead], Agent, APPROVAL),
        row("decide_approval", &[ContextDecide], User, APPROVAL),
        row("list_sources", &[MemoryRead], Tenant, Seen),
        row("undo_source", &[Erase], Tenant, Seen),
        row("set_heartrate", &[Chat], Agent, Named),
        row("list_timers", &[Chat, MemoryRead], Agent, Seen),
        row("create_timer", &[Chat], Agent, Named),
        row("get_timer", &[Chat, MemoryRead], Agent, TIMER),
        row("change_timer", &[Chat], Agent, TIMER),
        row("delete_timer", &[Chat], Agent, TIMER),
        row("list_images", &[Chat, MemoryRead], Agent, Seen),
        row("get_image", &[Chat, MemoryRead], Agent, IMAGE),
        row("delete_image", &[Erase], User, IMAGE),
        row("list_blocks", &[MemoryRead], Agent, Named),
        row("create_block", &[MemoryWrite], User, Named),
        row("get_block", &[MemoryRead], Agent, BLOCK),
        row("edit_block", &[MemoryWrite], Agent, BLOCK),
        row("get_block_history", &[MemoryRead], Agent, BLOCK),
        row("undo_block", &[MemoryWrite], Agent, BLOCK),
        row("link_block", &[MemoryWrite], User, BLOCK),
        row("unlink_block", &[MemoryWrite], User, BLOCK),
        row("list_passages", &[MemoryRead], Agent, Named),
        row("create_passage", &[MemoryWrite], Agent, Named),
        row("get_passage", &[MemoryRead], Agent, PASSAGE),
        row("delete_passage", &[MemoryWrite], Agent, PASSAGE),
        row("add_document", &[MemoryWrite], Agent, Named),
        row("list_documents", &[MemoryRead], Agent, Seen),
        row("search_documents", &[MemoryRead], Agent, Seen),
        row("describe_document", &[MemoryRead], Agent, DOCUMENT),
        row("replace_document", &[MemoryWrite], Agent, DOCUMENT),
        row("read_document", &[MemoryRead], Agent, DOCUMENT),
        row("download_document", &[MemoryRead], Agent, DOCUMENT),
        row("remove_document", &[MemoryWrite], Agent, DOCUMENT),
        row("get_drive", &[MemoryRead], User, Seen),
        row("connect_drive", &[MemoryWrite], User, Seen),
        row("finish_drive", &[MemoryWrite], User, Seen),
        row("disconnect_drive", &[MemoryWrite], User, Seen),
        row("search_drive", &[MemoryRead], User, Seen),
        row("import_drive_file", &[MemoryWrite], User, Named),
        row("create_task", &[Chat], Agent, Named),
        row("list_tasks", &[Chat, MemoryRead], Agent, Seen),
        row("get_task", &[Chat, MemoryRead], Agent, TASK),
        row("plan_task", &[Chat], Agent, TASK),
        row("answer_task", &[Chat], Agent, TASK),
        row("cancel_task", &[Chat], Agent, TASK),
        row("list_webhooks", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("create_webhook", &[DirectoryWrite], Tenant, Seen),
        row("get_webhook", &[DirectoryWrite], Tenant, Whose::Tenant),
        row("change_webhook", &[DirectoryWrite], Tenant, Seen),
        row("delete_webhook", &[DirectoryWrite], Tenant, Seen),
        row("rotate_webhook", &[DirectoryWrite], Tenant, Seen),
        row("test_webhook", &[DirectoryWrite], Tenant, Seen),
        row("list_deliveries", &[DirectoryWrite], Tenant, Seen),
        row("get_delivery", &[DirectoryWrite], Tenant, Seen),
        row("redeliver", &[DirectoryWrite], Tenant, Seen),
        row("search_memory", &[MemoryRead], Agent, Seen),
        row("read_diary", &[MemoryRead], Agent, Named),
        row("get_index", &[MemoryRead], Agent, Nobody),
        row("get_overview", &[ContextRead], Agent, Seen),
        row("get_time", &[ContextRead], Agent, Seen),
        row("begin_session", &[ContextWrite], Agent, Seen),
        row("make_item", &[ContextWrite], Agent, Named),
        row("list_items", &[ContextRead], Agent, Named),
        row("get_item", &[ContextRead], Agent, ITEM),
        row("change_item", &[ContextWrite], Agent, ITEM),
        row("delete_item", &[ContextWrite], Agent, ITEM),
        row("get_document", &[ContextRead], Agent, ITEM),
        row("compact_hints", &[ContextWrite], Agent, ITEM),
        row("search_items", &[ContextRead], Agent, Seen),
        row("list_shares", &[ContextDecide], User, ITEM),
        row("share_item", &[ContextDecide], User, ITEM),
        row("unshare_item", &[ContextDecide], User, ITEM),
        row("make_handoff", &[ContextWrite], Agent, Seen),
        row("list_handoffs", &[ContextRead], Agent, Seen),
        row("claim_handoff", &[ContextWrite], Agent, HANDOFF),
        row("finish_handoff", &[ContextWrite], Agent, HANDOFF),
        row("return_handoff", &[ContextWrite], Agent, HANDOFF),
        row("withdraw_handoff", &[ContextWrite], Agent, HANDOFF),
        row("approve_proposal", &[ContextDecide], User, PROPOSAL),
        row("reject_proposal", &[ContextDecide], User, PROPOSAL),
        row("list_secrets", &[ContextRead], Agent, Named),
        row("put_secret", &[ContextWrite], Agent, Named),
        row("delete_secret", &[ContextWrite], Agent, Named),
        row("reveal_secret", &[SecretsReveal], Agent, Named),
        row("rewrap_secrets", &[Operate], Operator, Nobody),
        row("export_data", &[Export], User, Seen),
        row("list_audit", &[AuditRead], User, Seen),
        row("list_configured_models", &[DirectoryRead], Agent, Nobody),
        row("probe_model", &[Operate], Operator, Nobody),
        row("backup_store", &[Operate], Operator, All),
        row("list_generations", &[Operate], Operator, Nobody),
        row("drop_old_generations", &[Operate], Operator, Nobody),
        row("openai_list_models", &[Chat, DirectoryRead], Agent, Whose::Tenant),
        row("openai_get_model", &[Chat, DirectoryRead], Agent, Whose::Tenant),
        row("openai_chat_completions", &[Chat], Agent, Named),
    ]
};

/// Routes that need a key and are not in the OpenAPI document, with the same rule for all of their methods.
const UNDOCUMENTED: &[(&str, Rule)] = &[
    // Each of its calls is an operation with a rule of its own.
    ("/mcp", row("mcp", &Permission::ALL, Level::Agent, Whose::Nobody)),
    // Without a key where `server.public_metrics` or the machine's own address says so; else with any.
    ("/metrics", row("read_metrics", &Permission::ALL, Level::Agent, Whose::Nobody)),
];

impl Rule {
    fn of(operation: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.operation == operation)
    }

    /// Whether a request of this kind reads or writes memory of people, or opens the way to it, and so is in the audit log.
    pub(crate) const fn is_audited(&self) -> bool {
        !matches!(self.whose, Whose::Nobody | Whose::Tenant)
    }

    /// Lets the caller pass, or says what is missing.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<(), ApiError> {
        if caller.level() < self.from {
            return Err(ApiError::forbidden(match self.from {
                Level::Operator => "only an operator key may do this",
                Level::Tenant => "only a tenant or operator key may do this",
                Level::User | Level::Agent => "an assistant may not do this: use a key of its user",
            }));
        }
        if self.any_of.iter().any(|permission| caller.may(*permission)) {
            return Ok(());
        }
        let names: Vec<&str> = self.any_of.iter().map(|p| p.as_str()).collect();
        let detail = format!("this needs the permission `{}`, which the role and scopes of this key do not give", names.join("` or `"));
        let scopes: Vec<String> = names.iter().map(|n| format!("sid:{n}")).collect();
        let challenge = format!("Bearer realm=\"sid\", error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" "));
        let error = ApiError::forbidden(detail);
        Err(match HeaderValue::from_str(&challenge) {
            Ok(value) => error.header(header::WWW_AUTHENTICATE, value),
            Err(_) => error,
        })
    }
}

/// The table by method and path.
pub(crate) struct Gate(HashMap<String, Vec<(Method, &'static Rule)>>);

impl Gate {
    /// For all operations of the document that the table has; the others stay closed.
    pub(crate) fn new(document: &OpenApi) -> Self {
        let mut paths: HashMap<String, Vec<_>> = HashMap::new();
        for (path, method, operation) in operations(document) {
            if let Some(rule) = operation.operation_id.as_deref().and_then(Rule::of) {
                paths.entry(path.to_owned()).or_default().push((method, rule));
            }
        }
        Self(paths)
    }

    /// The rule of a request; `Ok(None)` where there is no such route.
    pub(crate) fn rule(&self, method: &Method, path: Option<&MatchedPath>) -> Result<Option<&'static Rule>, ApiError> {
        let Some(path) = path.map(MatchedPath::as_str) else { return Ok(None) };
        if let Some((_, rule)) = UNDOCUMENTED.iter().find(|(known, _)| *known == path) {
            return Ok(Some(rule));
        }
        let closed = || ApiError::new(ApiCode::NoRoute, format!("{path} is not open to anybody: it has no row in the access table"));
        let methods = self.0.get(path).ok_or_else(closed)?;
        // What answers GET answers HEAD.
        let get = Method::GET;
        let wanted = if method == Method::HEAD { &get } else { method };
        match methods.iter().find(|(known, _)| known == wanted) {
            Some((_, rule)) => Ok(Some(rule)),
            None => {
                let known: Vec<&str> = methods.iter().map(|(m, _)| m.as_str()).collect();
                let error = ApiError::new(ApiCode::Method, format!("{method} is not a method of {path}"));
                Err(HeaderValue::from_str(&known.join(",")).map(|known| error.clone().header(header::ALLOW, known)).unwrap_or(error))
            }
        }
    }
}

/// Every operation of the document with its path and method.
fn operations(document: &OpenApi) -> impl Iterator<Item = (&str, Method, &Operation)> {
    document.paths.paths.iter().flat_map(|(path, item)| {
        let PathItem { get, put, post, delete, patch, .. } = item;
        let all = [(Method::GET, get), (Method::PUT, put), (Method::POST, post), (Method::DELETE, delete), (Method::PATCH, patch)];
        all.into_iter().filter_map(move |(method, operation)| Some((path.as_str(), method, operation.as_ref()?)))
    })
}

/// What `docs/access.md` holds.
pub(crate) fn page(document: &OpenApi) -> String {
    let mut out = String::from(concat!(
        "# Who may do what\n\n",
        "Generated by `cargo xtask gen`; do not edit. [identity.md](identity.md) says how keys, tokens and roles are set up.\n\n",
        "A request passes when three things hold: it comes from a reach that is wide enough (agent < user < tenant < operator), the role of its\n",
        "key or token gives the permission and no scope takes it away, and the store finds that the caller may see or change the very record. A\n",
        "record that the caller may not see answers 404, as one that does not exist.\n\n",
        "## Roles and their permissions\n\n| permission |",
    ));
    let yes = |holds: bool| if holds { " yes |" } else { " |" };
    for role in AccessRole::ALL {
        let _ = write!(out, " {} |", role.as_str());
    }
    out.push_str(" operator |\n| --- |");
    out.push_str(&" --- |".repeat(AccessRole::ALL.len() + 1));
    out.push('\n');
    for permission in Permission::ALL {
        let _ = write!(out, "| `{}` |", permission.as_str());
        for role in AccessRole::ALL {
            out.push_str(yes(role.may(permission)));
        }
        out.push_str(yes(Permissions::of_operator(AccessRole::Owner).has(permission)));
        out.push('\n');
    }
    out.push_str(concat!(
        "\nThe last column is an operator key with the role `owner`, which is the usual one; with `admin` it has `operate` too, with others not.\n",
        "Keys that name no role have `owner` (operator, tenant), `member` (user) or `agent` (agent). Who narrows itself to a user has at most what\n",
        "`member` has, who narrows itself to an assistant at most what `agent` has.\n\n",
        "## Operations\n\n",
        "| operation | route | permission | from | whose data | audited |\n| --- | --- | --- | --- | --- | --- |\n",
    ));
    let routes: HashMap<&str, (Method, &str)> =
        operations(document).filter_map(|(path, method, o)| Some((o.operation_id.as_deref()?, (method, path)))).collect();
    for rule in RULES {
        let Some((method, path)) = routes.get(rule.operation) else { continue };
        let any: Vec<String> = rule.any_of.iter().map(|p| format!("`{}`", p.as_str())).collect();
        let _ = writeln!(
            out,
            "| `{}` | {method} `{path}` | {} | {} | {} |{}",
            rule.operation,
            any.join(" or "),
            rule.from.as_str(),
            rule.whose.words(),
            yes(rule.is_audited()),
        );
    }
    out.push_str("\nEvery refusal (403, and 401 with a key that is over) is in the audit log too, whatever it was about.\n");
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> OpenApi {
        crate::app::document()
    }

    #[test]
    fn table_and_document_name_the_same_operations() {
        let document = document();
        let documented: BTreeSet<&str> = operations(&document).filter_map(|(_, _, o)| o.operation_id.as_deref()).collect();
        let listed: BTreeSet<&str> = RULES.iter().map(|r| r.operation).collect();
        assert_eq!(documented.difference(&listed).collect::<Vec<_>>(), Vec::<&&str>::new(), "operations without a rule");
        assert_eq!(listed.difference(&documented).collect::<Vec<_>>(), Vec::<&&str>::new(), "rules without an operation");
        assert_eq!(listed.len(), RULES.len(), "an operation stands twice");
        assert!(listed.len() > 55);
    }

    #[test]
    fn every_documented_route_has_its_rule_at_the_gate() {
        let document = document();
        let gate = Gate::new(&document);
        for (path, method, operation) in operations(&document) {
            let rules = gate.0.get(path).unwrap_or_else(|| panic!("{path} is closed"));
            let rule = rules.iter().find(|(m, _)| *m == method).unwrap_or_else(|| panic!("{method} {path} is closed"));
            assert_eq!(Some(rule.1.operation), operation.operation_id.as_deref());
        }
    }

    #[test]
    fn each_rule_can_be_met_and_operating_is_for_operators() {
        for rule in RULES {
            assert!(!rule.any_of.is_empty(), "{}", rule.operation);
            let operates = rule.any_of.contains(&Permission::Operate);
            assert_eq!(operates, rule.from == Level::Operator, "{}", rule.operation);
            // The usual role at the least level that it is open to must not be shut out, but for what owners alone do.
            let usual = match rule.from {
                // An assistant may be given it, and does not have it by itself.
                Level::Agent if rule.any_of == [Permission::SecretsReveal] => AccessRole::Member,
                Level::Agent => AccessRole::Agent,
                Level::User if rule.any_of == [Permission::KeysManage] => AccessRole::Owner,
                Level::User => AccessRole::Member,
                Level::Tenant => AccessRole::Owner,
                Level::Operator => continue,
            };
            assert!(rule.any_of.iter().any(|p| usual.may(*p)), "{}", rule.operation);
        }
    }

    #[test]
    fn what_only_looks_changes_nothing() {
        let document = document();
        for (_, method, operation) in operations(&document) {
            let rule = operation.operation_id.as_deref().and_then(Rule::of).expect("listed");
            let can_look = rule.any_of.iter().any(|p| AccessRole::ReadOnly.may(*p));
            let is_search = rule.operation.starts_with("search_");
            assert!(method == Method::GET || !can_look || is_search, "{}", rule.operation);
        }
    }

    #[test]
    fn the_page_shows_every_rule() {
        let page = page(&document());
        for rule in RULES {
            assert!(page.contains(&format!("| `{}` |", rule.operation)), "{}", rule.operation);
        }
    }
}
