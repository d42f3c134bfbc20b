use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use sid_store::StoreError;
use sid_types::SystemClock;

use crate::codec::Columns;
use crate::config::SqliteConfig;
use crate::{SqliteStore, error::Fault};

async fn store(folder: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(SqliteConfig::new(folder.path()), Arc::new(SystemClock)).await.expect("the store opens")
}

/// What a job does after it has written its row.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Well,
    Refused,
    BadSql,
    Panic,
}

async fn write(store: &SqliteStore, name: String, end: End, ids: Arc<AtomicU64>) -> Result<(), StoreError> {
    store
        .write(move |tx| {
            async move {
                ids.fetch_max(tx.batch, Ordering::Relaxed);
                sqlx::query("INSERT INTO tenants (id, name, created_at) VALUES (?, ?, 0)")
                    .bind(name.as_bytes().to_vec())
                    .bind(name)
                    .execute(&mut tx.conn)
                    .await?;
                // The others gather behind this one.
                tokio::time::sleep(Duration::from_millis(2)).await;
                match end {
                    End::Well => Ok(()),
                    End::Refused => Err(StoreError::Busy.into()),
                    End::BadSql => {
                        sqlx::query("INSERT INTO tenants (id, name, created_at) VALUES (NULL, NULL, NULL)").execute(&mut tx.conn).await?;
                        Ok(())
                    }
                    End::Panic => panic!("as the test asks"),
                }
            }
            .boxed()
        })
        .await
}

async fn names(store: &SqliteStore) -> Vec<String> {
    let mut conn = store.reader().await.expect("a reader");
    let rows = sqlx::query("SELECT name FROM tenants ORDER BY name").fetch_all(&mut *conn).await.expect("rows");
    rows.iter().map(|r| r.text(0).map_err(|_: Fault| ()).expect("a name")).collect()
}

#[tokio::test]
async fn a_job_that_fails_takes_nothing_else_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let deepest = Arc::new(AtomicU64::new(0));
    let ends = [End::Refused, End::Well, End::BadSql, End::Well, End::Well, End::Panic, End::Refused, End::Well, End::BadSql];
    let jobs = ends.iter().enumerate().map(|(i, end)| write(&store, format!("job{i}"), *end, Arc::clone(&deepest)));
    let answers = join_all(jobs).await;
    for (i, (answer, end)) in answers.iter().zip(ends).enumerate() {
        assert_eq!(answer.is_ok(), end == End::Well, "job {i}: {answer:?}");
    }
    assert_eq!(names(&store).await, ["job1", "job3", "job4", "job7"]);
    assert!(deepest.load(Ordering::Relaxed) > 1, "no two jobs shared a transaction");
    // A new name: the failed ones left nothing behind that could be in the way.
    write(&store, "job0".into(), End::Well, deepest).await.expect("the name is free");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_its_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let ids = Arc::new(AtomicU64::new(0));
    for i in 0..20 {
        let write = write(&store, format!("job{i:02}"), End::Well, Arc::clone(&ids));
        // Dropped as soon as it is queued.
        assert!(tokio::time::timeout(Duration::from_micros(1), write).await.is_err());
    }
    write(&store, "last".into(), End::Well, ids).await.expect("the writer goes on");
    assert_eq!(names(&store).await.len(), 21);
}

#[tokio::test]
async fn closing_waits_for_what_was_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = store(&folder).await;
    let ids = Arc::new(AtomicU64::new(0));
    for i in 0..10 {
        let _ = tokio::time::timeout(Duration::from_micros(1), write(&first, format!("job{i}"), End::Well, Arc::clone(&ids))).await;
    }
    first.close().await;
    assert_eq!(names(&store(&folder).await).await.len(), 10);
}
