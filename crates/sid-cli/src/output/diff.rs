//! Unified diffs of short texts (blocks have a few thousand characters), by lines.

use super::Paint;

const CONTEXT: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The unified diff from `old` to `new`; empty when they are equal.
#[must_use]
pub fn unified(old_name: &str, old: &str, new_name: &str, new: &str, paint: Paint) -> String {
    let lines = compare(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let changed: Vec<usize> = (0..lines.len()).filter(|i| !matches!(lines[*i], Line::Same(_))).collect();
    let Some(first) = changed.first() else { return String::new() };
    let mut out = format!("{}\n{}\n", paint.bold(&format!("--- {old_name}")), paint.bold(&format!("+++ {new_name}")));
    let mut start = first.saturating_sub(CONTEXT);
    let mut last = *first;
    for next in changed.iter().skip(1).map(|i| Some(*i)).chain([None]) {
        match next {
            Some(next) if next - last <= 2 * CONTEXT => {}
            _ => {
                hunk(&mut out, &lines, start..(last + CONTEXT + 1).min(lines.len()), paint);
                start = next.map_or(0, |n| n.saturating_sub(CONTEXT));
            }
        }
        last = next.unwrap_or(last);
    }
    out
}

fn hunk(out: &mut String, lines: &[Line<'_>], range: std::ops::Range<usize>, paint: Paint) {
    let count = |lines: &[Line<'_>]| {
        let old = lines.iter().filter(|l| !matches!(l, Line::New(_))).count();
        let new = lines.iter().filter(|l| !matches!(l, Line::Gone(_))).count();
        (old, new)
    };
    let (old_before, new_before) = count(&lines[..range.start]);
    let (old, new) = count(&lines[range.clone()]);
    // An empty side is placed at the line before, as diff(1) does.
    let at = |before: usize, n: usize| if n == 0 { before } else { before + 1 };
    let place = format!("@@ -{},{old} +{},{new} @@", at(old_before, old), at(new_before, new));
    out.push_str(&paint.cyan(&place));
    out.push('\n');
    for line in &lines[range] {
        match line {
            Line::Same(text) => out.push_str(&format!(" {text}")),
            Line::Gone(text) => out.push_str(&paint.red(&format!("-{text}"))),
            Line::New(text) => out.push_str(&paint.green(&format!("+{text}"))),
        }
        out.push('\n');
    }
}

/// Longest common subsequence by dynamic programming: quadratic, which is nothing for a block of some hundred lines.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let columns = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * columns];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * columns + j] = if old[i] == new[j] {
                common[(i + 1) * columns + j + 1] + 1
            } else {
                common[(i + 1) * columns + j].max(common[i * columns + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[(i + 1) * columns + j] >= common[i * columns + j + 1]) {
            out.push(Line::Gone(old[i]));
            i += 1;
        } else {
            out.push(Line::New(new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, new: &str, expected: &str) {
        let text = unified("1", old, "2", new, Paint::plain());
        let body = text.strip_prefix("--- 1\n+++ 2\n").unwrap_or(&text);
        assert_eq!(body, expected);
    }

    #[test]
    fn diffs_read_as_those_of_diff() {
        check("a\nb\nc", "a\nb\nc", "");
        check("", "a", "@@ -0,0 +1,1 @@\n+a\n");
        check("a", "", "@@ -1,1 +0,0 @@\n-a\n");
        check("a\nb\nc", "a\nB\nc", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        check("likes tea", "likes tea\nallergic to nuts", "@@ -1,1 +1,2 @@\n likes tea\n+allergic to nuts\n");
    }

    #[test]
    fn far_apart_changes_become_two_hunks() {
        let lines = |a: &str, b: &str| {
            (0..20)
                .map(|i| {
                    if i == 2 {
                        a.into()
                    } else if i == 17 {
                        b.into()
                    } else {
                        i.to_string()
                    }
                })
                .collect::<Vec<String>>()
                .join("\n")
        };
        let text = unified("1", &lines("x", "y"), "2", &lines("X", "Y"), Paint::plain());
        let places: Vec<&str> = text.lines().filter(|l| l.starts_with("@@")).collect();
        assert_eq!(places, ["@@ -1,6 +1,6 @@", "@@ -15,6 +15,6 @@"]);
    }

    #[test]
    fn colours_are_put_around_whole_lines() {
        let text = unified("1", "a", "2", "b", Paint::new(true));
        assert!(text.contains("\x1b[31m-a\x1b[0m\n\x1b[32m+b\x1b[0m\n"), "{text:?}");
    }
}
