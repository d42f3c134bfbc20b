//! Timers: when one is due, what becomes of what is late, and the run that answers it.
//!
//! `calendar` tells moments and `plan` decides, both pure; `fire` acts. Due is what is due by the store's clock, which all replicas share.

mod calendar;
mod fire;
mod keep;
mod plan;
mod tools;

pub use calendar::Calendar;
pub(crate) use fire::poll;
pub(crate) use keep::Keeper;
pub use keep::{AUTONOMOUS_KEY, NewTimer, TimerChange};
pub use plan::{MOST_LATE, Plan, plan};
pub(crate) use tools::register;
