//! A turn of a loop as the samples so far show it.

use asyncspy_model::{BeganIs, LoopSample, Turn};

use super::between::Between;
use super::conditions::Conditions;
use super::pauses::Pauses;
use super::segment::Segment;
use super::votes::Votes;

/// A turn that was still going on at the last sample that saw it.
///
/// For a loop that does not record its turns it stands for one uninterrupted activity.
#[derive(Clone, Debug)]
pub(super) struct OpenTurn {
    identity: u64,
    recorded_began: Option<u64>,
    /// When the turn began.
    turn_began: Between,
    /// Samples that saw the turn.
    turn_samples: u64,
    /// When the part that is left began: the turn, unless a long callback was split off.
    began: Between,
    began_is: BeganIs,
    /// The last sample that saw it.
    seen: Between,
    /// Samples of the part that is left.
    samples: u64,
    /// Time from when it had certainly begun, and between samples that saw it, each gap limited.
    evidence_ns: u64,
    current: Segment,
    /// The longest of the callbacks before the current one.
    longest: Option<Segment>,
    /// What the samples of all callbacks before the current one showed.
    finished: Votes,
    callbacks: Option<(u32, u32)>,
    late_timers: u64,
    ready: u64,
    /// Number of the stall that it is; 0 until it is one.
    pub number: u64,
    /// True once it was told that it passed the error threshold.
    pub is_error_told: bool,
}

/// A part of a turn, up to some moment: what a stall is told from.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub began: Between,
    pub began_is: BeganIs,
    pub ended: Between,
    /// The callback that held the loop longest.
    pub culprit: Segment,
    /// How long that was.
    pub culprit_ns: u64,
    /// True if samples saw more than one callback.
    pub is_mixed: bool,
    /// What the samples of all its callbacks showed.
    pub votes: Votes,
    pub samples: u64,
    pub callbacks: Option<(u32, u32)>,
    pub late_timers: u64,
    pub ready: u64,
    pub number: u64,
    /// True if it may have lasted for the error threshold.
    pub is_error: bool,
}

impl OpenTurn {
    /// A turn at the first sample that sees it. `last` is the last sample of this loop that saw
    /// something else.
    pub fn begin(
        sample: &LoopSample,
        turn: &Turn,
        read: Between,
        last: Option<Between>,
        conditions: &Conditions,
    ) -> Self {
        let (began, began_is) = beginning(turn, read, last);
        let possible = Between::new(began.earliest, read.latest);
        let mut open = Self {
            identity: turn.identity,
            recorded_began: turn.began_monotonic_ns,
            turn_began: began,
            turn_samples: 0,
            began,
            began_is,
            seen: read,
            samples: 0,
            evidence_ns: 0,
            current: Segment::begin(turn, possible, began, None),
            longest: None,
            finished: Votes::default(),
            callbacks: None,
            late_timers: 0,
            ready: 0,
            number: 0,
            is_error_told: false,
        };
        open.witness(began.latest, read.earliest, conditions);
        open.count(sample, turn, read);
        open
    }

    /// Counts a time in which it certainly went on.
    fn witness(&mut self, from: u64, until: u64, conditions: &Conditions) {
        let (gap, _) = conditions.pauses.running_time(from, until.max(from));
        let gap = gap.min(conditions.rules.gap_cap_ns());
        self.evidence_ns = self.evidence_ns.saturating_add(gap);
    }

    /// True if `turn` is the same turn.
    pub fn is(&self, turn: &Turn) -> bool {
        self.identity == turn.identity && self.recorded_began == turn.began_monotonic_ns
    }

    /// Adds a later sample that saw the same turn.
    pub fn see(
        &mut self,
        sample: &LoopSample,
        turn: &Turn,
        read: Between,
        conditions: &Conditions,
    ) {
        self.witness(self.seen.latest, read.latest, conditions);
        if !self.current.is(turn) {
            let boundary = Between::new(self.seen.earliest, read.latest);
            let next = Segment::begin(turn, boundary, self.turn_began, Some(&self.current));
            self.change_callback(next, &conditions.pauses);
        }
        self.count(sample, turn, read);
    }

    fn change_callback(&mut self, next: Segment, pauses: &Pauses) {
        let boundary = next.began;
        let mut before = std::mem::replace(&mut self.current, next);
        before.end(boundary);
        self.finished.merge(&before.votes);
        let longest = self.longest.as_ref();
        let longest_ns = longest.map_or(0, |segment| segment.length_ns(boundary, pauses));
        if longest.is_none() || before.length_ns(boundary, pauses) > longest_ns {
            self.longest = Some(before);
        }
    }

    fn count(&mut self, sample: &LoopSample, turn: &Turn, read: Between) {
        self.seen = read;
        self.samples += 1;
        self.turn_samples += 1;
        self.callbacks = turn.callback;
        self.late_timers = self.late_timers.max(u64::from(sample.late_timers));
        self.ready = self.ready.max(u64::from(sample.ready));
        self.current.count(sample);
    }

    /// The last sample that saw it.
    pub const fn seen(&self) -> Between {
        self.seen
    }

    /// True for a loop that does not record its turns.
    const fn is_opaque(&self) -> bool {
        self.recorded_began.is_none()
    }

    /// How old the turn was at the last sample that saw it.
    pub fn age_ns(&self, pauses: &Pauses) -> u64 {
        pauses.length(self.turn_began, self.seen).middle()
    }

