//! How well one loop did over the last minute.

use asyncspy_model::report::TurnTimes;

use super::histogram::LogHistogram;

/// Seconds that are looked back on.
const WINDOW_SECONDS: u64 = 60;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// One loop's last minute, by seconds.
#[derive(Debug)]
pub(super) struct Health {
    /// Second `n` since the machine's start is at `n % 60`.
    seconds: Vec<Second>,
}

#[derive(Debug, Default)]
struct Second {
    number: u64,
    busy_ns: u64,
    known_ns: u64,
    worst_ns: u64,
    turns_seen: u64,
    turns: LogHistogram,
}

/// A summary of the last minute.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LastMinute {
    pub busy_permille: u32,
    pub turns: TurnTimes,
    pub worst_by_second_ns: Vec<u64>,
}

impl Default for Health {
    fn default() -> Self {
        let mut seconds = Vec::new();
        seconds.resize_with(
            usize::try_from(WINDOW_SECONDS).unwrap_or_default(),
            Second::default,
        );
        Self { seconds }
    }
}

impl Health {
    /// Adds time that the loop was busy or idle, up to `at`.
    pub fn add_time(&mut self, at: u64, weight_ns: u64, is_busy: bool) {
        let Some(second) = self.second_mut(at) else {
            return;
        };
        second.known_ns = second.known_ns.saturating_add(weight_ns);
        if is_busy {
            second.busy_ns = second.busy_ns.saturating_add(weight_ns);
        }
    }

    /// Notes that a turn was so old at `at`. A turn that lasts for seconds shows in each of them.
    pub fn note_age(&mut self, at: u64, age_ns: u64) {
        if let Some(second) = self.second_mut(at) {
            second.worst_ns = second.worst_ns.max(age_ns);
        }
    }

    /// Adds a turn that was over at `at`.
    pub fn add_turn(&mut self, at: u64, length_ns: u64) {
        let Some(second) = self.second_mut(at) else {
            return;
        };
        second.worst_ns = second.worst_ns.max(length_ns);
        second.turns_seen += 1;
        second.turns.add(length_ns, 1.0);
    }

    /// What the minute up to `now` was like, with a sample at every `interval_ns`. Turns from
    /// `reliable_from_ns` on are all seen.
    pub fn summarise(&self, now: u64, interval_ns: u64, reliable_from_ns: u64) -> LastMinute {
        let present = now / NS_PER_SECOND;
        let oldest = (present + 1).saturating_sub(WINDOW_SECONDS);
        let (mut busy, mut known) = (0_u64, 0_u64);
        let mut turns = LogHistogram::default();
        let mut times = TurnTimes {
            reliable_from_ns,
            ..TurnTimes::default()
        };
        let mut worst_by_second_ns = Vec::with_capacity(self.seconds.len());
        for number in oldest..=present {
            let Some(second) = self.second(number) else {
                worst_by_second_ns.push(0);
                continue;
            };
            busy = busy.saturating_add(second.busy_ns);
            known = known.saturating_add(second.known_ns);
            turns.merge(&second.turns);
            times.seen += second.turns_seen;
            times.worst_ns = times.worst_ns.max(second.worst_ns);
            worst_by_second_ns.push(second.worst_ns);
        }
        let turns = with_unseen(&turns, interval_ns);
        times.p50_ns = turns.quantile(0.5).min(times.worst_ns);
        times.p99_ns = turns.quantile(0.99).min(times.worst_ns);
        LastMinute {
            busy_permille: permille(busy, known),
            turns: times,
            worst_by_second_ns,
        }
    }

    fn second(&self, number: u64) -> Option<&Second> {
        let position = usize::try_from(number % WINDOW_SECONDS).ok()?;
        self.seconds
            .get(position)
            .filter(|second| second.number == number)
    }

    /// The second that `at` is in, empty if it is new; `None` if it is over a minute ago.
    fn second_mut(&mut self, at: u64) -> Option<&mut Second> {
        let number = at / NS_PER_SECOND;
        let position = usize::try_from(number % WINDOW_SECONDS).ok()?;
        let second = self.seconds.get_mut(position)?;
        if second.number < number {
            let mut turns = std::mem::take(&mut second.turns);
            turns.clear();
            *second = Second {
                number,
                turns,
                ..Second::default()
            };
        }
        Some(second).filter(|second| second.number == number)
    }
}

