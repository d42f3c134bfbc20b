//! Colours, or none.

/// Paints text for a terminal; plain when colours are off, so that callers need no cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    is_on: bool,
}

macro_rules! styles {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl Paint {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(self, text: &str) -> String {
                if self.is_on { format!("\x1b[{}m{text}\x1b[0m", $code) } else { text.to_owned() }
            })*
        }
    };
}

styles! {
    /// Headings.
    bold = "1";
    /// What is beside the point.
    dim = "2";
    /// Failures, and lines that went away.
    red = "31";
    /// Successes, and lines that are new.
    green = "32";
    /// Warnings.
    yellow = "33";
    /// Places in a text, such as a diff's hunk.
    cyan = "36";
}

impl Paint {
    /// With colours, or without.
    #[must_use]
    pub const fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// Without colours.
    #[must_use]
    pub const fn plain() -> Self {
        Self { is_on: false }
    }

    /// Whether there are colours.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.is_on
    }

    /// One of seven colours that tell neighbours apart; the same number is always the same colour.
    #[must_use]
    pub fn part(self, number: usize, text: &str) -> String {
        const CODES: [&str; 7] = ["34", "36", "32", "33", "35", "31", "94"];
        if self.is_on { format!("\x1b[{}m{text}\x1b[0m", CODES[number % CODES.len()]) } else { text.to_owned() }
    }
}
