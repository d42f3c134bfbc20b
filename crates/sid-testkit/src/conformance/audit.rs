//! The audit log: who reads what of it, and how long it is kept.

use sid_store::{AuditEntry, AuditFilter, PageRequest, StoreError};
use sid_types::{KeyId, OperatorScope, Scope, TenantId, Timestamp, UserId};

use super::world::assert_error;
use super::{Tenancy, World};

/// Longer than any entry is kept.
const AGES: i64 = 50 * 365 * 24 * 3_600;

impl World {
    fn entry(&self, tenancy: &Tenancy, operation: &str, user: Option<UserId>, subject: Option<UserId>) -> AuditEntry {
        AuditEntry {
            tenant: tenancy.tenant.id,
            at: self.now(),
            key: KeyId::new(),
            user,
            agent: None,
            operation: operation.into(),
            subject,
            resource: None,
            status: 200,
            request: None,
        }
    }

    async fn record(&self, entries: &[AuditEntry]) {
        self.store.record(entries.to_vec()).await.expect("recorded");
    }

    async fn log(&self, scope: &Scope, filter: &AuditFilter) -> Vec<AuditEntry> {
        self.store.audit(scope, filter, PageRequest { after: None, limit: 1_000 }).await.expect("read").items
    }

    async fn told(&self, scope: &Scope, filter: &AuditFilter) -> Vec<String> {
        self.log(scope, filter).await.into_iter().map(|entry| entry.operation).collect()
    }
}

/// Entries come back whole, newest first; those of one moment in the order in which they were recorded.
pub async fn entries_come_back_as_they_were(w: World) {
    let o = &w.ours;
    let whole = AuditEntry {
        agent: Some(o.agent.id),
        resource: Some("item_\0 \u{1F952}".into()),
        status: 403,
        request: Some("req".into()),
        ..w.entry(o, "change_item", Some(o.ann.id), Some(o.bob.id))
    };
    let bare = AuditEntry { key: KeyId::from_uuid(UserId::new().uuid()), ..w.entry(o, "list_users", None, None) };
    w.record(&[whole.clone(), bare.clone()]).await;
    w.record(&[]).await;
    w.wait(1);
    let last = w.entry(o, "last", None, None);
    w.record(std::slice::from_ref(&last)).await;
    assert_eq!(w.log(&o.scope, &AuditFilter::default()).await, [last, bare, whole]);
}

/// The application reads its tenant's log, a person what she did or what was about her, a turn nothing.
pub async fn everybody_reads_their_part_of_the_log(w: World) {
    let (o, t) = (&w.ours, &w.theirs);
    let (ann, bob) = (Some(o.ann.id), Some(o.bob.id));
    let nowhere = AuditEntry { tenant: TenantId::new(), ..w.entry(o, "nowhere", ann, None) };
    for entry in [
        w.entry(o, "nobody", None, None),
        w.entry(o, "ann of bob", ann, bob),
        nowhere,
        w.entry(o, "bob of ann", bob, ann),
        w.entry(t, "theirs", Some(t.ann.id), ann),
        w.entry(o, "ann of ann", ann, ann),
        w.entry(o, "bob", bob, None),
    ] {
        w.record(&[entry]).await;
        w.wait(1);
    }
    let all = AuditFilter::default();
    assert_eq!(w.told(&o.scope, &all).await, ["bob", "ann of ann", "bob of ann", "ann of bob", "nobody"]);
    assert_eq!(w.told(&o.as_user(&o.ann), &all).await, ["ann of ann", "bob of ann", "ann of bob"]);
    assert_eq!(w.told(&o.as_user(&o.bob), &all).await, ["bob", "bob of ann", "ann of bob"]);
    assert_eq!(w.told(&t.scope, &all).await, ["theirs"]);
    assert!(w.told(&t.as_user(&o.ann), &all).await == ["theirs"], "whoever is named is named in that tenant");
    for scope in [o.as_turn(&o.agent, Some(&o.ann)), o.as_turn(&o.agent, None)] {
        assert!(w.log(&scope, &all).await.is_empty());
    }
    let about = |user| AuditFilter { about: Some(user), ..AuditFilter::default() };
    assert_eq!(w.told(&o.scope, &about(o.ann.id)).await, ["ann of ann", "bob of ann", "ann of bob"]);
    assert_eq!(w.told(&o.as_user(&o.ann), &about(o.bob.id)).await, ["bob of ann", "ann of bob"], "of bob's what she may read");
    assert_eq!(w.told(&o.as_user(&o.ann), &about(o.ann.id)).await.len(), 3);
    assert!(w.told(&o.scope, &about(UserId::new())).await.is_empty());
    let nobody = OperatorScope::grant().enter(TenantId::new(), KeyId::new());
    let page = PageRequest { after: None, limit: 9 };
    assert_error!(w.store.audit(&nobody, &all, page).await, StoreError::NotFound { .. });
}

