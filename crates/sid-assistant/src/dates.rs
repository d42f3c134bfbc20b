//! Dates and times: what a model else guesses.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, SpanTotal, Timestamp, ToSpan as _, Unit, Zoned};
use sid_tools::{Tool, ToolContext};

/// Most working days that are counted.
const MOST_DAYS: i64 = 100_000;

/// Tools for dates and times.
#[must_use]
pub fn calendar() -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(CurrentTime), Arc::new(DateAdd), Arc::new(DateDifference), Arc::new(FindWeekday), Arc::new(ConvertTime)]
}

/// Tells the present date and time, with weekday, week and zone.
#[sid_tools::tool(read)]
async fn current_time(
    context: &ToolContext,
    /// IANA zone such as `Europe/Berlin`; the user's without it.
    zone: Option<String>,
) -> Result<String, String> {
    let now = present(context, zone.as_deref())?;
    let week = now.date().iso_week_date();
    Ok(format!("{}. Week {} of {}, day {} of the year.", shown(&now, true), week.week(), week.year(), now.day_of_year()))
}

/// Adds to a date or time, or subtracts with negative numbers. Months that are too short end on their last day.
#[sid_tools::tool(read)]
#[expect(clippy::too_many_arguments, reason = "each unit is an argument that a model can name")]
async fn date_add(
    context: &ToolContext,
    /// `2026-11-24`, `2026-11-24T10:15`, `today`, `tomorrow`, `yesterday` or `now`.
    start: String,
    /// Years to add.
    years: Option<i64>,
    /// Months to add.
    months: Option<i64>,
    /// Weeks to add.
    weeks: Option<i64>,
    /// Days to add.
    days: Option<i64>,
    /// Working days to add, Monday to Friday, after all else.
    business_days: Option<i64>,
    /// Hours to add.
    hours: Option<i64>,
    /// Minutes to add.
    minutes: Option<i64>,
    /// Dates that are no working days, such as `2026-12-25`.
    holidays: Option<Vec<String>>,
    /// IANA zone; the user's without it.
    zone: Option<String>,
) -> Result<String, String> {
    let (start, has_time) = moment(context, &start, zone.as_deref())?;
    let sum =
        |large: Option<i64>, each: i64, small: Option<i64>| large.unwrap_or(0).saturating_mul(each).saturating_add(small.unwrap_or(0));
    let (months, days, minutes) = (sum(years, 12, months), sum(weeks, 7, days), sum(hours, 60, minutes));
    // One after the other: a span has one sign for all its units, and two weeks less a day is asked for.
    let add = || {
        let start = start.checked_add(Span::new().try_months(months)?)?;
        start.checked_add(Span::new().try_days(days)?)?.checked_add(Span::new().try_minutes(minutes)?)
    };
    let mut end = add().map_err(|e| format!("That leads out of the calendar: {e}."))?;
    if let Some(count) = business_days.filter(|n| *n != 0) {
        let free = free_days(holidays)?;
        if count.abs() > MOST_DAYS {
            return Err(format!("At most {MOST_DAYS} working days can be added."));
        }
        let (step, mut left) = (if count > 0 { 1.day() } else { -1.day() }, count.abs());
        while left > 0 {
            end = end.checked_add(step).map_err(|e| format!("That leads out of the calendar: {e}."))?;
            left -= i64::from(is_working(end.date(), &free));
        }
    }
    let has_time = has_time || minutes != 0;
    Ok(shown(&end, has_time))
}

/// Tells how long it is from one date or time to another: in days, in weeks, in years, months and days, and in working days.
#[sid_tools::tool(read)]
async fn date_difference(
    context: &ToolContext,
    /// `2026-11-24`, `2026-11-24T10:15`, `today` or `now`.
    from: String,
    /// The same.
    to: String,
    /// Dates that are no working days.
    holidays: Option<Vec<String>>,
    /// IANA zone; the user's without it.
    zone: Option<String>,
) -> Result<String, String> {
    let ((from, a), (to, b)) = (moment(context, &from, zone.as_deref())?, moment(context, &to, zone.as_deref())?);
    let days = from.date().until((Unit::Day, to.date())).map_err(|e| e.to_string())?.get_days();
    let parts = from.date().until((Unit::Year, to.date())).map_err(|e| e.to_string())?;
    let mut text = format!("From {} to {}: {days} days", shown(&from, a), shown(&to, b));
    text += &format!(", or {} weeks and {} days", days / 7, days % 7);
    text += &format!(", or {} years, {} months and {} days", parts.get_years(), parts.get_months(), parts.get_days());
    if i64::from(days).abs() <= MOST_DAYS {
        let free = free_days(holidays)?;
        let (first, last) = (from.date().min(to.date()), from.date().max(to.date()));
        // As for `days`: of the two ends, the last one counts.
        let working = first.series(1.day()).skip(1).take_while(|d| *d <= last).filter(|d| is_working(*d, &free)).count();
        text += &format!(", of which {working} are working days");
    }
    if a || b {
        let minutes = from.until(&to).and_then(|span| span.total(SpanTotal::from(Unit::Minute).days_are_24_hours()));
        let minutes = minutes.map_err(|e| e.to_string())?.round() as i64;
        text += &format!(". Exactly {} hours and {} minutes", minutes / 60, minutes % 60);
    }
    Ok(text + ".")
}

