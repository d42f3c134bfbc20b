//! How long a server may take.

use std::time::Duration;

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Until a server has been reached and has told its tools. Default: 10 s. Since 0.1.
    pub discovery: Duration,
    /// For one call, once it is reached. Default: 60 s. Since 0.1.
    pub call: Duration,
    /// How often its tools are asked for again. Default: 5 minutes. Since 0.1.
    pub refresh: Duration,
    /// The first pause after a failure; it doubles with each, up to a minute. Default: 1 s. Since 0.1.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            discovery: Duration::from_secs(10),
            call: Duration::from_secs(60),
            refresh: Duration::from_secs(300),
            pause: Duration::from_secs(1),
        }
    }
}

impl Limits {
    pub(super) fn pause_after(&self, failures: u32) -> Duration {
        self.pause.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
    }
}
