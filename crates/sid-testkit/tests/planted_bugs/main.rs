//! The suite can fail: each planted bug is found by the checks that are meant to find it.

mod bugs;
mod memory;
mod things;
mod turns;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use parking_lot::Mutex;
use sid_store::{
    Accept, Accepted, ApprovalFilter, ApprovalStore, ArchivalStore, AuditEntry, AuditFilter, AuditLog, Candidates, Capability, Commit,
    Committed, Decide, DecidedApproval, DiaryQuery, DiaryStore, DiaryWork, Directory, DocumentFilter, DocumentStore, DueDeliveries,
    DueTimers, Effect, EgoStore, EmbeddingIndex, EraseTarget, Eraser, EventLog, FinishDelivery, Firing, GenerationId, ImageCaps,
    ImageStore, InProcess, ItemFilter, ItemStore, ItemWrite, Lease, Loaded, MemorySearch, NewDocument, Order, Page, PageRequest,
    PairFilter, Reading, RecallStore, Receipt, Renewed, Reserve, Reserved, SearchQuery, SeenItem, SelfBegunUse, StateStore, Store,
    StoreError, TakeDeliveries, TaskFilter, TaskStore, TenantLimits, TimerStore, TokenUse, ToolsetStore, UnreadDocument, UsageStore,
    WebhookStore, Written,
};
use sid_testkit::conformance::{self, Fixture};
use sid_types::{
    Agent, AgentId, Approval, ApprovalId, ConversationId, Delivery, DeliveryId, DeliveryState, DiaryEntry, Document, DocumentId, Ego,
    EgoSpec, Image, ImageId, ItemId, KeyId, ManualClock, Message, MessageId, NewMessage, NewPassage, OperatorScope, Owner, Passage,
    PassageId, Principal, Priority, Provenance, Run, RunId, Scope, Seq, Share, ShareLevel, Sharee, Step, Task, TaskId, Tenant, TenantId,
    Timer, TimerId, Timestamp, Toolset, ToolsetSpec, Webhook, WebhookEvent, WebhookId, WebhookState, WorkerId,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    IgnoresTheFence,
    SkipsTheTenantInSearch,
    SkipsTheUserInSearch,
    LosesTheLastMessageOfACommit,
    AppliesARepeatedCommitAgain,
    ForgetsIdempotencyKeys,
    AcceptsWithoutAQueue,
    AcceptsAnywhere,
    ForgetsToolsOfCallers,
    PagesIncludeTheirStart,
    InsertsOverWhatIsThere,
    DeletesNothing,
    ErasesHalf,
    MixesGenerations,
    FollowsNothing,
    TellsForeignFromRandom,
    SaysThatItIsDurable,
    GrantsAnyReservation,
    CountsStepsOfOthers,
    ClaimsBeyondTheShare,
    WritesItemsUnseen,
    WritesItemsOneByOne,
    LetsAssistantsShare,
    ListsItemsWithGaps,
    ListsBodies,
    TellsTurnsOfTheLog,
    ForgetsEntriesOfOthers,
    TellsPeopleOfToolsets,
    LetsTurnsPutEgos,
    PutsEgosOverAnyVersion,
    TellsTurnsOfThemselvesAlone,
    PutsToolsetsOverAnyVersion,
    ApprovesAgain,
    BeginsEveryTaskAtOnce,
    ChangesTasksOfAnyVersion,
    LetsAgentsApprove,
    StrandsTasksWhoseRunIsMissing,
    TellsEverybodyOfTasks,
    TellsOthersOfApprovals,
    FiresTimersOfAnyVersion,
    FiresBesideTheTimer,
    HoldsNoTimers,
    KeepsTimersOfTheErased,
    KnowsNoPriorities,
    CountsNothingThatAgentsBegin,
    TriesPagesOnce,
    ForgetsSourcesOfPages,
    ForgetsSourcesOfTimers,
    SettlesAnyVersion,
    KeepsOldParts,
    TakesWhatIsHeld,
    KeepsTheSameBytesTwice,
    TellsOthersOfDocuments,
    ShowsImagesToAnybody,
    CountsImagesBlindly,
    KeepsImagesOfTheErased,
    TellsBesideTheCommit,
    HoldsNoDeliveries,
    EndsAnyAttempt,
    ForgetsTheOrder,
    TellsOthersOfWebhooks,
    SendsToTheDisabled,
}

/// The reference store with one bug.
struct Planted {
    bug: Bug,
    inner: Arc<InProcess>,
    /// The newest lease of each conversation.
    leases: Mutex<HashMap<ConversationId, Lease>>,
    /// The bytes of every image that was kept and not dropped by its owner.
    pictures: Mutex<HashMap<ImageId, Vec<u8>>>,
}

sid_testkit::delegate_store!(Planted, inner: BlockStore, Directory, Duties, Generations, Maintenance);

/// The scope of a tenant's application.
fn whole(tenant: &Tenant) -> Scope {
    OperatorScope::grant().enter(tenant.id, KeyId::new())
}

impl Planted {
    fn new(bug: Bug, clock: Arc<ManualClock>) -> Self {
        Self { bug, inner: Arc::new(InProcess::new(clock)), leases: Mutex::default(), pictures: Mutex::default() }
    }

    fn remember<'a>(&self, leases: impl IntoIterator<Item = &'a Lease>) {
        let mut known = self.leases.lock();
        for lease in leases {
            known.insert(lease.conversation, lease.clone());
        }
    }

    /// The lease as the buggy store takes it.
    fn taken(&self, lease: &Lease) -> Lease {
        let newest = self.leases.lock().get(&lease.conversation).filter(|newest| newest.run == lease.run).cloned();
        newest.filter(|_| self.bug == Bug::IgnoresTheFence).unwrap_or_else(|| lease.clone())
    }
}

impl Planted {
    fn generation(&self, asked: &GenerationId) -> GenerationId {
        if self.bug == Bug::MixesGenerations { GenerationId("the one and only".into()) } else { asked.clone() }
    }
}

/// The scope of the application whose tenant it is.
fn whole_of(scope: &Scope) -> Scope {
    OperatorScope::grant().enter(scope.tenant(), KeyId::new())
}

/// Which of these checks fail.
fn failing(bug: Bug, names: &[&str]) -> Vec<String> {
    let mut failing = Vec::new();
    for name in names {
        let all = conformance::checks();
        let (_, _, check) = all.into_iter().find(|(_, check, _)| check == name).unwrap_or_else(|| panic!("there is no check `{name}`"));
        let open = async |clock: Arc<ManualClock>| {
            let planted = move || Arc::new(Planted::new(bug, Arc::clone(&clock)));
            Fixture::new(planted()).reopened_by(move |_| std::future::ready(planted() as Arc<dyn Store>))
        };
        if catch_unwind(AssertUnwindSafe(|| conformance::run(open, check))).is_err() {
            failing.push((*name).to_owned());
        }
    }
    failing
}

/// Asserts that each of these checks finds the bug, and that it is the bug that they find.
fn found_by(bug: Bug, names: &[&str]) {
    assert_eq!(failing(bug, names), names, "{bug:?} is not found");
    assert!(failing(Bug::None, names).is_empty(), "the wrapper itself is sound");
}
