//! Duties: at most one worker does what is to be done once.

use std::sync::Arc;

use sid_store::StoreError;
use sid_types::WorkerId;

use super::World;
use super::world::{TTL, assert_error};

async fn take(w: &World, duty: &str, worker: WorkerId) -> bool {
    w.store.take_duty(duty, worker, TTL).await.expect("asking works")
}

/// Who holds a duty keeps others from it, and from nothing else.
pub async fn one_worker_holds_a_duty(w: World) {
    let (ann, bob) = (WorkerId::new(), WorkerId::new());
    assert!(take(&w, "embed", ann).await);
    assert!(!take(&w, "embed", bob).await);
    assert!(take(&w, "diary", bob).await);
    assert!(!take(&w, "diary", ann).await);
    assert!(take(&w, "embed", ann).await);
}

/// A worker that does not ask again loses its duty when it expires, and not before.
pub async fn duties_expire(w: World) {
    let (ann, bob) = (WorkerId::new(), WorkerId::new());
    assert!(take(&w, "embed", ann).await);
    w.wait(29);
    assert!(!take(&w, "embed", bob).await);
    w.wait(1);
    assert!(take(&w, "embed", bob).await, "it has expired");
    assert!(!take(&w, "embed", ann).await, "it is another's now");
}

/// Asking again prolongs.
pub async fn duties_are_prolonged_by_asking_again(w: World) {
    let (ann, bob) = (WorkerId::new(), WorkerId::new());
    for _ in 0..4 {
        assert!(take(&w, "embed", ann).await);
        w.wait(20);
        assert!(!take(&w, "embed", bob).await);
    }
    w.wait(10);
    assert!(take(&w, "embed", bob).await);
}

/// A duty that was given back is free at once; nobody gives away what another holds.
pub async fn duties_are_given_back(w: World) {
    let (ann, bob) = (WorkerId::new(), WorkerId::new());
    assert!(take(&w, "embed", ann).await);
    w.store.leave_duty("embed", bob).await.expect("nothing to give back");
    assert!(!take(&w, "embed", bob).await);
    w.store.leave_duty("embed", ann).await.expect("given back");
    assert!(take(&w, "embed", bob).await);
    w.store.leave_duty("nothing of this name", ann).await.expect("nothing to give back");
}

/// Many workers at once: one gets it.
pub async fn taking_at_once_gives_to_one(w: World) {
    let w = Arc::new(w);
    for _ in 0..5 {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let w = Arc::clone(&w);
                tokio::spawn(async move { take(&w, "embed", WorkerId::new()).await })
            })
            .collect();
        let mut holders = 0;
        for task in tasks {
            holders += usize::from(task.await.expect("no panic"));
        }
        assert_eq!(holders, 1);
        w.wait(30);
    }
}

/// Names have 1 to 64 characters.
pub async fn duties_have_a_name(w: World) {
    for name in [String::new(), "x".repeat(65)] {
        assert_error!(w.store.take_duty(&name, w.worker, TTL).await, StoreError::Invalid(_));
    }
    assert!(take(&w, &"é".repeat(64), w.worker).await);
}
