//! Sleeping until one moment of many that follow each other, all known ahead.

use std::time::Duration;

use nix::Result;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clock, ClockNanosleepFlags, clock_nanosleep};
use nix::unistd::read;

/// How many moments ahead the kernel is told of.
pub const AHEAD: usize = 16;

/// One timer of the kernel for each of the next moments. Each rings every `AHEAD` intervals, so
/// when it is set again another is due before it. The processor's own timer is then set by the
/// interrupt that wakes us, which does so anyway, and not once more when we sleep; in a virtual
/// machine that is an exit to its host (10 us of 25 that a sleep took there, one of 1 ms).
#[derive(Debug)]
pub struct Alarms {
    period_ns: u64,
    alarms: [Option<Alarm>; AHEAD],
}

#[derive(Debug)]
struct Alarm {
    timer: TimerFd,
    /// One of the moments at which it rings (CLOCK_MONOTONIC); `None` while it does not.
    rings_ns: Option<u64>,
}

impl Alarms {
    /// For moments that come at this interval, each moved by as much as the one `AHEAD` before it.
    /// For others too, at the cost of one call more to set the alarm.
    #[must_use]
    pub fn new(interval_ns: u64) -> Self {
        Self {
            period_ns: interval_ns.max(1).saturating_mul(AHEAD as u64),
            alarms: [const { None }; AHEAD],
        }
    }

    /// Sleeps until the deadline (CLOCK_MONOTONIC) of this turn, which counts up from one sleep to
    /// the next. Comes back sooner if a signal came, or if the alarm of this turn has rung before
    /// without a sleep; then it is set for the deadline, and the next sleep takes that long.
    pub fn sleep(&mut self, turn: usize, deadline_ns: u64) {
        let _ = match self.set(turn % AHEAD, deadline_ns) {
            Ok(timer) => read(timer, &mut [0; size_of::<u64>()]).map(drop),
            // Where there is no timer left to have, each sleep is for itself.
            Err(_) => clock_nanosleep(
                Clock::CLOCK_MONOTONIC,
                ClockNanosleepFlags::TIMER_ABSTIME,
                &time(deadline_ns),
            )
            .map(drop),
        };
    }

    /// Sets no alarm any more until somebody sleeps again.
    pub fn silence(&mut self) {
        for alarm in self.alarms.iter_mut().flatten() {
            // One that rings on nevertheless costs a little, and misleads nobody.
            if alarm.rings_ns.take().is_some() {
                let _ = alarm.timer.unset();
            }
        }
    }

    /// The timer at this place, that rings at the deadline.
    fn set(&mut self, at: usize, deadline_ns: u64) -> Result<&TimerFd> {
        let period_ns = self.period_ns;
        let rings = |alarm: &Alarm| {
            let is_round = |at: u64| at.abs_diff(deadline_ns).is_multiple_of(period_ns);
            alarm.rings_ns.is_some_and(is_round)
        };
        let alarm = match self.alarms[at].take() {
            Some(alarm) if rings(&alarm) => alarm,
            other => Alarm::ringing(other, deadline_ns, period_ns)?,
        };
        Ok(&self.alarms[at].insert(alarm).timer)
    }
}

impl Alarm {
    /// The one that there was, or a new one, that rings first at the deadline.
    fn ringing(before: Option<Self>, deadline_ns: u64, period_ns: u64) -> Result<Self> {
        let timer = match before {
            Some(alarm) => alarm.timer,
            None => TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?,
        };
        let rings = Expiration::IntervalDelayed(time(deadline_ns), time(period_ns));
        timer.set(rings, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        Ok(Self {
            timer,
            rings_ns: Some(deadline_ns),
        })
    }
}

fn time(ns: u64) -> TimeSpec {
    TimeSpec::from_duration(Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::process::monotonic_now_ns;

    const INTERVAL_NS: u64 = 200_000;

    fn rings(alarms: &Alarms) -> Vec<Option<u64>> {
        let rings = |alarm: &Option<Alarm>| alarm.as_ref().and_then(|alarm| alarm.rings_ns);
        alarms.alarms.iter().map(rings).collect()
    }

    /// Sleeps as the clock does: on, if one came too early.
    fn sleep_through(alarms: &mut Alarms, turn: usize, deadline_ns: u64) {
        while monotonic_now_ns() < deadline_ns {
            alarms.sleep(turn, deadline_ns);
        }
    }

    #[test]
    fn what_is_set_once_rings_each_round() {
        let mut alarms = Alarms::new(INTERVAL_NS);
        let start = monotonic_now_ns() + INTERVAL_NS;
        let deadline = |turn: usize| start + turn as u64 * INTERVAL_NS;
        (0..AHEAD).for_each(|turn| sleep_through(&mut alarms, turn, deadline(turn)));
        let set = rings(&alarms);
        (AHEAD..4 * AHEAD).for_each(|turn| sleep_through(&mut alarms, turn, deadline(turn)));
        // Where the machine was too slow for a deadline, nothing was set for it at all.
        let again = rings(&alarms);
        for (set, again) in set.iter().zip(again) {
            assert!(set.is_none() || *set == again);
        }
    }

    #[test]
    fn one_that_nobody_waited_for_does_not_end_a_later_sleep() {
        let mut alarms = Alarms::new(INTERVAL_NS);
        let start = monotonic_now_ns() + INTERVAL_NS;
        let round = AHEAD as u64 * INTERVAL_NS;
        sleep_through(&mut alarms, 0, start);
        // It rings a round later, unheard, and once more in the second round.
        sleep_through(&mut alarms, 1, start + round + INTERVAL_NS);
        sleep_through(&mut alarms, 0, start + 2 * round);
        assert!(monotonic_now_ns() >= start + 2 * round);
    }

    #[test]
    fn one_that_was_silenced_rings_again_when_it_is_set() {
        let mut alarms = Alarms::new(INTERVAL_NS);
        sleep_through(&mut alarms, 0, monotonic_now_ns() + INTERVAL_NS);
        alarms.silence();
        assert_eq!(rings(&alarms)[0], None);
        let deadline = monotonic_now_ns() + 2 * INTERVAL_NS;
        sleep_through(&mut alarms, 0, deadline);
        assert_eq!(rings(&alarms)[0], Some(deadline));
    }

    #[test]
    fn another_moment_sets_it_anew() {
        let mut alarms = Alarms::new(INTERVAL_NS);
        let first = monotonic_now_ns();
        for moment in [first, first + 7 * INTERVAL_NS / 2] {
            alarms.sleep(0, moment);
            assert_eq!(rings(&alarms)[0], Some(moment));
        }
    }
}
