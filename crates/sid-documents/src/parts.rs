//! Sections cut into parts.

use sid_types::Place;

use crate::read::Part;
use crate::section::Section;

/// Where a text is cut, best first.
const BREAKS: [&str; 4] = ["\n\n", "\n", ". ", " "];

/// Parts of about `size` characters, never more; a part is never empty, and never in two sections.
pub(crate) fn parts(sections: Vec<Section>, size: usize) -> Vec<Part> {
    let size = size.max(16);
    let mut parts = Vec::new();
    for section in sections {
        if is_heading_alone(&section) {
            continue;
        }
        let mut start = section.start;
        let mut rest = section.text.as_str();
        while !rest.is_empty() {
            let piece = &rest[..cut(rest, size)];
            let end = start + piece.chars().count() as u64;
            let text = piece.trim();
            if !text.is_empty() {
                let before = piece.len() - piece.trim_start().len();
                let from = start + piece[..before].chars().count() as u64;
                let place = Place {
                    part: u32::try_from(parts.len() + 1).unwrap_or(u32::MAX),
                    page: section.page,
                    heading: section.heading.clone(),
                    start: from,
                    end: from + text.chars().count() as u64,
                };
                parts.push(Part { place, text: text.to_owned() });
            }
            rest = &rest[piece.len()..];
            start = end;
        }
    }
    parts
}

/// A heading with nothing under it but smaller headings: they name it.
fn is_heading_alone(section: &Section) -> bool {
    let lines = section.text.lines().filter(|line| !line.trim().is_empty());
    !section.heading.is_empty() && lines.skip(1).all(|line| line.trim().chars().all(|c| matches!(c, '=' | '-')))
}

/// Where the first part of a text ends, in bytes: never zero.
fn cut(text: &str, size: usize) -> usize {
    let Some((most, _)) = text.char_indices().nth(size) else { return text.len() };
    let window = &text[..most];
    // A break in the first third would leave a part of a few words.
    let least = most / 3;
    BREAKS.iter().filter_map(|mark| window.rfind(mark).map(|at| at + mark.len())).find(|at| *at > least).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::markdown::sections;

    #[test]
    fn a_part_ends_where_a_paragraph_does() {
        let section = Section { text: format!("{}\n\n{}", "one ".repeat(10), "two ".repeat(10)), ..Section::default() };
        let found = parts(vec![section], 60);
        assert_eq!(found.len(), 2);
        assert!(found[0].text.ends_with("one") && found[1].text.starts_with("two"));
        assert_eq!((found[0].place.part, found[1].place.part), (1, 2));
    }

    #[test]
    fn a_heading_with_nothing_under_it_is_no_part() {
        let found = parts(sections("# A\n\n## B\n\ntext\n\nC\n===\n"), 100);
        assert_eq!(found.iter().map(|p| p.place.heading.join(">")).collect::<Vec<_>>(), ["A>B"]);
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_every_part_stands_where_it_says(text in "[a-zé漢#\n .`=-]{0,400}", size in 1_usize..90) {
            let characters: Vec<char> = text.chars().collect();
            let found = parts(sections(&text), size);
            for part in &found {
                let (start, end) = (part.place.start as usize, part.place.end as usize);
                prop_assert_eq!(characters[start..end].iter().collect::<String>(), part.text.as_str());
                prop_assert!(part.text.chars().count() <= size.max(16));
            }
            let kept: String = found.iter().flat_map(|p| p.text.chars()).filter(|c| c.is_alphabetic()).collect();
            let headings: Vec<_> = sections(&text).into_iter().filter(is_heading_alone).collect();
            let alone: usize = headings.iter().map(|s| s.text.chars().filter(|c| c.is_alphabetic()).count()).sum();
            prop_assert_eq!(kept.chars().count() + alone, text.chars().filter(|c| c.is_alphabetic()).count());
        }
    }
}
