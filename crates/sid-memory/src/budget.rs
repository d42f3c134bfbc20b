//! Who gets how much of the window.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sid_types::{Tokens, ToolSpec};

use crate::text::Count;

/// How a window of a given size is shared out. Room for the answer comes off first; the queue gets what the caps leave.
///
/// Shape: `answer + margin + instructions + tools + blocks + diary + summary + recall + tail + queue <= window`, always; from
/// [`Budget::MIN_WINDOW`] on it is an equality and no cap that a turn needs is zero. Every field grows (or stays) as the window grows.
///
/// In small windows caps shrink in this order: tools down to the most important few, the diary down to nothing, recall down to
/// its floor, the remaining tools, then blocks, summary and tail down to theirs. At 800 tokens recall still has about 150.
///
/// Units: tokens. Pure. Source: MemGPT (arXiv:2310.08560) queue manager; ADR on prompt segments and caps.
///
/// ```
/// use sid_memory::Budget;
/// use sid_types::Tokens;
/// let budget = Budget::for_window(Tokens(8_192));
/// assert_eq!(budget.answer, Tokens(1_024));
/// assert!(budget.queue > Tokens(2_000) && budget.recall > Tokens(1_000));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The whole window.
    pub window: Tokens,
    /// Reserved for the answer: what `max_tokens` is set to.
    pub answer: Tokens,
    /// Reserved for the error of the counter and for what the chat template adds.
    pub margin: Tokens,
    /// Cap of the system instructions and tool rules.
    pub instructions: Tokens,
    /// Cap of the tool specifications.
    pub tools: Tokens,
    /// Cap of the core memory blocks.
    pub blocks: Tokens,
    /// Cap of the diary pages.
    pub diary: Tokens,
    /// Cap of the recursive summary.
    pub summary: Tokens,
    /// Cap of the recalled snippets.
    pub recall: Tokens,
    /// Cap of the rest of the tail: time, gap, memory pressure.
    pub tail: Tokens,
    /// Room of the queue, the stimulus included. Reaching it is the flush mark (100 %).
    pub queue: Tokens,
}

/// What the parts before the queue really take, where it is less than their caps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadSize {
    /// Instructions and tool rules.
    pub instructions: Tokens,
    /// Tool specifications.
    pub tools: Tokens,
    /// Core memory blocks.
    pub blocks: Tokens,
    /// Diary pages.
    pub diary: Tokens,
    /// Recursive summary.
    pub summary: Tokens,
}

impl HeadSize {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Tokens {
        self.instructions + self.tools + self.blocks + self.diary + self.summary
    }
}

/// How full the queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Below 70 %.
    None,
    /// From 70 % of the queue's room on: the agent may be told to save what matters.
    Warning,
    /// Over 100 %: half of the queue must leave before the next model call.
    Flush,
}

// Floors in tokens. Their sum with the least answer and margin is below MIN_WINDOW; a test holds that.
const MIN_INSTRUCTIONS: u32 = 110;
const MIN_BLOCKS: u32 = 40;
const MIN_SUMMARY: u32 = 24;
const MIN_RECALL: u32 = 90;
const MIN_TAIL: u32 = 36;
const MIN_QUEUE: u32 = 96;
const MIN_ANSWER: u32 = 96;
/// The six memory tools of this crate, with some room.
const ALL_TOOLS: u32 = 480;
/// Two memory tools.
const FEW_TOOLS: u32 = 150;

impl Budget {
    /// The smallest window that works. Smaller ones get a budget too, but it promises nothing (see [`Budget::is_usable`]).
    pub const MIN_WINDOW: Tokens = Tokens(512);

    /// The budget of a window, with an eighth of it for the answer (96 to 4,096 tokens).
    #[must_use]
    pub fn for_window(window: Tokens) -> Self {
        Self::new(window, None)
    }

