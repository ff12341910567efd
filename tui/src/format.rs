//! Numbers as a person reads them: few digits, the unit always there.

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A length of time with about three digits: `120 µs`, `4.2 ms`, `830 ms`, `1.24 s`, `3m05s`.
pub(crate) fn duration(ns: u64) -> String {
    match ns {
        0 => "0".into(),
        1..US => "<1 µs".into(),
        US..MS => format!("{} µs", ns / US),
        MS..10_000_000 => format!("{}.{} ms", ns / MS, ns / 100_000 % 10),
        10_000_000..SECOND => format!("{} ms", ns / MS),
        SECOND..10_000_000_000 => format!("{}.{:02} s", ns / SECOND, ns / 10_000_000 % 100),
        10_000_000_000..100_000_000_000 => {
            format!("{}.{} s", ns / SECOND, ns / 100_000_000 % 10)
        }
        _ => age(ns),
    }
}

/// Like [`duration`], but `-` for 0, which stands for "none".
pub(crate) fn duration_or_dash(ns: u64) -> String {
    if ns == 0 { "-".into() } else { duration(ns) }
}

/// A length of time in whole seconds at most, so that it changes once a second and no more.
pub(crate) fn age(ns: u64) -> String {
    match ns {
        0..MINUTE => format!("{} s", ns / SECOND),
        MINUTE..HOUR => format!("{}m{:02}s", ns / MINUTE, ns / SECOND % 60),
        HOUR..DAY => format!("{}h{:02}m", ns / HOUR, ns / MINUTE % 60),
        _ => format!("{}d{:02}h", ns / DAY, ns / HOUR % 24),
    }
}

/// A share of a whole as whole per cent; `<1%` rather than 0 for what is there.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0%".into();
    }
    // 128 bits: nanoseconds times a hundred overflow 64 after two days.
    match u128::from(part) * 100 / u128::from(whole) {
        0 => "<1%".into(),
        hundredths => format!("{hundredths}%"),
    }
}

/// A share with one decimal below ten per cent, for what should be near zero.
pub(crate) fn fine_percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0%".into();
    }
    match u128::from(part) * 1000 / u128::from(whole) {
        0 => "<0.1%".into(),
        tenths @ 1..100 => format!("{}.{}%", tenths / 10, tenths % 10),
        tenths => format!("{}%", tenths / 10),
    }
}

/// A count in at most five characters.
pub(crate) fn count(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..10_000_000 => format!("{}k", number / 1_000),
        10_000_000..10_000_000_000 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

/// `1 task`, `2 tasks`.
pub(crate) fn plural(number: u64, word: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {word}{ending}")
}

/// Wall-clock time in UTC to the millisecond: `2026-01-02 03:04:05.678Z`.
pub(crate) fn utc(unix_ns: u64) -> String {
    let (year, month, day) = civil_date(unix_ns / DAY);
    let of_day = unix_ns % DAY;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}Z",
        of_day / HOUR,
        of_day / MINUTE % 60,
        of_day / SECOND % 60,
        of_day / MS % 1_000,
    )
}

/// Year, month and day of a day counted from 1970-01-01, by Howard Hinnant's `civil_from_days`
/// (howardhinnant.github.io/date_algorithms.html), for days from the epoch on.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits() {
        let cases = [
            (0, "0"),
            (999, "<1 µs"),
            (120_000, "120 µs"),
            (4_260_000, "4.2 ms"),
            (830_000_000, "830 ms"),
            (1_240_000_000, "1.24 s"),
            (12_450_000_000, "12.4 s"),
            (185_000_000_000, "3m05s"),
            (7_500_000_000_000, "2h05m"),
            (u64::MAX, "213503d23h"),
        ];
        for (ns, expected) in cases {
            assert_eq!(duration(ns), expected);
        }
    }

    #[test]
    fn shares_never_hide_what_is_there() {
        assert_eq!(percent(1, 1_000), "<1%");
        assert_eq!(percent(u64::MAX / 2, u64::MAX), "49%");
        assert_eq!(percent(3, 0), "0%");
        assert_eq!(fine_percent(4, 1_000), "0.4%");
        assert_eq!(fine_percent(1, 100_000), "<0.1%");
        assert_eq!(fine_percent(250, 1_000), "25%");
    }

    #[test]
    fn counts_stay_short() {
        for (number, expected) in [
            (99_999, "99999"),
            (123_456, "123k"),
            (u64::MAX, "18446744073G"),
        ] {
            assert_eq!(count(number), expected);
        }
    }

    #[test]
    fn wall_clock_is_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(utc(1_767_323_045_678_000_000), "2026-01-02 03:04:05.678Z");
        assert_eq!(utc(1_709_164_800_000_000_000), "2024-02-29 00:00:00.000Z");
    }
}