/// Finds a weekday: the next one after a date, the last one before it, or the nth.
#[sid_tools::tool(read)]
async fn find_weekday(
    context: &ToolContext,
    /// `Monday` to `Sunday`.
    weekday: String,
    /// Where to start, not counted itself: `2026-11-24`, `today`; today without it.
    from: Option<String>,
    /// 1 = the next one (also without it), 2 = the one after that; -1 = the last one before.
    nth: Option<i32>,
    /// IANA zone; the user's without it.
    zone: Option<String>,
) -> Result<String, String> {
    let (from, _) = moment(context, from.as_deref().unwrap_or("today"), zone.as_deref())?;
    let weekday = weekday_of(&weekday)?;
    let nth = nth.filter(|n| *n != 0).unwrap_or(1);
    let found = from.date().nth_weekday(nth, weekday).map_err(|e| format!("That leads out of the calendar: {e}."))?;
    let days = from.date().until((Unit::Day, found)).map_err(|e| e.to_string())?.get_days();
    Ok(format!("{}, {days} days from {}.", day(found), day(from.date())))
}

/// Tells what a time in one zone is in another.
#[sid_tools::tool(read)]
async fn convert_time(
    context: &ToolContext,
    /// `2026-11-24T10:15` or `now`.
    time: String,
    /// IANA zone to tell it in, such as `Asia/Tokyo`.
    to: String,
    /// IANA zone that it is in; the user's without it.
    from: Option<String>,
) -> Result<String, String> {
    let (time, _) = moment(context, &time, from.as_deref())?;
    let there = time.with_time_zone(zone_of(&to)?);
    Ok(format!("{} is {}.", shown(&time, true), shown(&there, true)))
}

fn zone_of(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name.trim())
        .map_err(|_| format!("There is no zone `{name}`: use an IANA name such as Europe/Berlin or America/New_York."))
}

fn present(context: &ToolContext, zone: Option<&str>) -> Result<Zoned, String> {
    let zone = zone_of(zone.unwrap_or(&context.timezone))?;
    Ok(context.now.to_zoned(zone))
}

/// A moment, and whether it has a time of day.
fn moment(context: &ToolContext, text: &str, zone: Option<&str>) -> Result<(Zoned, bool), String> {
    let now = present(context, zone)?;
    let text = text.trim();
    let on = |date: Date| date.to_zoned(now.time_zone().clone()).map(|z| (z, false)).map_err(|e| e.to_string());
    let word = text.to_ascii_lowercase();
    match word.as_str() {
        "now" => return Ok((now, true)),
        "today" => return on(now.date()),
        "tomorrow" => return on(now.date().tomorrow().map_err(|e| e.to_string())?),
        "yesterday" => return on(now.date().yesterday().map_err(|e| e.to_string())?),
        _ => {}
    }
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok((zoned, true));
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok((instant.to_zoned(now.time_zone().clone()), true));
    }
    let has_time = text.len() > 10;
    let civil =
        if has_time { text.parse::<DateTime>() } else { text.parse::<Date>().map(|d| d.to_datetime(jiff::civil::Time::midnight())) };
    let civil = civil.map_err(|_| format!("`{text}` is no date: write 2026-11-24, 2026-11-24T10:15, today, tomorrow or now."))?;
    let zoned = civil.to_zoned(now.time_zone().clone()).map_err(|e| e.to_string())?;
    Ok((zoned, has_time))
}

fn day(date: Date) -> String {
    format!("{} {date}", date.strftime("%A"))
}

fn shown(moment: &Zoned, has_time: bool) -> String {
    if has_time { moment.strftime("%A %Y-%m-%d %H:%M (%:z, %Q)").to_string() } else { day(moment.date()) }
}

fn weekday_of(text: &str) -> Result<Weekday, String> {
    let all = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let word = text.trim().to_ascii_lowercase();
    let found = all.into_iter().find(|(start, _)| word.starts_with(start));
    found.map(|(_, weekday)| weekday).ok_or_else(|| format!("`{text}` is no weekday: write Monday to Sunday."))
}

