//! The diary: what is due, what it is made from, what was written.

use jiff::civil::{Date, date};
use sid_store::{DiaryQuery, DiaryWork, MOST_OF_A_DAY, RecordKinds, SearchQuery, StoreError};
use sid_types::{Channel, Conversation, DiaryEntry, DiaryLevel, NewMessage, Owner, Seq, Source, SummaryId, Timestamp};

use super::World;
use super::world::{assert_error, call, calling, result, texts};

impl World {
    async fn due(&self) -> Vec<DiaryWork> {
        self.store.diary_work(self.now(), 100).await.expect("work is listed")
    }

    /// `(level, start)` of what is due.
    async fn due_periods(&self) -> Vec<(DiaryLevel, Date)> {
        self.due().await.into_iter().map(|work| (work.level, work.start)).collect()
    }

    /// Writes the page that a piece of work asks for.
    pub(super) async fn write_page(&self, work: &DiaryWork, text: &str) -> DiaryEntry {
        let mut messages = Vec::new();
        if work.level == DiaryLevel::Day {
            let told = self.store.day_messages(&work.scope, work.owner, work.start).await.expect("visible");
            messages.extend(told.iter().map(|m| (m.conversation, m.seq, m.seq)));
        }
        let (owner, level, start, text, written_at) = (work.owner, work.level, work.start, text.to_owned(), self.now());
        let untrusted = vec![Source::new(Channel::Import, "old \"mail\"")];
        let entry = DiaryEntry { id: SummaryId::new(), owner, level, start, text, messages, is_floor: false, untrusted, written_at };
        self.store.put_diary(&work.scope, entry.clone()).await.expect("a page is written");
        entry
    }

    /// Writes pages until nothing is due.
    pub(super) async fn write_diary(&self) {
        for _ in 0..20 {
            let work = self.due().await;
            if work.is_empty() {
                return;
            }
            for work in work {
                self.write_page(&work, &format!("{:?} from {}", work.level, work.start)).await;
            }
        }
        panic!("the diary is never done: {:?}", self.due().await);
    }

    async fn said_at(&self, talk: &Conversation, text: &str, at: &str) {
        let at: Timestamp = at.parse().expect("a timestamp");
        self.store.append(&self.ours.scope, talk.id, vec![NewMessage::user(text, at)]).await.expect("imported");
    }
}

fn all() -> DiaryQuery {
    DiaryQuery { level: None, from: None, to: None, limit: 100 }
}

/// Days are due when they are over and something was said, oldest first; today is not.
pub async fn days_are_due_when_they_are_over(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    assert!(w.due().await.is_empty());
    w.said_at(&talk, "then", "2026-02-26T10:00:00Z").await;
    w.said_at(&talk, "before", "2026-02-25T10:00:00Z").await;
    w.turn(&talk, "today", "indeed").await;
    let due = w.due().await;
    assert_eq!(
        due.iter().map(|d| (d.level, d.start)).collect::<Vec<_>>(),
        [(DiaryLevel::Day, date(2026, 2, 25)), (DiaryLevel::Day, date(2026, 2, 26))]
    );
    assert!(due.iter().all(|d| d.owner == w.ours.pair() && d.scope.tenant() == w.ours.tenant.id));
    assert_eq!(w.store.diary_work(w.now(), 1).await.expect("listed"), due[..1]);
    w.wait(86_400);
    assert!(w.due_periods().await.contains(&(DiaryLevel::Day, date(2026, 3, 2))));
}

/// A day is a day of the user's own zone.
pub async fn days_are_those_of_the_users_zone(w: World) {
    let ann = sid_types::User { timezone: Some("Pacific/Auckland".into()), ..w.ours.ann.clone() };
    w.store.update_user(&w.ours.scope, ann).await.expect("changed");
    let (anns, bobs) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    for talk in [&anns, &bobs] {
        w.said_at(talk, "late or early", "2026-02-25T20:00:00Z").await;
    }
    let day = async |owner: Owner| w.due().await.into_iter().find(|d| d.owner == owner).map(|d| d.start);
    assert_eq!(day(w.ours.pair()).await, Some(date(2026, 2, 26)));
    let bobs = Owner::Pair { agent: w.ours.agent.id, user: w.ours.bob.id };
    assert_eq!(day(bobs).await, Some(date(2026, 2, 25)));
    let told = async |start| w.store.day_messages(&w.ours.scope, w.ours.pair(), start).await.expect("visible").len();
    assert_eq!((told(date(2026, 2, 26)).await, told(date(2026, 2, 25)).await), (1, 0));
}

