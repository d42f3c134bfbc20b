//! Blocks that have grown full: which lines leave them for archival memory.

use sid_types::{Block, BlockOp, BlockVersion, Provenance};

/// A block is full when so many of a hundred of its characters are used.
const FULL: usize = 90;
/// Lines leave until so many are.
const ROOMY: usize = 60;

/// A line that leaves its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surplus {
    /// The line, without its line break.
    pub line: String,
    /// Takes it out, and nothing else.
    pub edit: BlockOp,
    /// Where it came from: the edit that brought it.
    pub provenance: Provenance,
}

/// Lines that leave a block that is nearly full, oldest first, until there is room again; none while there is.
///
/// `history` is the block's, in any order, as far as it is known. The first line stays: it says whose block it is. So does the newest one. A
/// line that stands in the block more than once leaves once. Pure.
#[must_use]
pub fn surplus(block: &Block, history: &[BlockVersion]) -> Vec<Surplus> {
    let limit = block.limit_chars as usize;
    let mut used = block.value.chars().count();
    if used * 100 < limit * FULL {
        return Vec::new();
    }
    let mut versions: Vec<&BlockVersion> = history.iter().collect();
    versions.sort_by_key(|v| v.version);
    let lines: Vec<&str> = block.value.lines().collect();
    let Some((_, between)) = lines.split_first() else { return Vec::new() };
    let brought = |line: &str| versions.iter().find(|v| v.value_after.lines().any(|l| l == line)).copied();
    let mut candidates: Vec<(u64, usize, &str)> = between
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line)| (brought(line).map_or(0, |v| v.version), n, *line))
        .collect();
    candidates.sort_unstable();
    candidates.pop();
    let mut out = Vec::new();
    for (_, _, line) in candidates {
        if used * 100 < limit * ROOMY {
            break;
        }
        // With the break before it: the first line has none, and stays.
        let edit = BlockOp::Replace { old: format!("\n{line}"), new: String::new() };
        if out.iter().any(|s: &Surplus| s.line == line) || !takes_only(&edit, &block.value, line) {
            continue;
        }
        used -= line.chars().count() + 1;
        let provenance = brought(line).map(|v| v.provenance.clone()).unwrap_or_default();
        out.push(Surplus { line: line.to_owned(), edit, provenance });
    }
    out
}

/// Whether the edit takes the line out, and not the beginning of a longer one before it.
fn takes_only(edit: &BlockOp, value: &str, line: &str) -> bool {
    let lines = value.lines().count();
    edit.apply(value).is_some_and(|after| after.lines().count() + 1 == lines && value.lines().skip(1).any(|l| l == line))
        && value.find(&format!("\n{line}")).is_some_and(|at| {
            let rest = &value[at + 1 + line.len()..];
            rest.is_empty() || rest.starts_with('\n')
        })
}

#[cfg(test)]
mod tests {
    use sid_types::{BlockAccess, BlockId, ConversationId, Owner, Timestamp};

    use super::*;

    fn block(value: &str, limit_chars: u32) -> Block {
        Block {
            id: BlockId::new(),
            owner: Owner::Tenant,
            label: "human".into(),
            description: String::new(),
            value: value.into(),
            limit_chars,
            access: BlockAccess::Write,
            version: 9,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn version(of: &Block, version: u64, value_after: &str, conversation: ConversationId) -> BlockVersion {
        BlockVersion {
            block: of.id,
            version,
            edit: BlockOp::Set { value: value_after.into() },
            value_after: value_after.into(),
            provenance: Provenance { conversation: Some(conversation), channel: "tool".into(), ..Provenance::default() },
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_oldest_lines_leave_until_there_is_room() {
        let (first, second) = (ConversationId::new(), ConversationId::new());
        // The second line was written last.
        let full = block("Ann\nnew-aaaaaa\nold-aaaaaa\nmid-aaaaaa\nend-aaaaaa", 50);
        let history = [
            version(&full, 2, "Ann\nold-aaaaaa\nmid-aaaaaa", second),
            version(&full, 1, "Ann\nold-aaaaaa", first),
            version(&full, 3, "Ann\nold-aaaaaa\nmid-aaaaaa\nend-aaaaaa", second),
            version(&full, 4, &full.value, second),
        ];
        let gone = surplus(&full, &history);
        assert_eq!(gone.iter().map(|s| s.line.as_str()).collect::<Vec<_>>(), ["old-aaaaaa", "mid-aaaaaa"]);
        assert_eq!(gone[0].provenance.conversation, Some(first), "a line remembers who brought it");
        let left = gone.iter().fold(full.value.clone(), |value, s| s.edit.apply(&value).expect("the edit fits"));
        assert_eq!(left, "Ann\nnew-aaaaaa\nend-aaaaaa");
    }

    #[test]
    fn what_has_room_is_left_alone() {
        assert!(surplus(&block("Ann\nlikes pickles\nlives in Oslo", 200), &[]).is_empty());
        assert!(surplus(&block("", 0), &[]).is_empty());
        assert!(surplus(&block(&"x".repeat(99), 100), &[]).is_empty(), "one long line is whole");
    }

    #[test]
    fn a_line_that_begins_another_takes_nothing_of_it() {
        let full = block("Ann\nlikes jam and tea\nlikes jam\nz", 33);
        for one in surplus(&full, &[]) {
            let after = one.edit.apply(&full.value).expect("the edit fits");
            let mut expected: Vec<&str> = full.value.lines().collect();
            expected.retain(|l| *l != one.line);
            assert_eq!(after.lines().collect::<Vec<_>>(), expected);
        }
    }
}
