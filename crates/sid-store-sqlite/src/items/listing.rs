//! Lists of items: the newest of each kind by an index, then the newest of these, then their rows. What a list leaves out is not read.

use sid_store::{Below, ItemFilter, Page, PageRequest, SeenItem, StoreError, Whose};
use sid_types::{ItemId, ItemKind, UserId};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, Encode, Sqlite, Type};

use super::rows::{HEAD, Levels, SHARED, seen, sharee};
use super::writing::tag_line;
use crate::codec::Id;
use crate::directory;
use crate::error::{Result, missing};
use crate::paging::Cursor;
use crate::visibility::{Viewer, columns};

/// A statement with numbered parameters.
struct Asking {
    arguments: SqliteArguments,
    bound: usize,
}

impl Asking {
    /// ?1, ?2 and ?3 are those of [`SHARED`].
    fn begin(viewer: &Viewer) -> Self {
        let (user, agent) = sharee(viewer);
        let mut asking = Self { arguments: SqliteArguments::default(), bound: 0 };
        asking.bind(viewer.tenant);
        asking.bind(user.map(Id::blob));
        asking.bind(agent.map(Id::blob));
        asking
    }

    /// Answers how the value is named in the statement.
    fn bind<'v, T: Encode<'v, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> String {
        self.arguments.add(value).expect("numbers, texts and blobs can be bound");
        self.bound += 1;
        format!("?{}", self.bound)
    }
}

pub(super) async fn list(
    conn: &mut SqliteConnection,
    viewer: &Viewer,
    filter: &ItemFilter,
    page: &PageRequest,
) -> Result<Page<SeenItem>, StoreError> {
    let cursor = Cursor::descending::<ItemId>(page)?;
    let mut asking = Asking::begin(viewer);
    let place = place(conn, viewer, filter, &mut asking).await?;
    let mut conditions = String::new();
    if filter.below == Some(Below::Tops) {
        conditions.push_str(" AND x.parent IS NULL");
    }
    let (at, id) = (asking.bind(cursor.at), asking.bind(cursor.id.clone()));
    conditions.push_str(&format!(" AND (x.updated_at, x.id) < ({at}, {id})"));
    if let Some(tag) = &filter.tag {
        let line = asking.bind(tag_line(tag)?);
        conditions.push_str(&format!(" AND instr(x.tags, {line}) > 0"));
    }
    if !filter.states.is_empty() {
        let states: Vec<String> = filter.states.iter().map(|state| asking.bind(state.clone())).collect();
        conditions.push_str(&format!(" AND x.state IN ({})", states.join(", ")));
    }
    if let Some(recipient) = filter.recipient {
        let recipient = asking.bind(recipient.blob());
        conditions.push_str(&format!(" AND x.recipient = {recipient}"));
    }
    let limit = asking.bind(cursor.fetch());
    let newest = |from: &str, kinds: &str| {
        format!(
            "SELECT * FROM (SELECT x.item, x.updated_at, x.id FROM {from}{kinds}{conditions} ORDER BY x.updated_at DESC, x.id DESC LIMIT {limit})"
        )
    };
    let names = |kinds: &[ItemKind]| kinds.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ");
    let found = match &place {
        // In an index of kinds each is read from its newest end.
        Place::ByKind(from) => {
            let kinds = ItemKind::ALL.into_iter().filter(|kind| filter.kinds.is_empty() || filter.kinds.contains(kind));
            let each: Vec<String> = kinds.map(|kind| newest(from, &format!(" AND x.kind = '{kind}'"))).collect();
            each.join(" UNION ALL ")
        }
        Place::Small(from) if filter.kinds.is_empty() => newest(from, ""),
        Place::Small(from) => newest(from, &format!(" AND x.kind IN ({})", names(&filter.kinds))),
    };
    let body = if filter.bodies { "i.body" } else { "''" };
    let sql = format!(
        "SELECT {HEAD}, {body}, {SHARED} FROM ({found} ORDER BY 2 DESC, 3 DESC LIMIT {limit}) f CROSS JOIN items i ON i.item = f.item
         ORDER BY f.updated_at DESC, f.id DESC"
    );
    let query = sqlx::query_with(sqlx::AssertSqlSafe(sql), asking.arguments);
    let rows = query.fetch_all(&mut *conn).await.map_err(crate::error::Fault::Sql)?;
    let items = Levels::default().apply(conn, viewer, &rows).await?;
    Ok(cursor.page(items, |seen| (seen.item.updated_at, seen.item.id)))
}