    /// How long the part that is left has certainly lasted.
    pub fn certain_ns(&self, pauses: &Pauses) -> u64 {
        if self.is_opaque() {
            return self.evidence_ns;
        }
        pauses.least_running(self.began.latest, self.seen.earliest)
    }

    /// True if it may have lasted for `limit_ns` when it ended then. A turn that did is always
    /// found; one that is found lasted at most a tick less (two for an opaque loop).
    pub fn reaches(&self, limit_ns: u64, ended: Between, conditions: &Conditions) -> bool {
        if self.is_opaque() && self.samples < 2 {
            return false;
        }
        let allowance = conditions.rules.unseen_allowance_ns();
        let unseen = |from, until| conditions.pauses.most_running(from, until).min(allowance);
        self.certain_ns(&conditions.pauses)
            .saturating_add(unseen(self.began.earliest, self.began.latest))
            .saturating_add(unseen(self.seen.earliest, ended.latest))
            >= limit_ns
    }

    /// How long the whole turn lasted if it ended then, for the distribution of turn times.
    ///
    /// A turn that one sample saw was most likely half through at that moment; the middle of what
    /// is possible would make a turn of 1 ms look like half a tick.
    pub fn turn_ns(&self, ended: Between, pauses: &Pauses) -> u64 {
        let middle = pauses.length(self.turn_began, ended).middle();
        if self.turn_samples > 1 || self.is_opaque() {
            return middle;
        }
        middle.min(self.age_ns(pauses).saturating_mul(2))
    }

    /// Splits off what came before the current callback, if that has a callback that is long
    /// enough to be a stall by itself and the current one is too: so each of them is named.
    /// `now` is when the current callback ended, or the last sample that saw it.
    pub fn split_off(&mut self, now: Between, conditions: &Conditions) -> Option<Stretch> {
        let longest = self.longest.as_ref()?;
        let earlier_ns = longest.length_ns(now, &conditions.pauses);
        let current_ns = self.current.length_ns(now, &conditions.pauses);
        if earlier_ns.min(current_ns) < conditions.rules.threshold_ns {
            return None;
        }
        let before = self.before_current(conditions);
        self.began = self.current.began;
        self.began_is = self.current.began_is(BeganIs::Sample);
        self.samples = self.current.samples;
        self.longest = None;
        self.finished = Votes::default();
        self.number = 0;
        self.is_error_told = false;
        before
    }

    /// The part up to the current callback; `None` if there is none.
    fn before_current(&self, conditions: &Conditions) -> Option<Stretch> {
        let ended = self.current.began;
        let culprit = self.longest.clone()?;
        let culprit_ns = culprit.length_ns(ended, &conditions.pauses);
        let length = conditions.pauses.length(self.began, ended);
        Some(Stretch {
            ended,
            culprit_ns,
            culprit,
            votes: self.finished.clone(),
            samples: self.samples.saturating_sub(self.current.samples),
            is_error: length.longest >= conditions.rules.error_threshold_ns,
            ..self.stretch(ended, conditions)
        })
    }

    /// All of the part that is left, up to `ended`.
    pub fn stretch(&self, ended: Between, conditions: &Conditions) -> Stretch {
        let (culprit, culprit_ns) = self.culprit(ended, &conditions.pauses);
        let mut votes = self.finished.clone();
        votes.merge(&self.current.votes);
        Stretch {
            began: self.began,
            began_is: self.began_is,
            ended,
            culprit: culprit.clone(),
            culprit_ns,
            is_mixed: self.longest.is_some(),
            votes,
            samples: self.samples,
            callbacks: self.callbacks,
            late_timers: self.late_timers,
            ready: self.ready,
            number: self.number,
            is_error: self.reaches(conditions.rules.error_threshold_ns, ended, conditions),
        }
    }

    /// The callback that held the loop longest, and for how long.
    fn culprit(&self, ended: Between, pauses: &Pauses) -> (&Segment, u64) {
        let current_ns = self.current.length_ns(ended, pauses);
        let longest = self.longest.as_ref();
        longest
            .map(|longest| (longest, longest.length_ns(ended, pauses)))
            .filter(|&(_, longest_ns)| longest_ns > current_ns)
            .unwrap_or((&self.current, current_ns))
    }
}

/// When a turn began, seen for the first time by a sample that was read at `read`.
///
/// A recorded beginning is exact, unless a later sample saw the loop do something else: then a
/// loop that was run inside of this turn has given it back.
fn beginning(turn: &Turn, read: Between, last: Option<Between>) -> (Between, BeganIs) {
    let is_plausible =
        |began: &u64| *began <= read.latest && last.is_none_or(|last| *began >= last.earliest);
    match (turn.began_monotonic_ns.filter(is_plausible), last) {
        (Some(began), _) => (Between::exact(began), BeganIs::Turn),
        (None, Some(last)) => {
            let begun_by = turn.begun_by_monotonic_ns.unwrap_or(read.latest);
            let latest = begun_by.clamp(last.earliest, read.latest.max(last.earliest));
            (Between::new(last.earliest, latest), BeganIs::Sample)
        }
        // It was going on already when sampling began; how long is not known.
        (None, None) => (Between::exact(read.latest), BeganIs::Sample),
    }
}