/// By person, operation and time, together as well.
pub async fn the_log_is_filtered(w: World) {
    let o = &w.ours;
    let mut times = Vec::new();
    for n in 0..6 {
        let user = if n % 2 == 0 { o.ann.id } else { o.bob.id };
        w.record(&[w.entry(o, if n < 3 { "read" } else { "write" }, Some(user), None)]).await;
        times.push(w.now());
        w.wait(1);
    }
    let filter = |about: Option<UserId>, operation: Option<&str>, since: Option<Timestamp>| AuditFilter {
        about,
        operation: operation.map(str::to_owned),
        since,
    };
    let moments = async |filter: AuditFilter| w.log(&o.scope, &filter).await.into_iter().map(|e| e.at).rev().collect::<Vec<_>>();
    assert_eq!(moments(filter(None, None, None)).await, times);
    assert_eq!(moments(filter(None, Some("write"), None)).await, times[3..]);
    assert_eq!(moments(filter(None, None, Some(times[4]))).await, times[4..], "that moment included");
    assert_eq!(moments(filter(Some(o.ann.id), None, None)).await, [times[0], times[2], times[4]]);
    assert_eq!(moments(filter(Some(o.bob.id), Some("write"), Some(times[4]))).await, [times[5]]);
    assert!(moments(filter(None, Some("wri"), None)).await.is_empty());
}

/// The log is read in pages without gaps or repeats, also where many entries have one time.
pub async fn the_log_is_read_in_pages(w: World) {
    let o = &w.ours;
    for batch in 0..3 {
        let entries: Vec<AuditEntry> = (0..40)
            .map(|n| {
                let subject = if n % 3 == 0 { None } else { Some(o.ann.id) };
                w.entry(o, &format!("{batch} {n}"), Some(if n % 2 == 0 { o.ann.id } else { o.bob.id }), subject)
            })
            .collect();
        w.record(&entries).await;
        w.wait(1);
    }
    for (scope, filter, expected) in [
        (o.scope, AuditFilter::default(), 120),
        (o.scope, AuditFilter { about: Some(o.ann.id), ..AuditFilter::default() }, 99),
        (o.as_user(&o.ann), AuditFilter::default(), 99),
    ] {
        let whole = w.log(&scope, &filter).await;
        assert_eq!(whole.len(), expected);
        for limit in [1, 7, 40, 120] {
            let (mut read, mut after) = (Vec::new(), None);
            loop {
                let page = w.store.audit(&scope, &filter, PageRequest { after, limit }).await.expect("a page");
                assert!(page.items.len() == limit || page.next.is_none());
                read.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(read, whole, "{limit}");
        }
    }
    let page = PageRequest { after: Some("no cursor".into()), limit: 3 };
    assert_error!(w.store.audit(&o.scope, &AuditFilter::default(), page).await, StoreError::Invalid(_));
}

/// What is very old goes, what is not stays.
pub async fn old_entries_go(w: World) {
    let o = &w.ours;
    let maintain = async || while w.store.maintain().await.expect("maintained") {};
    w.record(&[w.entry(o, "old", None, None), w.entry(&w.theirs, "old", None, None)]).await;
    w.wait(300 * 24 * 3_600);
    maintain().await;
    assert_eq!(w.told(&o.scope, &AuditFilter::default()).await, ["old"]);
    w.wait(AGES);
    w.record(&[w.entry(o, "young", None, None)]).await;
    maintain().await;
    assert_eq!(w.told(&o.scope, &AuditFilter::default()).await, ["young"]);
    assert!(w.told(&w.theirs.scope, &AuditFilter::default()).await.is_empty());
}
