//! Summaries and the diary: nothing is lost on the way to the summariser, nothing is longer than its cap.

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use sid_memory::{
    FifoQueue, FloorSummarizer, Item, Summarizer, SummaryTask, count_bytes, day_task, diary_segment, floor_summary, message_ranges,
    page_limit, pages_to_show, upper_task,
};
use sid_types::{
    AgentId, Body, ConversationId, DiaryEntry, DiaryLevel, Message, NewMessage, Owner, Seq, SummaryId, Timestamp, Tokens, UserId,
};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn said(n: u64, text: &str) -> Item {
    Item::user(n, at("2025-03-10T09:00:00Z") + jiff::SignedDuration::from_hours(7 * n as i64), text)
}

fn queue_task(old: &str, texts: &[String], limit: u32) -> SummaryTask {
    let items: Vec<Item> = texts.iter().enumerate().map(|(n, t)| said(n as u64 + 1, t)).collect();
    SummaryTask::queue(old, &items, Tokens(limit), &TimeZone::UTC)
}

/// What is wrong with chunks: too large, or not the whole text in order.
fn chunk_problems(task: &SummaryTask, chunks: &[String], room: Tokens) -> Vec<String> {
    let squash = |text: &str| text.split_whitespace().collect::<String>();
    let whole: String = task.sources.iter().map(|s| squash(s.as_str())).collect();
    let found: String = chunks.iter().map(|c| squash(c)).collect();
    let mut out = Vec::new();
    if whole != found {
        out.push(format!("{} of {} bytes are in the chunks", found.len(), whole.len()));
    }
    out.extend(chunks.iter().filter(|c| count_bytes(c) > room).map(|c| format!("a chunk has {} of {room}", count_bytes(c))));
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn chunks_hold_everything_and_fit(texts in proptest::collection::vec("\\PC{0,300}", 0..30), room in 16_u32..200) {
        let task = queue_task("", &texts, 100);
        prop_assert_eq!(chunk_problems(&task, &task.chunks(Tokens(room), &count_bytes), Tokens(room)), Vec::<String>::new());
    }

    #[test]
    fn tidied_answers_fit(answer in "\\PC{0,600}", limit in 0_u32..120) {
        let task = queue_task("", &["hi".to_owned()], limit);
        prop_assert!(count_bytes(&task.tidy(&answer, &count_bytes)) <= Tokens(limit));
    }

    #[test]
    fn floor_pages_fit(texts in proptest::collection::vec("\\PC{0,200}", 0..60), limit in 0_u32..200) {
        let items: Vec<Message> = texts.iter().enumerate().map(|(n, t)| message(n as u64 + 1, t)).collect();
        let task = SummaryTask { limit: Tokens(limit), ..day_task(date(2025, 3, 10), &items, &TimeZone::UTC) };
        prop_assert!(count_bytes(&task.floor(&count_bytes)) <= Tokens(limit));
    }

    #[test]
    fn the_diary_segment_has_a_fixed_size(
        days in proptest::collection::vec((0_i64..700, "[a-z ]{0,400}"), 0..40), cap in 0_u32..600, owner in Just(owner()),
    ) {
        let mut entries = Vec::new();
        for (n, text) in &days {
            let day = date(2024, 1, 1).checked_add(jiff::Span::new().days(*n)).expect("in range");
            for level in [DiaryLevel::Day, DiaryLevel::Week, DiaryLevel::Month] {
                entries.push(page(owner, level, level.start_of(day), text));
            }
        }
        let text = diary_segment(&entries, Tokens(cap), &count_bytes);
        prop_assert!(count_bytes(&text) <= Tokens(cap), "{} of {cap}", count_bytes(&text));
        let shown = pages_to_show(&entries);
        prop_assert!(shown.len() <= 3 + 4 + 12);
        // Newest first in each level, and no level tells of what a finer one has told.
        prop_assert!(shown.windows(2).all(|w| w[0].start > w[1].start), "{:?}", shown.iter().map(|e| (e.level, e.start)).collect::<Vec<_>>());
    }
}