fn free_days(holidays: Option<Vec<String>>) -> Result<Vec<Date>, String> {
    let read = |text: String| text.trim().parse::<Date>().map_err(|_| format!("`{text}` is no date: write 2026-12-25."));
    holidays.unwrap_or_default().into_iter().map(read).collect()
}

fn is_working(date: Date, free: &[Date]) -> bool {
    !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) && !free.contains(&date)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sid_tools::Registry;

    use super::*;

    /// A Sunday afternoon in Berlin.
    async fn told(name: &str, arguments: Value) -> String {
        let mut registry = Registry::new();
        for tool in calendar() {
            registry.register(tool).expect("each has a name of its own");
        }
        let now = "2026-11-22T15:30:00Z".parse().expect("a time");
        let context = ToolContext { timezone: "Europe/Berlin".into(), ..ToolContext::detached(now) };
        let Value::Object(arguments) = arguments else { panic!("an object") };
        registry.dispatch(name, arguments, &context).await.text
    }

    #[tokio::test]
    async fn the_present_is_the_turns_in_the_users_zone() {
        let here = told("current_time", json!({})).await;
        assert_eq!(here, "Sunday 2026-11-22 16:30 (+01:00, Europe/Berlin). Week 47 of 2026, day 326 of the year.");
        assert!(told("current_time", json!({"zone": "Asia/Tokyo"})).await.starts_with("Monday 2026-11-23 00:30"));
        assert!(told("current_time", json!({"zone": "Middle/Earth"})).await.contains("IANA"));
    }

    #[tokio::test]
    async fn months_end_and_summer_time_begins() {
        for (arguments, expected) in [
            (json!({"start": "2026-01-31", "months": 1}), "Saturday 2026-02-28"),
            (json!({"start": "2024-02-29", "years": 1}), "Friday 2025-02-28"),
            (json!({"start": "today", "weeks": 2, "days": -1}), "Saturday 2026-12-05"),
            (json!({"start": "2026-03-28T12:00", "days": 1}), "Sunday 2026-03-29 12:00 (+02:00, Europe/Berlin)"),
            (json!({"start": "2026-03-28T12:00", "hours": 24}), "Sunday 2026-03-29 13:00 (+02:00, Europe/Berlin)"),
            (json!({"start": "2026-12-31", "years": 1, "months": -10, "days": 1}), "Monday 2027-03-01"),
            (json!({"start": "2026-12-23", "business_days": 3, "holidays": ["2026-12-25"]}), "Tuesday 2026-12-29"),
            (json!({"start": "2026-11-23", "business_days": -1}), "Friday 2026-11-20"),
        ] {
            assert_eq!(told("date_add", arguments.clone()).await, expected, "{arguments}");
        }
        assert!(told("date_add", json!({"start": "today", "years": 100_000})).await.contains("out of the calendar"));
        assert!(told("date_add", json!({"start": "24.11.2026"})).await.contains("is no date"));
    }

    #[tokio::test]
    async fn differences_are_told_in_every_way() {
        let text = told("date_difference", json!({"from": "today", "to": "2026-12-24"})).await;
        for says in ["32 days", "4 weeks and 4 days", "0 years, 1 months and 2 days", "24 are working days"] {
            assert!(text.contains(says), "{says}: {text}");
        }
        let exact = told("date_difference", json!({"from": "2026-10-25T00:00", "to": "2026-10-26T00:00"})).await;
        assert!(exact.contains("Exactly 25 hours and 0 minutes"), "the clocks go back: {exact}");
    }

    #[tokio::test]
    async fn weekdays_are_found() {
        for (arguments, expected) in [
            (json!({"weekday": "Tuesday"}), "Tuesday 2026-11-24, 2 days from Sunday 2026-11-22."),
            (json!({"weekday": "sunday"}), "Sunday 2026-11-29, 7 days from Sunday 2026-11-22."),
            (json!({"weekday": "Fri", "nth": -1}), "Friday 2026-11-20, -2 days from Sunday 2026-11-22."),
            (json!({"weekday": "Mon", "nth": 2, "from": "2026-12-01"}), "Monday 2026-12-14, 13 days from Tuesday 2026-12-01."),
        ] {
            assert_eq!(told("find_weekday", arguments.clone()).await, expected, "{arguments}");
        }
        assert!(told("find_weekday", json!({"weekday": "Blursday"})).await.contains("is no weekday"));
    }

    #[tokio::test]
    async fn zones_are_converted() {
        let text = told("convert_time", json!({"time": "2026-11-24T10:15", "to": "America/New_York"})).await;
        assert_eq!(text, "Tuesday 2026-11-24 10:15 (+01:00, Europe/Berlin) is Tuesday 2026-11-24 04:15 (-05:00, America/New_York).");
    }
}