    /// The budget of a window with a given room for the answer; cut to half of the window, and to what the prompt's floor leaves.
    #[must_use]
    pub fn new(window: Tokens, max_output: Option<Tokens>) -> Self {
        let w = window.0;
        let margin = (w / 50).clamp(8.min(w), 2_048);
        let least_prompt = MIN_INSTRUCTIONS + MIN_BLOCKS + MIN_SUMMARY + MIN_RECALL + MIN_TAIL + MIN_QUEUE;
        let (answer, least_answer) = match max_output {
            Some(Tokens(n)) => (n.max(1).min(w / 2), n.max(1).min(w / 8)),
            None => ((w / 8).clamp(MIN_ANSWER, 4_096), w / 8),
        };
        let answer = answer.min(w.saturating_sub(margin).saturating_sub(least_prompt)).max(least_answer.min(MIN_ANSWER));
        let prompt = w.saturating_sub(answer).saturating_sub(margin);
        let share =
            |percent: u64, low: u32, high: u32| u32::try_from(u64::from(prompt) * percent / 100).unwrap_or(u32::MAX).clamp(low, high);

        let mut instructions = share(12, MIN_INSTRUCTIONS, 16_384);
        let mut tools = share(12, ALL_TOOLS, 16_384);
        let mut blocks = share(10, 64, 8_192);
        let mut diary = share(5, 24, 900);
        let mut summary = share(6, 36, 1_200);
        let mut recall = share(22, 150, 1_600);
        let mut tail = 56;
        let mut queue = share(20, 120, u32::MAX);

        let wanted = [instructions, tools, blocks, diary, summary, recall, tail, queue];
        let mut deficit = wanted.iter().map(|n| u64::from(*n)).sum::<u64>().saturating_sub(u64::from(prompt));
        let mut shrink = |part: &mut u32, floor: u32| {
            let give = u64::from(part.saturating_sub(floor)).min(deficit);
            deficit -= give;
            *part -= u32::try_from(give).unwrap_or(0);
        };
        shrink(&mut tools, FEW_TOOLS);
        shrink(&mut diary, 0);
        shrink(&mut recall, MIN_RECALL + 40);
        shrink(&mut tools, 0);
        shrink(&mut blocks, MIN_BLOCKS);
        shrink(&mut recall, MIN_RECALL);
        shrink(&mut summary, MIN_SUMMARY);
        shrink(&mut tail, MIN_TAIL);
        shrink(&mut queue, MIN_QUEUE);
        // Below the floor: nothing is promised, but the sum still holds.
        for part in [&mut recall, &mut summary, &mut blocks, &mut tail, &mut instructions, &mut queue] {
            shrink(part, 0);
        }
        let used = instructions + tools + blocks + diary + summary + recall + tail;
        queue = prompt.saturating_sub(used);
        Self {
            window,
            answer: Tokens(answer),
            margin: Tokens(margin),
            instructions: Tokens(instructions),
            tools: Tokens(tools),
            blocks: Tokens(blocks),
            diary: Tokens(diary),
            summary: Tokens(summary),
            recall: Tokens(recall),
            tail: Tokens(tail),
            queue: Tokens(queue),
        }
    }

    /// Whether the window is large enough for a turn to work.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.window >= Self::MIN_WINDOW
    }

    /// Most tokens of a whole prompt: the window without answer and margin.
    #[must_use]
    pub fn prompt(&self) -> Tokens {
        self.window.saturating_sub(self.answer).saturating_sub(self.margin)
    }

    /// Gives what the head does not use to the queue. A head over its caps takes from the queue instead (down to nothing).
    ///
    /// Call it with the head as rendered at the last page-out: while the head stands still, so does the flush mark.
    #[must_use]
    pub fn fitted(self, head: &HeadSize) -> Self {
        Self { queue: self.prompt().saturating_sub(head.total()).saturating_sub(self.recall).saturating_sub(self.tail), ..self }
    }

    /// Most tokens that the stimulus takes in the prompt: half of the queue's room. Longer ones are shown cut.
    #[must_use]
    pub fn stimulus(&self) -> Tokens {
        self.queue.share(1, 2)
    }

    /// Most tokens of any one message, or of a call together with its results: half of the queue's room.
    #[must_use]
    pub fn message(&self) -> Tokens {
        self.queue.share(1, 2)
    }

    /// Most tokens of one tool result: a quarter of the queue's room, at most 2,000, so that several fit side by side.
    #[must_use]
    pub fn tool_result(&self) -> Tokens {
        Tokens(self.queue.share(1, 4).0.clamp(24.min(self.queue.0), 2_000))
    }

    /// The warning mark: 70 % of the queue's room.
    #[must_use]
    pub fn warn_at(&self) -> Tokens {
        self.queue.share(70, 100)
    }

    /// How full a queue of this size is.
    ///
    /// The marks are shares of the *queue's* room, not of the window: the head does not grow between page-outs, and in a small
    /// window it alone would be over 70 %.
    #[must_use]
    pub fn pressure(&self, queue: Tokens) -> Pressure {
        if queue > self.queue {
            Pressure::Flush
        } else if queue >= self.warn_at() && queue.0 > 0 {
            Pressure::Warning
        } else {
            Pressure::None
        }
    }
}

