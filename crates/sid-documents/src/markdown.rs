//! Sections of a text with headings as Markdown writes them.

use crate::section::Section;

/// Most characters of a heading that is kept as one.
const HEADING_CHARS: usize = 120;

/// The sections of a text, in order; none is lost, and a heading stands at the start of its own. Sources: CommonMark 0.31, 4.2 (ATX headings), 4.3
/// (setext headings), 4.5 (fenced code, in which nothing is a heading).
pub(crate) fn sections(text: &str) -> Vec<Section> {
    let mut found = vec![Section::default()];
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut fence: Option<(char, usize)> = None;
    let mut at = 0_u64;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (number, line) in lines.iter().enumerate() {
        let is_code = fence.is_some();
        fence = after_line(fence, line);
        let next = lines.get(number + 1).copied().unwrap_or_default();
        if !is_code
            && fence.is_none()
            && let Some((level, title)) = atx(line).or_else(|| setext(line, next))
        {
            path.retain(|(known, _)| *known < level);
            path.push((level, title));
            let heading = path.iter().map(|(_, title)| title.clone()).collect();
            found.push(Section { heading, start: at, ..Section::default() });
        }
        if let Some(last) = found.last_mut() {
            last.text.push_str(line);
        }
        at += line.chars().count() as u64;
    }
    found.retain(|section| !section.text.trim().is_empty());
    found
}

/// The fence that is open after a line: its sign, and how often it stands there.
fn after_line(open: Option<(char, usize)>, line: &str) -> Option<(char, usize)> {
    let text = line.trim_end();
    let indented = text.trim_start_matches(' ');
    if text.len() - indented.len() > 3 {
        return open;
    }
    let Some(sign) = indented.chars().next().filter(|c| matches!(c, '`' | '~')) else { return open };
    let count = indented.chars().take_while(|c| *c == sign).count();
    match open {
        Some((known, least)) if known == sign && count >= least && indented.len() == count => None,
        Some(_) => open,
        None if count >= 3 && !(sign == '`' && indented[count..].contains('`')) => Some((sign, count)),
        None => None,
    }
}

/// `## Holidays`, also with hashes behind.
fn atx(line: &str) -> Option<(usize, String)> {
    let text = line.trim_end();
    let indented = text.trim_start_matches(' ');
    if text.len() - indented.len() > 3 {
        return None;
    }
    let level = indented.bytes().take_while(|b| *b == b'#').count();
    let rest = &indented[level..];
    if !(1..=6).contains(&level) || !rest.starts_with([' ', '\t']) {
        return None;
    }
    let title = rest.trim();
    let bare = title.trim_end_matches('#');
    let title = if bare.len() < title.len() && (bare.is_empty() || bare.ends_with([' ', '\t'])) { bare.trim_end() } else { title };
    named(level, title)
}

/// A line that is underlined with `===` or `---`.
fn setext(line: &str, next: &str) -> Option<(usize, String)> {
    let (title, under) = (line.trim(), next.trim());
    let level = match under.chars().next()? {
        '=' => 1,
        '-' => 2,
        _ => return None,
    };
    let sign = if level == 1 { '=' } else { '-' };
    let is_underline = under.len() >= 2 && under.chars().all(|c| c == sign);
    // A list, a table, a quotation or a rule above is none.
    let is_title = !title.is_empty() && !title.starts_with(['-', '=', '*', '+', '>', '|', '#']);
    if is_underline && is_title { named(level, title) } else { None }
}

fn named(level: usize, title: &str) -> Option<(usize, String)> {
    let title: String = title.chars().filter(|c| !matches!(c, '*' | '`')).take(HEADING_CHARS).collect();
    let title = title.trim();
    (!title.is_empty()).then(|| (level, title.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = sections(text);
        let paths: Vec<String> = found.iter().map(|s| s.heading.join(">")).collect();
        assert_eq!(paths, expected, "{text:?}");
        for section in &found {
            let from: String = text.chars().skip(usize::try_from(section.start).expect("small")).collect();
            assert!(from.starts_with(&section.text), "{section:?} stands where it says");
        }
    }

    #[test]
    fn headings_make_sections() {
        check("plain", &[""]);
        check("# A\nx\n## B\ny\n# C\nz", &["A", "A>B", "C"]);
        check("before\n# Größe\n### Deep\n## Up", &["", "Größe", "Größe>Deep", "Größe>Up"]);
        check("# Closed ##\n#hash\n#\n    # code", &["Closed"]);
        check("Title\n=====\ntext\nSub\n---\nmore", &["Title", "Title>Sub"]);
        check("- item\n---\n| a |\n---", &[""]);
        check("# **Bold** `code`", &["Bold code"]);
    }

    #[test]
    fn nothing_in_code_is_a_heading() {
        check("# A\n```\n# no\n```\n# B", &["A", "B"]);
        check("# A\n~~~~ sh\n# no\n~~~\n# no\n~~~~\n# B", &["A", "B"]);
        check("# A\n```\n# no end", &["A"]);
        check("# A\n`` `x` ``\n# B", &["A", "B"]);
    }
}
