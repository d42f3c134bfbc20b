//! Lists of items: the newest of each kind by an index, then the newest of these, then their rows. What a list leaves out is not read.

use sid_store::{Below, ItemFilter, Page, PageRequest, SeenItem, StoreError, Whose};
use sid_types::{ItemId, ItemKind, UserId};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Encode, Postgres, Type};

use super::rows::{HEAD, Levels, SHARED, seen, sharee};
use crate::codec::clean;
use crate::directory;
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::tx::Tx;
use crate::visibility::{Viewer, columns};

/// The parameters of a statement that is being put together.
struct Asking {
    arguments: PgArguments,
    bound: usize,
}

impl Asking {
    /// $1, $2 and $3 are those of [`SHARED`].
    fn begin(tx: &Tx, viewer: &Viewer) -> Self {
        let (user, agent) = sharee(viewer);
        let mut asking = Self { arguments: PgArguments::default(), bound: 0 };
        asking.bind(tx.tenant);
        asking.bind(user);
        asking.bind(agent);
        asking
    }

    /// Answers how the value is named in the statement.
    fn bind<'v, T: Encode<'v, Postgres> + Type<Postgres>>(&mut self, value: T) -> String {
        self.arguments.add(value).expect("ids, numbers, texts and times can be bound");
        self.bound += 1;
        format!("${}", self.bound)
    }
}

pub(super) async fn list(tx: &mut Tx, viewer: &Viewer, filter: &ItemFilter, page: &PageRequest) -> Result<Page<SeenItem>, StoreError> {
    let cursor = Cursor::descending::<ItemId>(page)?;
    let mut asking = Asking::begin(tx, viewer);
    let place = place(tx, viewer, filter, &mut asking).await?;
    let mut conditions = String::new();
    if filter.below == Some(Below::Tops) {
        conditions.push_str(" AND x.parent IS NULL");
    }
    if page.after.is_some() {
        let (at, id) = (asking.bind(cursor.at), asking.bind(cursor.id));
        conditions.push_str(&format!(" AND (x.updated_at, x.id) < ({at}, {id})"));
    }
    if let Some(tag) = &filter.tag {
        let tag = asking.bind(clean(tag).into_owned());
        conditions.push_str(&format!(" AND {tag} = ANY (x.tags)"));
    }
    if !filter.states.is_empty() {
        let states: Vec<String> = filter.states.iter().map(|state| clean(state).into_owned()).collect();
        let states = asking.bind(states);
        conditions.push_str(&format!(" AND x.state = ANY ({states})"));
    }
    if let Some(recipient) = filter.recipient {
        let recipient = asking.bind(recipient.uuid());
        conditions.push_str(&format!(" AND x.recipient = {recipient}"));
    }
    let limit = asking.bind(cursor.fetch());
    let names = |kinds: &[ItemKind]| kinds.iter().map(|kind| kind.as_str().to_owned()).collect::<Vec<_>>();
    let found = match &place {
        // In an index of kinds each is read from its newest end.
        Place::ByKind(from) => {
            let kinds = ItemKind::ALL.into_iter().filter(|kind| filter.kinds.is_empty() || filter.kinds.contains(kind));
            let kinds = asking.bind(names(&kinds.collect::<Vec<_>>()));
            format!(
                "SELECT f.id, f.updated_at FROM unnest({kinds}) AS k(kind) CROSS JOIN LATERAL (
                    SELECT x.id, x.updated_at FROM {from} AND x.kind = k.kind{conditions} ORDER BY x.updated_at DESC, x.id DESC LIMIT {limit}) f"
            )
        }
        Place::Small(from) if filter.kinds.is_empty() => format!("SELECT x.id, x.updated_at FROM {from}{conditions}"),
        Place::Small(from) => {
            let kinds = asking.bind(names(&filter.kinds));
            format!("SELECT x.id, x.updated_at FROM {from} AND x.kind = ANY ({kinds}){conditions}")
        }
    };
    let body = if filter.bodies { "i.body" } else { "''" };
    // `OFFSET 0`: row by row through the key, whatever is believed of the table's size.
    let sql = format!(
        "SELECT {HEAD}, {body}, {SHARED} FROM ({found} ORDER BY 2 DESC, 1 DESC LIMIT {limit}) n
         CROSS JOIN LATERAL (SELECT r.* FROM sid.items r WHERE r.tenant = $1 AND r.id = n.id OFFSET 0) i
         ORDER BY n.updated_at DESC, n.id DESC"
    );
    let query = tx.query_with(sql, asking.arguments);
    let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
    let items = Levels::default().apply(tx, viewer, &rows).await?;
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
async fn place(tx: &mut Tx, viewer: &Viewer, filter: &ItemFilter, asking: &mut Asking) -> Result<Place, StoreError> {
    match filter.below {
        Some(Below::Parent(parent)) => {
            seen(tx, viewer, parent).await?;
            let parent = asking.bind(parent.uuid());
            return Ok(Place::Small(format!("sid.items x WHERE x.tenant = $1 AND x.parent = {parent}")));
        }
        Some(Below::Tree(item)) => {
            let root = seen(tx, viewer, item).await?.item.root;
            let root = asking.bind(root.uuid());
            return Ok(Place::Small(format!("sid.items x WHERE x.tenant = $1 AND x.root = {root}")));
        }
        Some(Below::Tops) | None => {}
    }
    match filter.whose {
        Whose::User(user) => {
            check_human(tx, viewer, user).await?;
            let user = asking.bind(user.uuid());
            let from = format!("sid.items x WHERE x.tenant = $1 AND x.of_user = {user}");
            Ok(if filter.recipient.is_some() { Place::Small(from) } else { Place::ByKind(from) })
        }
        Whose::Owner(owner) => {
            if viewer.item_level(tx, owner).await?.is_none() {
                return Err(missing("owner"));
            }
            let (kind, a, b) = columns(owner);
            let (kind, a, b) = (asking.bind(kind), asking.bind(a), asking.bind(b));
            Ok(Place::ByKind(format!("sid.items x WHERE x.tenant = $1 AND x.owner_kind = {kind} AND x.a = {a} AND x.b = {b}")))
        }
        Whose::Everybody if viewer.scope.is_tenant_wide() => Ok(Place::ByKind("sid.items x WHERE x.tenant = $1".into())),
        Whose::Everybody => Err(missing("tenant")),
        Whose::SharedWith(user) => {
            check_human(tx, viewer, user).await?;
            let user = asking.bind(user.uuid());
            Ok(Place::Small(format!(
                "sid.items x WHERE x.tenant = $1 AND x.of_user IS DISTINCT FROM {user} AND x.id IN (
                    SELECT s.root FROM sid.item_shares s WHERE s.tenant = $1 AND s.with_kind = 0 AND s.with_id = {user}
                    UNION SELECT s.root FROM sid.team_members m
                        JOIN sid.item_shares s ON s.tenant = $1 AND s.with_kind = 1 AND s.with_id = m.team_id
                        WHERE m.tenant = $1 AND m.user_id = {user} AND ($3::uuid IS NULL OR EXISTS (
                            SELECT FROM sid.agent_teams g WHERE g.tenant = $1 AND g.agent_id = $3 AND g.team_id = m.team_id)))"
            )))
        }
    }
}

/// Items are listed for the user whom the scope stands for, or by the application.
async fn check_human(tx: &mut Tx, viewer: &Viewer, user: UserId) -> Result<(), StoreError> {
    let may = viewer.scope.is_tenant_wide() || viewer.scope.user() == Some(user);
    if may && directory::find_user(tx, user).await?.is_some() { Ok(()) } else { Err(missing("user")) }
}