/// Memory tools, the one that a small prompt can least do without first. Tools that are not named here (an application's own)
/// come after the second.
pub const TOOL_IMPORTANCE: [&str; 6] =
    ["conversation_search", "core_memory_append", "archival_memory_search", "core_memory_replace", "archival_memory_insert", "diary_read"];

/// The size of a tool specification in a prompt.
#[must_use]
pub fn spec_tokens(spec: &ToolSpec, count: &Count<'_>) -> Tokens {
    // As engines are sent it.
    let text = serde_json::to_string(spec).unwrap_or_default();
    count(&format!(r#"{{"type":"function","function":{text}}}"#))
}

/// The tools that fit `cap`: all of them if they do; else with descriptions of arguments left out; else the most important ones.
///
/// Shape: a subset of `specs`, in their order. Pure, so the same tools are offered while the budget stays the same.
#[must_use]
pub fn fit_specs(specs: Vec<Arc<ToolSpec>>, cap: Tokens, count: &Count<'_>) -> Vec<Arc<ToolSpec>> {
    let total = |specs: &[Arc<ToolSpec>]| specs.iter().map(|s| spec_tokens(s, count)).sum::<Tokens>();
    if total(&specs) <= cap {
        return specs;
    }
    let compact: Vec<Arc<ToolSpec>> = specs.into_iter().map(|spec| Arc::new(compact(Arc::unwrap_or_clone(spec)))).collect();
    let rank = |spec: &ToolSpec| match TOOL_IMPORTANCE.iter().position(|name| *name == spec.name) {
        Some(place) if place < 2 => place,
        Some(place) => place + 1,
        None => 2,
    };
    let mut by_importance: Vec<usize> = (0..compact.len()).collect();
    by_importance.sort_by_key(|i| (rank(&compact[*i]), *i));
    let mut left = cap;
    let mut kept = vec![false; compact.len()];
    for i in by_importance {
        let size = spec_tokens(&compact[i], count);
        if size <= left {
            left = left - size;
            kept[i] = true;
        }
    }
    compact.into_iter().zip(kept).filter_map(|(spec, keep)| keep.then_some(spec)).collect()
}

/// A specification with the first sentence of its description and without those of its arguments.
fn compact(mut spec: ToolSpec) -> ToolSpec {
    if let Some(end) = spec.description.find(". ") {
        spec.description.truncate(end + 1);
    }
    if let Some(properties) = spec.parameters.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
        for declared in properties.values_mut().filter_map(serde_json::Value::as_object_mut) {
            declared.shift_remove("description");
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::count_bytes;
    use proptest::prelude::*;

    fn sum(b: &Budget) -> u64 {
        [b.answer, b.margin, b.instructions, b.tools, b.blocks, b.diary, b.summary, b.recall, b.tail, b.queue]
            .iter()
            .map(|t| u64::from(t.0))
            .sum()
    }

    /// What is wrong with a budget; the checker of the properties below.
    fn problems(b: &Budget) -> Vec<String> {
        let mut out = Vec::new();
        if sum(b) > u64::from(b.window.0) {
            out.push(format!("caps sum to {} in a window of {}", sum(b), b.window));
        }
        if b.is_usable() {
            if sum(b) < u64::from(b.window.0) {
                out.push(format!("{} tokens of {} are given to nobody", u64::from(b.window.0) - sum(b), b.window));
            }
            let floors = [
                ("answer", b.answer, 1),
                ("instructions", b.instructions, MIN_INSTRUCTIONS),
                ("blocks", b.blocks, MIN_BLOCKS),
                ("summary", b.summary, MIN_SUMMARY),
                ("recall", b.recall, MIN_RECALL),
                ("tail", b.tail, MIN_TAIL),
                ("queue", b.queue, MIN_QUEUE),
            ];
            for (name, cap, floor) in floors {
                if cap.0 < floor {
                    out.push(format!("{name} has {cap} < {floor} at {}", b.window));
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_window_is_shared_out_whole(window in prop_oneof![0_u32..4_000, any::<u32>()], output in proptest::option::of(any::<u32>())) {
            let budget = Budget::new(Tokens(window), output.map(Tokens));
            prop_assert_eq!(problems(&budget), Vec::<String>::new());
        }

        #[test]
        fn a_larger_window_takes_nothing_away(a in 512_u32..200_000, more in 0_u32..50_000) {
            let (small, large) = (Budget::for_window(Tokens(a)), Budget::for_window(Tokens(a + more)));
            prop_assert!(small.recall <= large.recall && small.tools <= large.tools && small.diary <= large.diary);
            prop_assert!(small.blocks <= large.blocks && small.summary <= large.summary && small.instructions <= large.instructions);
        }

        #[test]
        fn a_fitted_budget_never_passes_the_window(window in 512_u32..100_000, parts in proptest::array::uniform5(0_u32..40_000)) {
            let budget = Budget::for_window(Tokens(window));
            let [instructions, tools, blocks, diary, summary] = parts.map(Tokens);
            let head = HeadSize { instructions, tools, blocks, diary, summary };
            let fitted = budget.fitted(&head);
            if head.total() + budget.recall + budget.tail <= budget.prompt() {
                prop_assert_eq!(fitted.queue + head.total() + budget.recall + budget.tail, budget.prompt());
            } else {
                prop_assert_eq!(fitted.queue, Tokens(0));
            }
        }
    }

    #[test]
    fn fails_on_planted_bug() {
        // A budget that forgets to take the answer off first.
        let good = Budget::for_window(Tokens(2_000));
        let bad = Budget { queue: good.queue + good.answer, ..good };
        assert!(problems(&good).is_empty());
        assert!(!problems(&bad).is_empty());
        // One that lets recall starve.
        let bad = Budget { recall: Tokens(10), queue: good.queue + good.recall - Tokens(10), ..good };
        assert!(!problems(&bad).is_empty());
    }

    #[test]
    fn caps_shrink_in_the_documented_order() {
        let recall = |window: u32| Budget::for_window(Tokens(window)).recall.0;
        let tools = |window: u32| Budget::for_window(Tokens(window)).tools.0;
        let diary = |window: u32| Budget::for_window(Tokens(window)).diary.0;
        // All tools at 2,400 (a test of the tools holds them below 440 tokens); few at 800; none needed at the floor.
        assert!(tools(2_400) >= 440, "{:?}", Budget::for_window(Tokens(2_400)));
        assert!((FEW_TOOLS..300).contains(&tools(1_200)), "{:?}", Budget::for_window(Tokens(1_200)));
        assert!(diary(2_400) > 90 && diary(800) == 0);
        assert!(recall(800) >= 130, "{:?}", Budget::for_window(Tokens(800)));
        assert!(recall(512) >= MIN_RECALL);
    }

    #[test]
    fn tools_that_do_not_fit_go_by_importance() {
        let spec = |name: &str| ToolSpec {
            name: name.into(),
            description: "Does a thing. And says more about it than anybody needs.".into(),
            parameters: serde_json::json!({"type": "object", "properties": {"x": {"type": "string", "description": "long"}}}),
        };
        let all =
            ["archival_memory_search", "conversation_search", "core_memory_append", "own_tool"].map(|name| Arc::new(spec(name))).to_vec();
        let names = |cap: u32| -> Vec<String> {
            let kept = fit_specs(all.clone(), Tokens(cap), &count_bytes);
            assert!(kept.iter().map(|s| spec_tokens(s, &count_bytes)).sum::<Tokens>() <= Tokens(cap));
            kept.iter().map(|s| s.name.clone()).collect()
        };
        assert_eq!(names(10_000).len(), 4);
        assert_eq!(names(0).len(), 0);
        let one = spec_tokens(&compact(spec("conversation_search")), &count_bytes).0;
        assert_eq!(names(one), ["conversation_search"]);
        assert_eq!(names(2 * one), ["conversation_search", "core_memory_append"]);
        assert_eq!(names(3 * one), ["conversation_search", "core_memory_append", "own_tool"]);
    }
}
