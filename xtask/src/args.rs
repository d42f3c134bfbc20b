//! Reading the options of a subcommand.

use anyhow::{Context, Result, bail};

/// What follows the subcommand's name. Taking an option removes it, so that [`Args::finish`] can complain about the rest.
pub(crate) struct Args {
    rest: Vec<String>,
}

impl Args {
    pub(crate) fn new(rest: Vec<String>) -> Self {
        Self { rest }
    }

    /// Whether `--name` is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|a| a != name);
        self.rest.len() != before
    }

    /// The value of `--name value` or `--name=value`.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>> {
        if let Some(at) = self.rest.iter().position(|a| a == name) {
            self.rest.remove(at);
            if at == self.rest.len() {
                bail!("{name} needs a value");
            }
            return Ok(Some(self.rest.remove(at)));
        }
        let prefix = format!("{name}=");
        let at = self.rest.iter().position(|a| a.starts_with(&prefix));
        Ok(at.map(|at| self.rest.remove(at)[prefix.len()..].to_owned()))
    }

    /// The value of `--name` as a number.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>> {
        self.value(name)?.map(|v| v.parse().with_context(|| format!("{name} wants a number, not `{v}`"))).transpose()
    }

    /// The next argument that is no option.
    pub(crate) fn word(&mut self) -> Option<String> {
        let at = self.rest.iter().position(|a| !a.starts_with('-'))?;
        Some(self.rest.remove(at))
    }

    /// An error if anything was not taken.
    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        bail!("do not know what to do with `{}` (see --help)", self.rest.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn args(text: &str) -> Args {
        Args::new(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_are_taken_once_and_the_rest_is_refused() {
        let mut a = args("memory --times 50 --url=x --auto extra");
        assert!(a.flag("--auto") && !a.flag("--auto"));
        assert_eq!(a.number("--times").expect("a number"), Some(50));
        assert_eq!(a.value("--url").expect("a value").as_deref(), Some("x"));
        assert_eq!(a.word().as_deref(), Some("memory"));
        assert!(a.finish().is_err());
        assert!(args("--times").value("--times").is_err());
        assert!(args("--times many").number("--times").is_err());
    }
}
