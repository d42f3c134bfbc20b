//! Dates named in a question, relative to the turn's own time.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// A span of time that a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedTime {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

/// People tell of a day on the evening before and in the week after.
const TOLD_BEFORE_DAYS: i64 = 1;
const TOLD_AFTER_DAYS: i64 = 7;

impl NamedTime {
    /// The span in which things of the named time are usually talked about: from the day before it to a week after.
    #[must_use]
    pub fn told(self) -> Self {
        let shifted = |t: Timestamp, days: i64| t.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap_or(t);
        Self { from: shifted(self.from, -TOLD_BEFORE_DAYS), to: shifted(self.to, TOLD_AFTER_DAYS) }
    }

    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// The times that an English text names.
///
/// Absolute (`7 May 2023`, `May 7th`, `2023-05-07`, `5/7/2023`, `in May`, `summer 2022`, `in 2022`) and, when `now` is known, relative
/// (`yesterday`, `last week`, `two weeks ago`, `the past 10 days`, `on Monday`, `this month`). A day or month without a year is the last
/// one that is not in the future; without `now` it is left out, as is what lies ahead (`tomorrow`, `next week`). Zone: that of `now`,
/// else UTC.
///
/// Shape: in order of mention, without repetitions.
///
/// ```
/// use sid_memory::ranking::named_times;
/// let now: jiff::Zoned = "2024-04-25T12:00:00+02:00[Europe/Berlin]".parse().unwrap();
/// let times = named_times("What did I cook two days ago?", Some(&now));
/// assert_eq!(times[0].from.to_string(), "2024-04-22T22:00:00Z");
/// ```
#[must_use]
pub fn named_times(text: &str, now: Option<&Zoned>) -> Vec<NamedTime> {
    let tokens = tokens(text);
    let mut reader = Reader { tokens: &tokens, now, out: Vec::new() };
    let mut at = 0;
    while at < tokens.len() {
        at += reader.read(at).max(1);
    }
    let mut out: Vec<NamedTime> = Vec::new();
    for time in reader.out {
        if !out.contains(&time) {
            out.push(time);
        }
    }
    out
}

struct Token {
    word: String,
    /// The first character after it that is not white space, if no word comes first.
    after: Option<char>,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    let mut open = false;
    for c in text.chars() {
        if c.is_alphanumeric() {
            if !open {
                out.push(Token { word: String::new(), after: None });
                open = true;
            }
            out.last_mut().expect("just pushed").word.extend(c.to_lowercase());
        } else if matches!(c, '\'' | '\u{2019}') && open {
        } else {
            open = false;
            if let Some(last) = out.last_mut()
                && last.after.is_none()
                && !c.is_whitespace()
            {
                last.after = Some(c);
            }
        }
    }
    out
}

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

fn month(word: &str) -> Option<i8> {
    let is = |m: &str| word == m || word == &m[..3] || (m == "september" && word == "sept");
    MONTHS.iter().position(|m| is(m)).map(|i| i as i8 + 1)
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word.strip_suffix('s').unwrap_or(word) {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wedne" => Weekday::Wednesday,
        "thursday" | "thur" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

/// First month of a season, in the northern half of the world.
fn season(word: &str) -> Option<i8> {
    Some(match word {
        "spring" => 3,
        "summer" => 6,
        "autumn" | "fall" => 9,
        "winter" => 12,
        _ => return None,
    })
}

fn day_number(word: &str) -> Option<i8> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &word[digits.len()..];
    let is_plain = matches!(suffix, "" | "st" | "nd" | "rd" | "th");
    digits.parse().ok().filter(|d| is_plain && (1..=31).contains(d))
}

fn year_number(word: &str) -> Option<i16> {
    word.parse().ok().filter(|y| word.len() == 4 && (1900..2100).contains(y))
}

fn count(word: &str) -> Option<i64> {
    const WORDS: [&str; 12] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    if matches!(word, "a" | "an") {
        return Some(1);
    }
    let spelled = WORDS.iter().position(|w| *w == word).map(|i| i as i64 + 1);
    spelled.or_else(|| word.parse().ok().filter(|n| (1..=1_000).contains(n)))
}

#[derive(Clone, Copy)]
enum Unit {
    Day,
    Week,
    Month,
    Year,
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "day" | "days" => Unit::Day,
        "week" | "weeks" => Unit::Week,
        "month" | "months" => Unit::Month,
        "year" | "years" => Unit::Year,
        _ => return None,
    })
}