/// Turn lengths with those that no sample saw: a turn shorter than the interval is seen with the
/// probability length / interval, so it stands for the inverse of that.
///
/// The length of such a turn is a guess, at twice its age at the sample, so some are guessed far
/// too short; they must not stand for thousands each. The mean length of short turns is known
/// better: the age of a turn at a random moment is less than x with a probability of about
/// x / mean for small x (renewal theory), so a quarter of them is younger than a quarter of the
/// mean. No turn counts as shorter than that mean.
fn with_unseen(seen: &LogHistogram, interval_ns: u64) -> LogHistogram {
    let is_short = |length_ns: u64| f64::from(u8::from(length_ns < interval_ns));
    let mean_of_short = seen.reweighed(is_short).quantile(0.25).saturating_mul(2);
    seen.reweighed(|length_ns| {
        let length_ns = length_ns.max(mean_of_short).max(1);
        (interval_ns as f64 / length_ns as f64).max(1.0)
    })
}

/// `part` of `whole` in thousandths, rounded; 0 of nothing.
fn permille(part: u64, whole: u64) -> u32 {
    if whole == 0 {
        return 0;
    }
    let rounded = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    u32::try_from(rounded).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = NS_PER_SECOND;

    #[test]
    fn busy_share_is_of_the_last_minute_only() {
        let mut health = Health::default();
        health.add_time(100 * S, 900 * MS, true);
        health.add_time(100 * S, 100 * MS, false);
        health.add_time(130 * S, 100 * MS, true);
        health.add_time(130 * S, 900 * MS, false);
        for (now, expected) in [(130, 500), (159, 500), (160, 100), (189, 100), (190, 0)] {
            assert_eq!(
                health.summarise(now * S, 10 * MS, 0).busy_permille,
                expected,
                "at {now} s"
            );
        }
    }

    #[test]
    fn worst_turns_stand_in_their_seconds() {
        let mut health = Health::default();
        health.add_turn(100 * S, 5 * MS);
        health.add_turn(100 * S, 3 * MS);
        health.note_age(102 * S, 800 * MS);
        let minute = health.summarise(102 * S + 1, 10 * MS, 10 * MS);
        assert_eq!(minute.worst_by_second_ns.len(), 60);
        assert_eq!(minute.worst_by_second_ns[57..], [5 * MS, 0, 800 * MS]);
        assert_eq!(minute.turns.worst_ns, 800 * MS);
        assert_eq!(minute.turns.seen, 2);
    }

    #[test]
    fn short_turns_that_no_sample_saw_are_accounted_for() {
        // Of 59 400 turns of 1 ms a tenth is seen at 100 Hz, at any age; of 300 of 50 ms all are,
        // which is one in two hundred of all.
        let mut health = Health::default();
        for number in 0..5_940 {
            health.add_turn(S, 2 * MS * number / 5_940);
        }
        for _ in 0..300 {
            health.add_turn(S, 50 * MS);
        }
        let turns = health.summarise(S, 10 * MS, 10 * MS).turns;
        assert_eq!(turns.seen, 6_240);
        assert!(turns.p50_ns.abs_diff(MS) < MS / 3, "{turns:?}");
        assert!(turns.p99_ns <= 2 * MS, "{turns:?}");
        assert_eq!(turns.worst_ns, 50 * MS);
    }

    #[test]
    fn absurd_times_are_survived() {
        let mut health = Health::default();
        health.add_time(200 * S, MS, true);
        health.add_time(80 * S, MS, true);
        assert_eq!(health.summarise(200 * S, MS, 0).busy_permille, 1000);
        health.add_turn(u64::MAX, u64::MAX - 1);
        assert_eq!(health.summarise(u64::MAX, u64::MAX, 0).turns.seen, 1);
        health.add_time(u64::MAX, MS, false);
        assert_eq!(health.summarise(u64::MAX, MS, 0).busy_permille, 0);
        assert_eq!(health.summarise(0, MS, 0).worst_by_second_ns.len(), 1);
    }
}
