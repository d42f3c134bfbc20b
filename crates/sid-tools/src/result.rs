//! Results that fit their budget.

use sid_types::Tokens;

/// The most tokens that a text can have with any tokenizer in use: a tool does not know the model's, and its result must fit with all.
#[must_use]
pub fn most_tokens(text: &str) -> Tokens {
    let wide = text.chars().filter(|c| !c.is_ascii()).count();
    let tokens = (text.len() * 11).div_ceil(40).max(text.len().div_ceil(4) + wide / 2);
    Tokens(u32::try_from(tokens).unwrap_or(u32::MAX))
}

/// A result of at most `budget` tokens: whole, or its beginning with a note that says how much is missing and what to do about it.
///
/// Shape: cut between characters, never inside one. A budget that is too small even for the note gives the bare beginning.
///
/// ```
/// # use sid_tools::{fit_result, most_tokens};
/// # use sid_types::Tokens;
/// assert_eq!(fit_result("short", Tokens(50)), "short");
/// let cut = fit_result(&"long ".repeat(1_000), Tokens(50));
/// assert!(most_tokens(&cut) <= Tokens(50) && cut.contains("of 5000 characters"));
/// ```
#[must_use]
pub fn fit_result(text: &str, budget: Tokens) -> String {
    if most_tokens(text) <= budget {
        return text.to_owned();
    }
    let whole = text.chars().count();
    let note = |shown: usize| format!("\n[cut: {shown} of {whole} characters; ask for less at once]");
    let room = budget.saturating_sub(most_tokens(&note(whole)) + Tokens(1));
    if room == Tokens(0) {
        return beginning(text, budget).to_owned();
    }
    let start = beginning(text, room);
    format!("{start}{}", note(start.chars().count()))
}

fn beginning(text: &str, budget: Tokens) -> &str {
    let (mut fits, mut over) = (0, text.len() + 1);
    while over - fits > 1 {
        let middle = fits.midpoint(over);
        let at = text.floor_char_boundary(middle);
        if most_tokens(&text[..at]) <= budget {
            fits = middle;
        } else {
            over = middle;
        }
    }
    &text[..text.floor_char_boundary(fits)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_never_exceeds_its_budget() {
        for text in ["", "a", &"word ".repeat(3_000), &"漢字".repeat(2_000), &"\u{1f952}".repeat(999), &"é\n".repeat(500)] {
            for budget in [0, 1, 5, 17, 40, 100, 1_000, 100_000] {
                let fitted = fit_result(text, Tokens(budget));
                assert!(most_tokens(&fitted) <= Tokens(budget), "{} of {budget}", most_tokens(&fitted));
                assert!(most_tokens(text) > Tokens(budget) || fitted == text);
            }
        }
    }
}