/// Where items are looked for: a table with the beginning of its conditions.
enum Place {
    /// Through an index that leads from the owner to the kind.
    ByKind(String),
    /// Through one that leads to all kinds at once.
    Small(String),
}

/// Checks that the viewer may look there.
async fn place(conn: &mut SqliteConnection, viewer: &Viewer, filter: &ItemFilter, asking: &mut Asking) -> Result<Place, StoreError> {
    match filter.below {
        Some(Below::Parent(parent)) => {
            seen(conn, viewer, parent).await?;
            let parent = asking.bind(parent.blob());
            return Ok(Place::Small(format!("items x INDEXED BY items_by_parent WHERE x.tenant = ?1 AND x.parent = {parent}")));
        }
        Some(Below::Tree(item)) => {
            let root = seen(conn, viewer, item).await?.item.root;
            let root = asking.bind(root.blob());
            return Ok(Place::Small(format!("items x INDEXED BY items_by_tree WHERE x.tenant = ?1 AND x.root = {root}")));
        }
        Some(Below::Tops) | None => {}
    }
    match filter.whose {
        Whose::User(user) => {
            check_human(conn, viewer, user).await?;
            let user = asking.bind(user.blob());
            Ok(if filter.recipient.is_some() {
                Place::Small(format!("items x INDEXED BY items_by_recipient WHERE x.tenant = ?1 AND x.of_user = {user}"))
            } else {
                Place::ByKind(format!("items x INDEXED BY items_by_user WHERE x.tenant = ?1 AND x.of_user = {user}"))
            })
        }
        Whose::Owner(owner) => {
            if viewer.item_level(conn, owner).await?.is_none() {
                return Err(missing("owner"));
            }
            let (kind, a, b) = columns(owner);
            let (kind, a, b) = (asking.bind(kind), asking.bind(a), asking.bind(b));
            Ok(Place::ByKind(format!(
                "items x INDEXED BY items_by_owner WHERE x.tenant = ?1 AND x.owner_kind = {kind} AND x.a = {a} AND x.b = {b}"
            )))
        }
        Whose::Everybody if viewer.scope.is_tenant_wide() => {
            Ok(Place::ByKind("items x INDEXED BY items_by_kind WHERE x.tenant = ?1".into()))
        }
        Whose::Everybody => Err(missing("tenant")),
        Whose::SharedWith(user) => {
            check_human(conn, viewer, user).await?;
            let user = asking.bind(user.blob());
            Ok(Place::Small(format!(
                "items x WHERE x.tenant = ?1 AND x.of_user IS NOT {user} AND x.id IN (
                    SELECT s.root FROM item_shares s WHERE s.tenant = ?1 AND s.with_kind = 0 AND s.with_id = {user}
                    UNION SELECT s.root FROM team_members m CROSS JOIN item_shares s ON s.tenant = ?1 AND s.with_kind = 1 AND s.with_id = m.team
                        WHERE m.tenant = ?1 AND m.user = {user} AND (?3 IS NULL OR EXISTS (
                            SELECT 1 FROM agent_teams g WHERE g.tenant = ?1 AND g.agent = ?3 AND g.team = m.team)))"
            )))
        }
    }
}

/// Items are listed for the user whom the scope stands for, or by the application.
async fn check_human(conn: &mut SqliteConnection, viewer: &Viewer, user: UserId) -> Result<(), StoreError> {
    let may = viewer.scope.is_tenant_wide() || viewer.scope.user() == Some(user);
    if may && directory::find_user(conn, viewer.tenant, user).await?.is_some() { Ok(()) } else { Err(missing("user")) }
}