#[test]
fn fails_on_planted_bug_in_chunks() {
    let texts: Vec<String> = (0..20).map(|n| format!("line {n} {}", "word ".repeat(n * 3))).collect();
    let task = queue_task("", &texts, 100);
    let good = task.chunks(Tokens(40), &count_bytes);
    assert!(good.len() > 5 && chunk_problems(&task, &good, Tokens(40)).is_empty());
    // The last piece is forgotten.
    assert!(!chunk_problems(&task, &good[..good.len() - 1], Tokens(40)).is_empty());
    // Lines are never split.
    let whole_lines: Vec<String> = task.sources.iter().map(|s| s.as_str().to_owned()).collect();
    assert!(!chunk_problems(&task, &whole_lines, Tokens(40)).is_empty());
}

fn owner() -> Owner {
    Owner::Pair { agent: AgentId::new(), user: UserId::new() }
}

fn page(owner: Owner, level: DiaryLevel, start: Date, text: &str) -> DiaryEntry {
    let written_at = at("2025-06-01T00:00:00Z");
    DiaryEntry {
        id: SummaryId::new(),
        owner,
        level,
        start,
        text: text.into(),
        messages: Vec::new(),
        is_floor: false,
        untrusted: Vec::new(),
        written_at,
    }
}

fn message(seq: u64, text: &str) -> Message {
    NewMessage::user(text, at("2025-03-10T09:00:00Z")).placed(ConversationId::new(), Seq(seq), None)
}

#[test]
fn requests_are_recognisable_and_carry_old_and_new() {
    let task = queue_task("Ann is a vet.", &["I moved to Leeds.".to_owned()], 100);
    let prompt = task.prompt("Ann is a vet.", &task.chunks(Tokens(100), &count_bytes)[0], false);
    assert!(prompt.system.starts_with("Summarize") && prompt.system.contains("60 words") && prompt.system.contains("Example"));
    assert!(prompt.user.contains("Ann is a vet.") && prompt.user.contains("[2025-03-10 Mon 16:00] user: I moved to Leeds."));
    let short = task.prompt("", "x", true);
    assert!(!short.system.contains("Example") && short.user.contains("(none)"));
    let week = SummaryTask::page(DiaryLevel::Week, date(2025, 3, 3), Vec::new(), Tokens(100)).prompt("", "x", true);
    assert!(week.system.contains("Summarize the week of 2025-03-03"), "{}", week.system);
}

#[test]
fn answers_are_tidied() {
    let check = |answer: &str, limit: u32, expected: &str| {
        assert_eq!(queue_task("", &["My cat is Mo.".to_owned()], limit).tidy(answer, &count_bytes), expected);
    };
    check("  Summary: The cat is Mo.\n", 50, "The cat is Mo.");
    check("```\nThe cat is Mo.\n```", 50, "The cat is Mo.");
    // A small model copies the prompt's example: out with it.
    check("Zsuzsi is a vet. The cat is Mo.", 50, "The cat is Mo.");
    check("Zsuzsi flies QX 7731 on 4 May.", 50, "");
    check("The cat is Mo. The dog is called Bolt and eats a lot.", 8, "The cat is Mo.");
    // What the example's people are called may be said by somebody.
    let task = queue_task("", &["I met Zsuzsi.".to_owned()], 50);
    assert_eq!(task.tidy("The user met Zsuzsi.", &count_bytes), "The user met Zsuzsi.");
}

#[test]
fn the_floor_keeps_dates_numbers_and_first_words() {
    let mut items: Vec<Item> =
        (1..=4).map(|n| said(n, &format!("Fact number {n} is told here in quite a few words, more than are kept"))).collect();
    items.insert(2, Item::assistant(20, at("2025-03-11T00:00:00Z"), "I see."));
    let text = floor_summary("", &items, Tokens(200), &TimeZone::UTC, &count_bytes);
    assert_eq!(
        text,
        "- [2025-03-10 Mon] #1-#2: Fact number 1 is told here in quite a few words, more… | \
         Fact number 2 is told here in quite a few words, more…\n\
         - [2025-03-11 Tue] #3-#20: Fact number 3 is told here in quite a few words, more… | \
         Fact number 4 is told here in quite a few words, more…"
    );
    // The oldest goes first, and the text says that there was more.
    let next = floor_summary(&text, &[said(30, "The last one")], Tokens(60), &TimeZone::UTC, &count_bytes);
    assert!(next.starts_with("(Older: search finds it.)\n") && next.ends_with("#30: The last one"), "{next}");
    assert!(!next.contains("number 1"));
    // Folding nothing in changes nothing.
    assert_eq!(floor_summary(&next, &[], Tokens(60), &TimeZone::UTC, &count_bytes), next);
}

