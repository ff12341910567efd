//! Numbers as a person reads them: durations, moments, shares.

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// A duration with three digits at most where it is short: `830 µs`, `4.2 ms`, `1.24 s`,
/// `2 min 03 s`, `3 h 05 min`, `2 d 04 h`.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..999_500 => format!("{} µs", rounded(ns, MICROSECOND)),
        999_500..9_950_000 => tenths(ns, MILLISECOND, "ms"),
        9_950_000..999_500_000 => format!("{} ms", rounded(ns, MILLISECOND)),
        999_500_000..9_995_000_000 => {
            let hundredths = rounded(ns, SECOND / 100);
            format!("{}.{:02} s", hundredths / 100, hundredths % 100)
        }
        9_995_000_000..59_950_000_000 => tenths(ns, SECOND, "s"),
        _ => long_duration(rounded(ns, SECOND)),
    }
}

fn long_duration(seconds: u64) -> String {
    let minutes = seconds / 60;
    let hours = minutes / 60;
    match hours {
        0 => format!("{minutes} min {:02} s", seconds % 60),
        1..48 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {:02} h", hours / 24, hours % 24),
    }
}

fn tenths(ns: u64, unit: u64, name: &str) -> String {
    let tenths = rounded(ns, unit / 10);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// `ns` in units of `unit`, rounded to the nearest.
const fn rounded(ns: u64, unit: u64) -> u64 {
    ns / unit + (ns % unit >= unit / 2) as u64
}

/// A part of a whole in percent with one decimal: `12.3 %`; `0 %` when there is no whole.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let permille = u128::from(part) * 1000 / u128::from(whole.max(1));
    match permille {
        0 if part > 0 => "<0.1 %".to_owned(),
        _ if permille % 10 == 0 => format!("{} %", permille / 10),
        _ => format!("{}.{} %", permille / 10, permille % 10),
    }
}

/// A count with its noun: `1 task`, `3 tasks`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A moment of wall-clock time, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    days: u64,
    second_of_day: u64,
    nanosecond: u64,
}

impl Moment {
    /// The moment `unix_ns` after the epoch, in a zone that is `offset_s` seconds east of UTC.
    pub(super) fn new(unix_ns: u64, offset_s: i32) -> Self {
        let seconds = (unix_ns / SECOND).saturating_add_signed(i64::from(offset_s));
        Self {
            days: seconds / 86_400,
            second_of_day: seconds % 86_400,
            nanosecond: unix_ns % SECOND,
        }
    }

    /// `2026-11-22`.
    pub(super) fn date(self) -> String {
        let (year, month, day) = civil_date(self.days);
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// `14:03:22.118`, cut, not rounded.
    pub(super) fn time(self) -> String {
        format!("{}.{:03}", self.clock(), self.nanosecond / MILLISECOND)
    }

    /// `2026-11-22T14:03:22.118000001Z`, for a moment in UTC.
    pub(super) fn rfc3339(self) -> String {
        format!("{}T{}.{:09}Z", self.date(), self.clock(), self.nanosecond)
    }

    fn clock(self) -> String {
        let second = self.second_of_day;
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!("{hour:02}:{minute:02}:{:02}", second % 60)
    }
}

/// Year, month and day of a day counted from 1970-01-01, after Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`, for days that are not negative.
const fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + (month <= 2) as u64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_digits() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (830_400, "830 µs"),
            (999_499, "999 µs"),
            (999_500, "1.0 ms"),
            (4_240_000, "4.2 ms"),
            (9_950_000, "10 ms"),
            (310_000_000, "310 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.00 s"),
            (1_240_000_000, "1.24 s"),
            (9_995_000_000, "10.0 s"),
            (59_949_999_999, "59.9 s"),
            (59_950_000_000, "1 min 00 s"),
            (123_000_000_000, "2 min 03 s"),
            (11_100_000_000_000, "3 h 05 min"),
            (187_200_000_000_000, "2 d 04 h"),
            (u64::MAX, "213503 d 23 h"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text, "{ns}");
        }
    }

    #[test]
    fn moments_fall_on_their_day() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, 0, "2000-02-29T00:00:00.000000001Z"),
            (
                1_795_305_600_118_000_000,
                0,
                "2026-11-22T00:00:00.118000000Z",
            ),
            (
                1_795_305_600_118_000_000,
                -3600,
                "2026-11-21T23:00:00.118000000Z",
            ),
            (0, -7200, "1970-01-01T00:00:00.000000000Z"),
            (u64::MAX, i32::MAX, "2622-08-10T02:48:40.709551615Z"),
        ];
        for (ns, offset, text) in cases {
            assert_eq!(Moment::new(ns, offset).rfc3339(), text, "{ns} {offset}");
        }
        assert_eq!(
            Moment::new(1_795_305_600_118_999_999, 7200).time(),
            "02:00:00.118"
        );
    }

    #[test]
    fn shares_are_not_rounded_to_nothing() {
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(1, 2), "50 %");
        assert_eq!(percent(1, 100_000), "<0.1 %");
        assert_eq!(percent(0, 0), "0 %");
        assert_eq!(counted(1, "task"), "1 task");
        assert_eq!(counted(0, "task"), "0 tasks");
    }
}