/// A day is told by what was said, in order of time, over all conversations of the pair, without tools and notes.
pub async fn a_day_is_made_from_what_was_said(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    w.said_at(&one, "second", "2026-02-25T11:00:00Z").await;
    w.said_at(&two, "first", "2026-02-25T10:00:00Z").await;
    w.said_at(&one, "the day after", "2026-02-26T00:00:00Z").await;
    w.said_at(&w.talk(&w.ours.bob).await, "by somebody else", "2026-02-25T10:00:00Z").await;
    let told = w.store.day_messages(&w.ours.scope, w.ours.pair(), date(2026, 2, 25)).await.expect("visible");
    assert_eq!(texts(&told), ["first", "second"]);
    let lease = w.begin(&one, "today").await;
    let asked = call("c", "look");
    let messages = vec![calling(&asked, w.now()), result(&asked, "found", &[], w.now()), NewMessage::assistant("an answer", w.now())];
    w.commit(&lease, vec![sid_store::Effect::Append(messages)]).await;
    let told = w.store.day_messages(&w.ours.scope, w.ours.pair(), date(2026, 3, 2)).await.expect("visible");
    assert_eq!(texts(&told), ["today", "an answer"]);
}

/// Of a day with more messages than a page is made from, the last ones tell it.
pub async fn a_long_day_is_told_by_its_end(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let noon: Timestamp = "2026-02-25T12:00:00Z".parse().expect("a time");
    let messages = (0..MOST_OF_A_DAY + 3)
        .map(|i| NewMessage::user(format!("message {i}"), noon + std::time::Duration::from_secs(i as u64)))
        .collect::<Vec<_>>();
    for part in messages.chunks(500) {
        w.store.append(&w.ours.scope, talk.id, part.to_vec()).await.expect("imported");
    }
    let told = w.store.day_messages(&w.ours.scope, w.ours.pair(), date(2026, 2, 25)).await.expect("visible");
    assert_eq!(told.len(), MOST_OF_A_DAY);
    assert_eq!(told[0].body.text(), "message 3");
    assert!(told.windows(2).all(|pair| pair[0].at < pair[1].at));
}

/// Weeks are made from days and months from weeks, each once the level below is done.
pub async fn weeks_follow_days_and_months_follow_weeks(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    // 2026-01-05 is a Monday.
    w.said_at(&talk, "a", "2026-01-06T10:00:00Z").await;
    w.said_at(&talk, "b", "2026-01-08T10:00:00Z").await;
    w.said_at(&talk, "c", "2026-01-14T10:00:00Z").await;
    let days = w.due().await;
    assert_eq!(days.iter().map(|d| d.start).collect::<Vec<_>>(), [date(2026, 1, 6), date(2026, 1, 8), date(2026, 1, 14)]);
    assert!(days.iter().all(|d| d.level == DiaryLevel::Day));
    for day in &days {
        w.write_page(day, "a day").await;
    }
    let weeks = w.due().await;
    assert_eq!(
        weeks.iter().map(|d| (d.level, d.start)).collect::<Vec<_>>(),
        [(DiaryLevel::Week, date(2026, 1, 5)), (DiaryLevel::Week, date(2026, 1, 12))]
    );
    for week in &weeks {
        w.write_page(week, "a week").await;
    }
    let months = w.due().await;
    assert_eq!(months.iter().map(|d| (d.level, d.start)).collect::<Vec<_>>(), [(DiaryLevel::Month, date(2026, 1, 1))]);
    w.write_page(&months[0], "a month").await;
    assert!(w.due().await.is_empty());
}

/// A page that is older than what it is made from is due again, and so are the pages above it.
pub async fn outdated_pages_are_due_again(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.said_at(&talk, "a", "2026-01-06T10:00:00Z").await;
    w.write_diary().await;
    w.wait(60);
    w.said_at(&talk, "something that I forgot to tell", "2026-01-06T12:00:00Z").await;
    assert_eq!(w.due_periods().await, [(DiaryLevel::Day, date(2026, 1, 6))]);
    let old = w.store.diary(&w.ours.scope, w.ours.pair(), &all()).await.expect("visible");
    w.wait(60);
    w.write_diary().await;
    let new = w.store.diary(&w.ours.scope, w.ours.pair(), &all()).await.expect("visible");
    assert_eq!((old.len(), new.len()), (3, 3), "one page per period");
    assert!(new.iter().all(|page| old.iter().all(|before| before.id != page.id)), "day, week and month were written anew");
}

/// Pages come back newest first, by level and span.
pub async fn pages_are_read_by_level_and_span(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    for day in [6, 8, 14] {
        w.said_at(&talk, "said", &format!("2026-01-{day:02}T10:00:00Z")).await;
    }
    w.write_diary().await;
    let read = async |query: DiaryQuery| {
        let pages = w.store.diary(&w.ours.scope, w.ours.pair(), &query).await.expect("visible");
        pages.into_iter().map(|page| page.start).collect::<Vec<_>>()
    };
    let days = || DiaryQuery { level: Some(DiaryLevel::Day), ..all() };
    assert_eq!(read(days()).await, [date(2026, 1, 14), date(2026, 1, 8), date(2026, 1, 6)]);
    assert_eq!(read(DiaryQuery { limit: 2, ..days() }).await, [date(2026, 1, 14), date(2026, 1, 8)]);
    assert_eq!(read(DiaryQuery { from: Some(date(2026, 1, 8)), ..days() }).await, [date(2026, 1, 14), date(2026, 1, 8)]);
    assert_eq!(read(DiaryQuery { to: Some(date(2026, 1, 8)), ..days() }).await, [date(2026, 1, 6)]);
    assert_eq!(read(DiaryQuery { level: Some(DiaryLevel::Week), ..all() }).await, [date(2026, 1, 12), date(2026, 1, 5)]);
    assert_eq!(read(all()).await.len(), 6);
}

