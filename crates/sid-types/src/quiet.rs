//! Hours of the day in which agents begin nothing by themselves.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Every day from one time to another by the clock on the wall, over midnight too. From a time to the same time is never.
///
/// ```
/// let night: sid_types::QuietHours = "22:00-07:00".parse().unwrap();
/// assert!(night.holds_at(jiff::civil::time(23, 30, 0, 0)) && !night.holds_at(jiff::civil::time(7, 0, 0, 0)));
/// assert_eq!(night.to_string(), "22:00-07:00");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuietHours {
    /// The first quiet minute.
    pub from: Time,
    /// The first one that is not.
    pub to: Time,
}

impl QuietHours {
    /// Whether the clock on the wall shows a quiet time.
    #[must_use]
    pub fn holds_at(&self, shown: Time) -> bool {
        if self.from <= self.to { self.from <= shown && shown < self.to } else { shown >= self.from || shown < self.to }
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

/// What is not two times of a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not two times of a day: write them as in `22:00-07:00`")]
pub struct NoQuietHours(pub String);

impl FromStr for QuietHours {
    type Err = NoQuietHours;

    fn from_str(text: &str) -> Result<Self, NoQuietHours> {
        let time = |text: &str| match text.as_bytes() {
            [b'0'..=b'9', b'0'..=b'9', b':', b'0'..=b'9', b'0'..=b'9'] => text.parse::<Time>().ok(),
            _ => None,
        };
        let times = text.split_once('-').and_then(|(from, to)| time(from).zip(time(to)));
        times.map(|(from, to)| Self { from, to }).ok_or_else(|| NoQuietHours(text.into()))
    }
}

impl Serialize for QuietHours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QuietHours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_of_a_day() {
        let check = |hours: &str, shown: &str, expected: bool| {
            let hours: QuietHours = hours.parse().expect("hours");
            assert_eq!(hours.holds_at(shown.parse().expect("a time")), expected, "{hours} at {shown}");
        };
        check("22:00-07:00", "21:59:59", false);
        check("22:00-07:00", "22:00:00", true);
        check("22:00-07:00", "00:00:00", true);
        check("22:00-07:00", "06:59:59", true);
        check("22:00-07:00", "07:00:00", false);
        check("13:00-14:30", "14:00:00", true);
        check("13:00-14:30", "14:30:00", false);
        check("00:00-00:00", "00:00:00", false);
    }

    #[test]
    fn what_is_no_hours_is_refused() {
        for text in ["", "22:00", "22-07", "22:00-24:00", "2:00-07:00", "22:00 - 07:00", "22:00-07:00-08:00"] {
            assert!(text.parse::<QuietHours>().is_err(), "{text}");
        }
    }
}
