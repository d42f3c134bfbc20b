//! What the machine's host gave to others meanwhile: on a shared machine, figures are to be read with it.

use anyhow::{Context as _, Result};

/// Ticks of all processors so far (`/proc/stat`, see proc_stat(5)).
pub(crate) struct Host {
    /// Of work, and of what was wanted for work and given to others.
    wanted: u64,
    stolen: u64,
}

impl Host {
    pub(crate) fn now() -> Result<Self> {
        Self::read(&std::fs::read_to_string("/proc/stat")?)
    }

    fn read(stat: &str) -> Result<Self> {
        let line = stat.lines().next().context("a line of all processors")?;
        let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
        let [user, nice, system, _idle, _waiting, irq, softirq, stolen, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat has no time that was stolen")
        };
        Ok(Self { wanted: user + nice + system + irq + softirq + stolen, stolen })
    }

    /// How much of the time that processors were wanted since then the host gave to others, as people read it.
    pub(crate) fn took(&self) -> Result<String> {
        let now = Self::now()?;
        let share = 100.0 * (now.stolen - self.stolen) as f64 / (now.wanted - self.wanted).max(1) as f64;
        Ok(format!("the host gave {share:.0} % of the time that was wanted to others"))
    }
}