#[tokio::test]
async fn the_floor_is_a_summarizer_too() {
    let summarizer: &dyn Summarizer = &FloorSummarizer;
    let task = queue_task("Old.", &["New.".to_owned()], 40);
    assert_eq!(summarizer.summarize(&task).await.expect("it never fails"), "Old.\n- [2025-03-10 Mon] #1: New.");
}

#[test]
fn upper_pages_are_made_from_the_level_below_in_their_period() {
    let owner = owner();
    let mut entries: Vec<DiaryEntry> =
        [date(2025, 3, 12), date(2025, 3, 10), date(2025, 3, 17)].map(|d| page(owner, DiaryLevel::Day, d, &format!("Day {d}."))).to_vec();
    entries.push(page(owner, DiaryLevel::Week, date(2025, 3, 10), "A week."));
    let week = upper_task(DiaryLevel::Week, date(2025, 3, 10), &entries).expect("two days were written");
    let lines: Vec<&str> = week.sources.iter().map(|s| s.as_str()).collect();
    assert_eq!(lines, ["[2025-03-10 Mon] Day 2025-03-10.", "[2025-03-12 Wed] Day 2025-03-12."]);
    assert_eq!(week.limit, page_limit(DiaryLevel::Week));
    assert_eq!(week.floor(&count_bytes), "2025-03-10 Mon: Day 2025-03-10. | 2025-03-12 Wed: Day 2025-03-12.");
    let month = upper_task(DiaryLevel::Month, date(2025, 3, 1), &entries).expect("a week was written");
    assert_eq!(month.sources.len(), 1);
    assert!(upper_task(DiaryLevel::Month, date(2025, 4, 1), &entries).is_none());
    assert!(upper_task(DiaryLevel::Day, date(2025, 3, 10), &entries).is_none());
}

#[test]
fn the_reading_is_the_last_that_was_written_even_after_a_long_silence() {
    let owner = owner();
    let mut entries = vec![
        page(owner, DiaryLevel::Day, date(2024, 11, 2), "Ann came back."),
        page(owner, DiaryLevel::Day, date(2024, 6, 3), "Ann left."),
    ];
    entries.push(page(owner, DiaryLevel::Week, date(2024, 6, 3), "The week in which Ann left."));
    entries.push(page(owner, DiaryLevel::Week, date(2024, 5, 27), "The week before."));
    entries.push(page(owner, DiaryLevel::Month, date(2024, 4, 1), "April."));
    entries.push(page(owner, DiaryLevel::Month, date(2024, 6, 1), "June."));
    assert_eq!(
        diary_segment(&entries, Tokens(200), &count_bytes),
        "2024-11-02 Sat: Ann came back.\n2024-06-03 Mon: Ann left.\nweek of 2024-05-27: The week before.\n2024-04: April."
    );
    assert_eq!(diary_segment(&entries, Tokens(12), &count_bytes), "2024-11-02 Sat: Ann came back.");
    assert_eq!(diary_segment(&entries, Tokens(0), &count_bytes), "");
}

#[test]
fn ranges_are_dense() {
    let conversation = ConversationId::new();
    let of = |seq: u64| NewMessage::user("x", at("2025-03-10T09:00:00Z")).placed(conversation, Seq(seq), None);
    let ranges = message_ranges(&[of(4), of(1), of(2), of(2), of(9)]);
    assert_eq!(ranges, [(1, 2), (4, 4), (9, 9)].map(|(a, b)| (conversation, Seq(a), Seq(b))));
}

#[test]
fn reasoning_and_blank_messages_are_no_sources() {
    let blank = Item::assistant(1, at("2025-03-10T09:00:00Z"), " ");
    let thinking = Item::new(
        Seq(2),
        at("2025-03-10T09:00:00Z"),
        Body::Assistant { text: "Fine.".into(), reasoning: Some("secret".into()), tool_calls: Vec::new() },
    );
    let task = SummaryTask::queue("", &[blank, thinking], Tokens(50), &TimeZone::UTC);
    assert_eq!(task.sources.len(), 1);
    assert_eq!(task.sources[0].as_str(), "[2025-03-10 Mon 09:00] assistant: Fine.");
    assert!(FifoQueue::default().is_empty());
}