impl Unit {
    fn times(self, n: i64) -> Span {
        match self {
            Self::Day => Span::new().days(n),
            Self::Week => Span::new().weeks(n),
            Self::Month => Span::new().months(n),
            Self::Year => Span::new().years(n),
        }
    }

    /// First days of the period that `date` lies in and of the one after.
    fn around(self, date: Date) -> (Date, Date) {
        let start = match self {
            Self::Day => date,
            Self::Week => date.saturating_sub(Span::new().days(i64::from(date.weekday().to_monday_zero_offset()))),
            Self::Month => date.first_of_month(),
            Self::Year => date.first_of_year(),
        };
        (start, start.saturating_add(self.times(1)))
    }
}

struct Reader<'a> {
    tokens: &'a [Token],
    now: Option<&'a Zoned>,
    out: Vec<NamedTime>,
}

impl Reader<'_> {
    fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| &t.word)
    }

    fn before(&self, at: usize) -> &str {
        at.checked_sub(1).map_or("", |i| self.word(i))
    }

    fn today(&self) -> Option<Date> {
        self.now.map(Zoned::date)
    }

    /// Reads a time that starts at this token; answers how many tokens it took, 0 if there is none.
    fn read(&mut self, at: usize) -> usize {
        let readers = [Self::numeric, Self::day_and_month, Self::month_alone, Self::season, Self::relative, Self::weekday, Self::year];
        readers.iter().map(|read| read(self, at)).find(|taken| *taken > 0).unwrap_or(0)
    }

    fn push(&mut self, from: Date, to: Date) {
        let zone = self.now.map_or(TimeZone::UTC, |n| n.time_zone().clone());
        let moment = |d: Date| d.to_zoned(zone.clone()).map(|z| z.timestamp());
        if let (Ok(from), Ok(to)) = (moment(from), moment(to)) {
            self.out.push(NamedTime { from, to });
        }
    }

    fn push_day(&mut self, date: Date) {
        self.push(date, date.saturating_add(Span::new().days(1)));
    }

    /// The date, in the last year in which it is not ahead if none is given.
    fn dated(&self, year: Option<i16>, month: i8, day: i8) -> Option<Date> {
        match year {
            Some(year) => Date::new(year, month, day).ok(),
            None => {
                let today = self.today()?;
                (0..5).filter_map(|back| Date::new(today.year() - back, month, day).ok()).find(|d| *d <= today)
            }
        }
    }

    /// `2023-05-07`, `2023/5/7`, `5/7/2023` (month first, unless that cannot be), `7.5.2023`.
    fn numeric(&mut self, at: usize) -> usize {
        let separator = self.tokens[at].after;
        if !matches!(separator, Some('-' | '/' | '.')) || self.tokens.get(at + 1).is_none_or(|t| t.after != separator) {
            return 0;
        }
        let number = |i: usize| self.word(i).parse::<i16>().ok();
        let (Some(a), Some(b), Some(c)) = (number(at), number(at + 1), number(at + 2)) else { return 0 };
        let small = |n: i16| i8::try_from(n).unwrap_or(0);
        let date = if self.word(at).len() == 4 {
            Date::new(a, small(b), small(c))
        } else if self.word(at + 2).len() != 4 {
            return 0;
        } else if separator == Some('.') || a > 12 {
            Date::new(c, small(b), small(a))
        } else {
            Date::new(c, small(a), small(b))
        };
        let Ok(date) = date else { return 0 };
        self.push_day(date);
        3
    }

    /// `7 May 2023`, `7th of May`, `May 7`, `May 7th, 2023`.
    fn day_and_month(&mut self, at: usize) -> usize {
        let of = usize::from(self.word(at + 1) == "of");
        let (day, month, taken) = match (day_number(self.word(at)), month(self.word(at + 1 + of))) {
            (Some(day), Some(month)) => (day, month, 2 + of),
            _ => match (self::month(self.word(at)), day_number(self.word(at + 1))) {
                (Some(month), Some(day)) => (day, month, 2),
                _ => return 0,
            },
        };
        let year = year_number(self.word(at + taken));
        if let Some(date) = self.dated(year, month, day) {
            self.push_day(date);
        }
        taken + usize::from(year.is_some())
    }

    /// `May 2023`, `in May`, `last March`; `may`, `march`, `sun` and the like only where they cannot be anything else.
    fn month_alone(&mut self, at: usize) -> usize {
        let Some(month) = month(self.word(at)) else { return 0 };
        let year = year_number(self.word(at + 1)).or_else(|| (self.word(at + 1) == "of").then(|| year_number(self.word(at + 2))).flatten());
        let is_ambiguous = matches!(self.word(at), "may" | "march" | "mar" | "sep" | "dec" | "jan");
        let is_led_in = matches!(self.before(at), "in" | "during" | "of" | "last" | "this" | "since" | "until" | "early" | "late" | "mid");
        if year.is_none() && is_ambiguous && !is_led_in {
            return 0;
        }
        if let Some(start) = self.dated(year, month, 1) {
            self.push(start, start.saturating_add(Span::new().months(1)));
        }
        1 + usize::from(year.is_some())
    }

    /// `summer 2022`, `last winter`, `this spring`, `in the fall of 2021`.
    fn season(&mut self, at: usize) -> usize {
        let Some(month) = season(self.word(at)) else { return 0 };
        let of = usize::from(self.word(at + 1) == "of");
        let year = year_number(self.word(at + 1 + of));
        let is_led_in =
            matches!(self.before(at), "last" | "this" | "past") || (self.before(at) == "the" && at >= 2 && self.word(at - 2) == "in");
        if year.is_none() && !is_led_in {
            return 0;
        }
        if let Some(start) = self.dated(year, month, 1) {
            self.push(start, start.saturating_add(Span::new().months(3)));
        }
        1 + if year.is_some() { 1 + of } else { 0 }
    }

    fn relative(&mut self, at: usize) -> usize {
        let Some(today) = self.today() else { return 0 };
        let back = |days: i64| today.saturating_sub(Span::new().days(days));
        match self.word(at) {
            "today" | "tonight" => self.push_day(today),
            "yesterday" if self.before(at) == "before" => self.push_day(back(2)),
            "yesterday" => self.push_day(back(1)),
            "this" | "last" | "past" | "previous" => return self.relative_period(at, today),
            _ => return self.ago(at, today),
        }
        1
    }

    /// `last week`, `this month`, `the past ten days`, `last night`, `last weekend`, `this morning`.
    fn relative_period(&mut self, at: usize, today: Date) -> usize {
        let is_this = self.word(at) == "this";
        let next = self.word(at + 1);
        if let Some(unit) = unit(next) {
            let (start, end) = unit.around(today);
            match () {
                () if is_this => self.push(start, end),
                // "The past week" is the last seven days, "last week" the one before this.
                () if self.word(at) == "past" => self.push(today.saturating_sub(unit.times(1)), today.saturating_add(Span::new().days(1))),
                () => self.push(start.saturating_sub(unit.times(1)), start),
            }
            return 2;
        }
        let few = if matches!(next, "few" | "couple") {
            Some((3, 1 + usize::from(self.word(at + 2) == "of")))
        } else {
            count(next).map(|n| (n, 1))
        };
        if let Some((n, words)) = few
            && !is_this
            && let Some(unit) = unit(self.word(at + 1 + words))
        {
            self.push(today.saturating_sub(unit.times(n)), today.saturating_add(Span::new().days(1)));
            return 2 + words;
        }
        let days_since_saturday = i64::from(today.weekday().since(Weekday::Saturday));
        match next {
            "night" => self.push_day(today.saturating_sub(Span::new().days(1))),
            "morning" | "afternoon" | "evening" => self.push_day(today),
            "weekend" => {
                let saturday = today.saturating_sub(Span::new().days(if days_since_saturday < 2 && !is_this {
                    days_since_saturday + 7
                } else {
                    days_since_saturday
                }));
                self.push(saturday, saturday.saturating_add(Span::new().days(2)));
            }
            _ => return 0,
        }
        2
    }

    /// `3 days ago`, `a week ago`, `a couple of weeks ago`, `two months earlier`.
    fn ago(&mut self, at: usize, today: Date) -> usize {
        let (n, mut taken) = match (self.word(at), self.word(at + 1)) {
            ("a", "few") | ("few", _) => (3, if self.word(at) == "a" { 2 } else { 1 }),
            ("a", "couple") | ("couple", _) => (2, if self.word(at) == "a" { 2 } else { 1 }),
            (word, _) => match count(word) {
                Some(n) => (n, 1),
                None => return 0,
            },
        };
        taken += usize::from(self.word(at + taken) == "of");
        let Some(unit) = unit(self.word(at + taken)) else { return 0 };
        if self.word(at + taken + 1) != "ago" {
            return 0;
        }
        let day = today.saturating_sub(unit.times(n));
        match unit {
            Unit::Day => self.push_day(day),
            // "Two weeks ago" is a week wide, not a day.
            Unit::Week => self.push(day.saturating_sub(Span::new().days(3)), day.saturating_add(Span::new().days(4))),
            Unit::Month | Unit::Year => {
                let (start, end) = unit.around(day);
                self.push(start, end);
            }
        }
        taken + 2
    }

    /// `on Monday`, `last Tuesday`: the last one before today.
    fn weekday(&mut self, at: usize) -> usize {
        let (Some(weekday), Some(today)) = (weekday(self.word(at)), self.today()) else { return 0 };
        let is_led_in = matches!(self.before(at), "on" | "last" | "this" | "past" | "since");
        if !is_led_in || self.word(at).ends_with("days") {
            return 0;
        }
        let back = match i64::from(today.weekday().since(weekday)) {
            0 => 7,
            n => n,
        };
        self.push_day(today.saturating_sub(Span::new().days(back)));
        1
    }

    /// `in 2022`, `since 2019`.
    fn year(&mut self, at: usize) -> usize {
        let Some(year) = year_number(self.word(at)) else { return 0 };
        if !matches!(self.before(at), "in" | "during" | "of" | "since" | "year" | "throughout" | "early" | "late") {
            return 0;
        }
        if let (Ok(from), Ok(to)) = (Date::new(year, 1, 1), Date::new(year + 1, 1, 1)) {
            self.push(from, to);
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: `first day` or `first day..first day after`, in Berlin; the turn is on Thursday 2024-04-25.
    fn check(text: &str, expected: &[&str]) {
        let now: Zoned = "2024-04-25T18:30:00+02:00[Europe/Berlin]".parse().expect("a time");
        let zone = now.time_zone().clone();
        let found: Vec<String> = named_times(text, Some(&now))
            .into_iter()
            .map(|t| {
                let day = |t: Timestamp| t.to_zoned(zone.clone()).date();
                let (from, to) = (day(t.from), day(t.to));
                if from.tomorrow().is_ok_and(|next| next == to) { from.to_string() } else { format!("{from}..{to}") }
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn absolute_dates() {
        check("What happened on 7 May 2023?", &["2023-05-07"]);
        check("on the 7th of May, 2023", &["2023-05-07"]);
        check("May 7, 2023", &["2023-05-07"]);
        check("may 7th 2023", &["2023-05-07"]);
        check("Sept. 3rd, 2022", &["2022-09-03"]);
        check("1 December,2023 taken", &["2023-12-01"]);
        check("December 1,2023 taken", &["2023-12-01"]);
        check("2023-05-07", &["2023-05-07"]);
        check("2023/5/7", &["2023-05-07"]);
        check("5/7/2023", &["2023-05-07"]);
        check("25/12/2023", &["2023-12-25"]);
        check("7.5.2023", &["2023-05-07"]);
        check("version 1.2.3 and 5.3.1", &[]);
        check("2023-13-45", &[]);
        check("31 February 2023", &[]);
        check("between 1 May 2023 and 3 May 2023", &["2023-05-01", "2023-05-03"]);
        check("1 May 2023, yes, 1 May 2023", &["2023-05-01"]);
    }

    #[test]
    fn dates_without_a_year_are_the_last_ones() {
        check("on 3 April", &["2024-04-03"]);
        check("on June 3", &["2023-06-03"]);
        check("on April 25", &["2024-04-25"]);
        check("on 29 February", &["2024-02-29"]);
        check("in June", &["2023-06-01..2023-07-01"]);
        check("in april", &["2024-04-01..2024-05-01"]);
        assert!(named_times("on 3 April, in June, yesterday, last week", None).is_empty());
        assert_eq!(named_times("on 3 April 2020 and in 2019", None).len(), 2);
    }

    #[test]
    fn months_seasons_and_years() {
        check("in May 2023", &["2023-05-01..2023-06-01"]);
        check("early Jan 2024", &["2024-01-01..2024-02-01"]);
        check("what may I do", &[]);
        check("the march to the sea", &[]);
        check("since last March", &["2024-03-01..2024-04-01"]);
        check("in summer 2022", &["2022-06-01..2022-09-01"]);
        check("last winter", &["2023-12-01..2024-03-01"]);
        check("in the fall of 2021", &["2021-09-01..2021-12-01"]);
        check("did I fall in the garden", &[]);
        check("in 2022", &["2022-01-01..2023-01-01"]);
        check("2022 pickles", &[]);
        check("the year 2019", &["2019-01-01..2020-01-01"]);
    }

    #[test]
    fn relative_times() {
        check("today", &["2024-04-25"]);
        check("yesterday", &["2024-04-24"]);
        check("the day before yesterday", &["2024-04-23"]);
        check("last night", &["2024-04-24"]);
        check("this morning", &["2024-04-25"]);
        check("this week", &["2024-04-22..2024-04-29"]);
        check("last week", &["2024-04-15..2024-04-22"]);
        check("the past week", &["2024-04-18..2024-04-26"]);
        check("last month", &["2024-03-01..2024-04-01"]);
        check("this year", &["2024-01-01..2025-01-01"]);
        check("last year", &["2023-01-01..2024-01-01"]);
        check("the last 10 days", &["2024-04-15..2024-04-26"]);
        check("over the past two months", &["2024-02-25..2024-04-26"]);
        check("in the last few weeks", &["2024-04-04..2024-04-26"]);
        check("last weekend", &["2024-04-20..2024-04-22"]);
        check("tomorrow or next week", &[]);
    }

    #[test]
    fn so_long_ago() {
        check("3 days ago", &["2024-04-22"]);
        check("a week ago", &["2024-04-15..2024-04-22"]);
        check("two weeks ago", &["2024-04-08..2024-04-15"]);
        check("a couple of weeks ago", &["2024-04-08..2024-04-15"]);
        check("a few days ago", &["2024-04-22"]);
        check("a month ago", &["2024-03-01..2024-04-01"]);
        check("ten years ago", &["2014-01-01..2015-01-01"]);
        check("two weeks of rain", &[]);
    }

    #[test]
    fn weekdays() {
        check("on Monday", &["2024-04-22"]);
        check("last Thursday", &["2024-04-18"]);
        check("on Friday", &["2024-04-19"]);
        check("Sunday roast", &[]);
        check("on Mondays", &[]);
    }

    #[test]
    fn things_are_told_around_their_time() {
        let time = named_times("on 7 May 2023", None)[0];
        let told = time.told();
        assert_eq!((told.from.to_string(), told.to.to_string()), ("2023-05-06T00:00:00Z".into(), "2023-05-15T00:00:00Z".into()));
        assert!(told.contains(time.from) && !time.contains(told.from));
    }
}