/// Pages come back as they were written, and a new page for a period takes the place of the old one.
pub async fn a_period_has_one_page(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.said_at(&talk, "a", "2026-01-06T10:00:00Z").await;
    let work = w.due().await.remove(0);
    let first = w.write_page(&work, "she talked about artichokes").await;
    assert!(!first.untrusted.is_empty());
    assert_eq!(first.messages, [(talk.id, Seq(1), Seq(1))]);
    assert_eq!(w.store.diary(&w.ours.scope, w.ours.pair(), &all()).await.expect("visible"), [first]);
    w.wait(1);
    let second = w.write_page(&work, "she talked about asparagus").await;
    assert_eq!(w.store.diary(&w.ours.scope, w.ours.pair(), &all()).await.expect("visible"), [second]);
    assert!(w.find(&w.ours.scope, "artichokes").await.is_empty());
    assert_eq!(w.find(&w.ours.scope, "asparagus").await.len(), 1);
}

/// Search finds pages, as a kind of their own.
pub async fn pages_are_found(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.said_at(&talk, "okra", "2026-01-06T10:00:00Z").await;
    let work = w.due().await.remove(0);
    let page = w.write_page(&work, "a day of okra").await;
    let found = w.store.search(&w.ours.as_user(&w.ours.ann), &SearchQuery::new("okra")).await.expect("a search answers");
    let found = found.items.into_iter().find(|c| c.record.text() == "a day of okra").expect("found");
    assert_eq!((found.owner, found.record), (w.ours.pair(), sid_store::Record::Diary(page)));
    let query = SearchQuery { kinds: RecordKinds::MESSAGES, ..SearchQuery::new("okra") };
    assert_eq!(w.find_with(&w.ours.scope, &query).await, ["okra"]);
    assert!(w.find(&w.ours.as_user(&w.ours.bob), "okra").await.is_empty());
}

/// A page that starts where no period does is refused; so is one in somebody else's diary, or made from somebody else's talk.
pub async fn pages_have_their_place(w: World) {
    let (anns, bobs) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    w.said_at(&anns, "a", "2026-01-06T10:00:00Z").await;
    let page = |level, start, messages| {
        let (id, owner, text, written_at) = (SummaryId::new(), w.ours.pair(), "text".to_owned(), w.now());
        DiaryEntry { id, owner, level, start, text, messages, is_floor: false, untrusted: Vec::new(), written_at }
    };
    let turn = w.ours.as_turn(&w.ours.agent, Some(&w.ours.ann));
    let bobs_turn = w.ours.as_turn(&w.ours.agent, Some(&w.ours.bob));
    for (level, start) in [(DiaryLevel::Week, date(2026, 1, 6)), (DiaryLevel::Month, date(2026, 1, 2))] {
        assert_error!(w.store.put_diary(&turn, page(level, start, vec![])).await, StoreError::Invalid(_));
    }
    let good = page(DiaryLevel::Day, date(2026, 1, 6), vec![(anns.id, Seq(1), Seq(1))]);
    for scope in [bobs_turn, w.theirs.scope, w.ours.as_user(&w.ours.bob)] {
        assert_error!(w.store.put_diary(&scope, good.clone()).await, StoreError::NotFound { .. });
    }
    let foreign = page(DiaryLevel::Day, date(2026, 1, 6), vec![(bobs.id, Seq(1), Seq(1))]);
    assert_error!(w.store.put_diary(&turn, foreign).await, StoreError::NotFound { .. });
    w.store.put_diary(&turn, good).await.expect("its own");
}

/// Conversations without a human are told in the agent's own diary.
pub async fn agents_have_a_diary_of_their_own(w: World) {
    let alone = w.open(&w.ours, &w.ours.agent, None).await;
    w.said_at(&alone, "a nightly job", "2026-01-06T23:30:00Z").await;
    let work = w.due().await;
    let owner = Owner::Agent { agent: w.ours.agent.id };
    assert_eq!(work.iter().map(|d| (d.owner, d.start)).collect::<Vec<_>>(), [(owner, date(2026, 1, 6))]);
    w.write_diary().await;
    assert_eq!(w.store.diary(&w.ours.scope, owner, &all()).await.expect("visible").len(), 3);
}
