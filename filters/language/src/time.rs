//! Times and permissions as policies write them. All times are UTC, so that a policy means the same on each machine
//! and all through the year.

/// Minutes of a day.
pub const DAY: u32 = 24 * 60;
/// Days of the week, the first first.
pub const DAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Names of permissions, with the bits of which one is enough.
pub const MODES: &[(&str, u32)] = &[
    ("setuid", 0o4000),
    ("setgid", 0o2000),
    ("sticky", 0o1000),
    ("executable", 0o111),
    ("group-writable", 0o020),
    ("other-writable", 0o002),
    ("other-readable", 0o004),
];

/// The minute of the day.
#[must_use]
pub fn minute(time: u64) -> u32 {
    (time / 60 % u64::from(DAY)) as u32
}

/// The day of the week, Monday being 0.
#[must_use]
pub fn day(time: u64) -> u32 {
    // The first day of all was a Thursday.
    ((time / (60 * u64::from(DAY)) + 3) % 7) as u32
}

/// True if a minute lies between two, the second of which is the first that does not; a range may go on past
/// midnight.
#[must_use]
pub fn is_between(minute: u32, from: u32, to: u32) -> bool {
    if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to }
}

/// `HH:MM`, in minutes; 24:00 is the end of a day.
fn clock(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u32>().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}

/// `HH:MM-HH:MM`.
#[must_use]
pub fn range(text: &str) -> Option<(u32, u32)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (clock(from)?, clock(to)?);
    (from < DAY && from != to).then_some((from, to))
}

/// `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM`: when it begins, and when it has passed.
#[must_use]
pub fn moment(text: &str) -> Option<(u64, u64)> {
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let day = u64::try_from(days(date)?).ok()? * 60 * u64::from(DAY);
    match time {
        None => Some((day, day + 60 * u64::from(DAY))),
        Some(time) => {
            let at = day + 60 * u64::from(clock(time).filter(|minute| *minute < DAY)?);
            Some((at, at))
        }
    }
}

/// Days since 1970.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let mut number = |len: usize| {
        let part = parts.next()?;
        let is_number = part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<i64>().ok())?
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let len = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if parts.next().is_some() || year < 1970 || !(1..=len).contains(&day) {
        return None;
    }
    // Years begin with March, so that the day that is not in all comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    Some(before + (153 * month + 2) / 5 + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, time) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2024-01-01", 1_704_067_200),
            ("2024-02-29", 1_709_164_800),
            ("2026-12-31", 1_798_675_200),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(moment(text), Some((time, time + 86_400)), "{text}");
        }
        assert_eq!(moment("2024-01-01T12:00"), Some((crate::SOME_NOON, crate::SOME_NOON)));
        assert_eq!((day(crate::SOME_NOON), minute(crate::SOME_NOON)), (0, 720));
        assert_eq!((day(0), day(951_782_400)), (3, 1));
        for text in [
            "2023-02-29",
            "2100-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-04-31",
            "2024-1-1",
            "24-01-01",
            "1969-12-31",
            "2024-01-01T24:00",
            "2024-01-01T1:00",
            "2024-01-01-01",
            "",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_go_on_past_midnight() {
        let (from, to) = range("22:00-06:30").expect("a range");
        assert_eq!((from, to), (1320, 390));
        for (minute, inside) in [(1319, false), (1320, true), (0, true), (389, true), (390, false)]
        {
            assert_eq!(is_between(minute, from, to), inside, "{minute}");
        }
        assert_eq!(range("00:00-24:00"), Some((0, DAY)));
        for text in
            ["08:00", "8:00-09:00", "08:00-08:00", "24:00-08:00", "08:60-09:00", "08:00-25:00"]
        {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
