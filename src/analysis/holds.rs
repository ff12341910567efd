//! How long each place of the program held a loop without yielding.

use std::sync::Arc;

use asyncspy_model::report::HotReport;
use asyncspy_model::{FrameKind, Location, StackId};
use rustc_hash::FxHashMap;

use super::definitions::Definitions;
use super::meter::{Content, Held, Slice, StepKey};
use super::place_time::{LabelNumber, Labels, PlaceTime};

/// How many places, functions with a line, are told apart; the rest is one.
const MAX_PLACES: usize = 20_000;
/// How many stacks are remembered as places, to spare the search for them; forgotten all at once.
const MAX_STACKS: usize = 2048;
/// How many rows are reported.
const MAX_ROWS: usize = 500;

/// The place that stands for all those that did not fit.
const OTHER: u32 = 0;

/// Times of every place.
#[derive(Debug)]
pub(super) struct Holds {
    places: Vec<PlaceTime>,
    /// For each place the last comparison of stacks that it took part in.
    marks: Vec<u64>,
    labels: Labels,
    numbers: FxHashMap<Location, u32>,
    stacks: FxHashMap<StackId, Arc<[u32]>>,
    loops: FxHashMap<u32, OpenHold>,
    last_mark: u64,
    spare: Vec<(u32, u64)>,
}

/// What one run of one callback has shown so far.
#[derive(Debug)]
struct OpenHold {
    step: StepKey,
    label: LabelNumber,
    stack: Option<StackId>,
    innermost: Option<u32>,
    /// Time that it has held the loop.
    held_ns: u64,
    /// Places on its stack, each with `held_ns` as it was when the place came onto it.
    runs: Vec<(u32, u64)>,
}

impl Default for Holds {
    fn default() -> Self {
        let other = Location {
            function: "(other)".into(),
            file: "".into(),
            line: 0,
        };
        Self {
            places: vec![PlaceTime::new(other)],
            marks: vec![0],
            labels: Labels::default(),
            numbers: FxHashMap::default(),
            stacks: FxHashMap::default(),
            loops: FxHashMap::default(),
            last_mark: 0,
            spare: Vec::new(),
        }
    }
}

impl Holds {
    /// Adds a piece of the time of the loop with this number.
    pub fn add(&mut self, loop_serial: u32, slice: &Slice, definitions: &Definitions) {
        let Content::Busy(held) = slice.content else {
            return self.end(loop_serial);
        };
        let open = self.loops.remove(&loop_serial);
        let mut open = match open {
            Some(open) if open.step == held.step => open,
            before => {
                self.close(before);
                OpenHold::new(&held, std::mem::take(&mut self.spare))
            }
        };
        // A torn stack lacks its inner part, so it does not show that a place was left.
        let is_proven = held.stack.is_some() && !held.torn;
        if open.stack != held.stack && (is_proven || open.runs.is_empty()) {
            self.change_stack(&mut open, &held, definitions);
        }
        open.held_ns = open.held_ns.saturating_add(slice.weight_ns);
        if is_proven {
            self.add_self(open.innermost, slice.weight_ns);
        }
        self.loops.insert(loop_serial, open);
    }

    /// Forgets what indices of stacks mean: a new session may give them anew.
    pub fn forget_stacks(&mut self) {
        self.stacks.clear();
    }

    /// Notes that nothing holds the loop with this number any more.
    pub fn end(&mut self, loop_serial: u32) {
        let open = self.loops.remove(&loop_serial);
        self.close(open);
    }

    fn close(&mut self, open: Option<OpenHold>) {
        let Some(mut open) = open else { return };
        for (place, since_ns) in open.runs.drain(..) {
            self.finish_run(place, open.held_ns.saturating_sub(since_ns), open.label);
        }
        self.spare = open.runs;
    }

    fn change_stack(&mut self, open: &mut OpenHold, held: &Held, definitions: &Definitions) {
        let places = self.places_of(held.stack, definitions);
        let (entered, stayed) = (self.last_mark + 1, self.last_mark + 2);
        self.last_mark = stayed;
        for &place in places.iter() {
            self.set_mark(place, entered);
        }
        let (held_ns, label) = (open.held_ns, open.label);
        open.runs.retain(|&(place, since_ns)| {
            let has_stayed = self.mark_of(place) == entered;
            if has_stayed {
                self.set_mark(place, stayed);
            } else {
                self.finish_run(place, held_ns.saturating_sub(since_ns), label);
            }
            has_stayed
        });
        let new = places
            .iter()
            .filter(|&&place| self.mark_of(place) == entered);
        open.runs.extend(new.map(|&place| (place, held_ns)));
        open.innermost = places.first().copied();
        open.stack = held.stack;
        open.label = match definitions.task(held.task) {
            Some(task) => self.labels.number(&task.label),
            None => LabelNumber::CALLBACK,
        };
    }

    fn mark_of(&self, place: u32) -> u64 {
        self.marks.get(place as usize).copied().unwrap_or_default()
    }

    fn set_mark(&mut self, place: u32, mark: u64) {
        if let Some(known) = self.marks.get_mut(place as usize) {
            *known = mark;
        }
    }

    fn add_self(&mut self, innermost: Option<u32>, weight_ns: u64) {
        let innermost = innermost.and_then(|place| self.places.get_mut(place as usize));
        if let Some(innermost) = innermost {
            innermost.self_ns = innermost.self_ns.saturating_add(weight_ns);
        }
    }

    fn finish_run(&mut self, place: u32, length_ns: u64, label: LabelNumber) {
        let place = self.places.get_mut(place as usize);
        if let Some(place) = place.filter(|_| length_ns > 0) {
            place.add_run(length_ns, label);
        }
    }

    /// The distinct places of a stack, innermost first.
    fn places_of(&mut self, stack: Option<StackId>, definitions: &Definitions) -> Arc<[u32]> {
        let Some(stack) = stack else {
            return Arc::new([]);
        };
        if let Some(places) = self.stacks.get(&stack) {
            return Arc::clone(places);
        }
        let mut places = Vec::new();
        let frames = definitions.frames(Some(stack)).iter();
        for frame in frames.filter(|frame| frame.kind != FrameKind::Machinery) {
            let place = self.number(&frame.location);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        if self.stacks.len() >= MAX_STACKS {
            self.stacks.clear();
        }
        let places: Arc<[u32]> = places.into();
        self.stacks.insert(stack, Arc::clone(&places));
        places
    }

    fn number(&mut self, location: &Location) -> u32 {
        if let Some(number) = self.numbers.get(location) {
            return *number;
        }
        if self.places.len() > MAX_PLACES {
            return OTHER;
        }
        let number = u32::try_from(self.places.len()).unwrap_or(OTHER);
        self.places.push(PlaceTime::new(location.clone()));
        self.marks.push(0);
        self.numbers.insert(location.clone(), number);
        number
    }

    /// The places with the most total time, that first; what is held now is in it.
    pub fn report(&self) -> Vec<HotReport> {
        let mut open: FxHashMap<u32, Vec<(u64, LabelNumber)>> = FxHashMap::default();
        for hold in self.loops.values() {
            for &(place, since_ns) in &hold.runs {
                let length_ns = hold.held_ns.saturating_sub(since_ns);
                open.entry(place).or_default().push((length_ns, hold.label));
            }
        }
        let total_of = |(number, place): &(u32, &PlaceTime)| {
            let runs = open.get(number).into_iter().flatten();
            runs.fold(place.total_ns, |total, (length_ns, _)| {
                total.saturating_add(*length_ns)
            })
        };
        let numbered = (0..).zip(&self.places);
        let mut places: Vec<(u32, &PlaceTime)> =
            numbered.filter(|place| total_of(place) > 0).collect();
        places.sort_by_cached_key(|place| std::cmp::Reverse((total_of(place), place.1.self_ns)));
        places.truncate(MAX_ROWS);
        let report = |(number, place): (u32, &PlaceTime)| {
            let runs = open.get(&number).map_or(&[][..], |runs| runs);
            place.report(runs, &self.labels)
        };
        places.into_iter().map(report).collect()
    }
}

impl OpenHold {
    /// `spare` is an empty list whose memory is used again.
    const fn new(held: &Held, spare: Vec<(u32, u64)>) -> Self {
        Self {
            step: held.step,
            label: LabelNumber::CALLBACK,
            stack: None,
            held_ns: 0,
            innermost: None,
            runs: spare,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{Bench, MS, START, busy, idle, place, stock};
    use asyncspy_model::LoopSample;

    /// Feeds samples at every 10 ms, then an idle one.
    fn feed(bench: &mut Bench, samples: &[LoopSample]) {
        for (sample, at) in samples.iter().chain([&idle()]).zip((10..).step_by(10)) {
            bench.sample(at * MS, &[*sample]);
        }
    }

    /// (function:line, self, total, holds, longest), times in ms.
    fn rows(bench: &Bench) -> Vec<(String, u64, u64, u64, u64)> {
        let hot = bench.report().hot;
        let rows = hot.iter().map(|row| {
            let place = format!("{}:{}", row.location.function, row.location.line);
            (
                place,
                row.self_ns / MS,
                row.total_ns / MS,
                row.holds,
                row.longest_ns / MS,
            )
        });
        rows.collect()
    }

    fn row(place: &str, times: (u64, u64, u64, u64)) -> (String, u64, u64, u64, u64) {
        (place.into(), times.0, times.1, times.2, times.3)
    }

    #[test]
    fn a_function_that_holds_the_loop_below_the_threshold_shows() {
        let mut bench = Bench::new();
        bench.sample(0, &[idle()]);
        let inner = bench.stack("parse:5 read:9 job:3~ run!");
        let outer = bench.stack("read:9 job:3~ run!");
        let job = bench.task("job", &[]);
        let of = |turn, stack| LoopSample {
            stack,
            task: job,
            ..busy(stock(turn, START + 5 * MS))
        };
        let samples = [
            of(1, inner),
            of(1, inner),
            of(1, outer),
            of(1, inner),
            of(2, outer),
        ];
        feed(&mut bench, &samples);
        assert!(bench.ended().is_empty());
        assert_eq!(
            rows(&bench),
            [
                row("read:9", (20, 50, 2, 40)),
                row("job:3", (0, 50, 2, 40)),
                row("parse:5", (30, 30, 2, 20)),
            ]
        );
        assert_eq!(&*bench.report().hot[0].label, "job");
    }

    #[test]
    fn a_hold_that_goes_on_is_in_the_report() {
        let mut bench = Bench::new();
        let held = LoopSample {
            stack: bench.stack("sleep:1"),
            ..busy(stock(1, START))
        };
        bench.samples(0, 500, held);
        assert_eq!(rows(&bench), [row("sleep:1", (500, 500, 1, 500))]);
        bench.samples(510, 600, held);
        bench.samples(610, 610, idle());
        assert_eq!(rows(&bench), [row("sleep:1", (605, 605, 1, 605))]);
        let hot = &bench.report().hot[0];
        assert_eq!(
            (&*hot.label, hot.p99_ns / MS),
            ("", 605),
            "of a plain callback"
        );
    }

    #[test]
    fn a_recursive_function_is_counted_once() {
        let mut bench = Bench::new();
        bench.sample(0, &[idle()]);
        let held = LoopSample {
            stack: bench.stack("walk:2 walk:2 walk:2 main:1"),
            ..busy(stock(1, START))
        };
        feed(&mut bench, &[held; 4]);
        assert_eq!(
            rows(&bench)[..2],
            [
                row("walk:2", (40, 40, 1, 40)),
                row("main:1", (0, 40, 1, 40))
            ]
        );
    }

    #[test]
    fn a_torn_stack_ends_no_hold() {
        let mut bench = Bench::new();
        bench.sample(0, &[idle()]);
        let whole = LoopSample {
            stack: bench.stack("inner:1 outer:1"),
            ..busy(stock(1, START))
        };
        let torn = LoopSample {
            stack: bench.stack("outer:1"),
            torn: true,
            ..whole
        };
        let lost = LoopSample {
            stack: None,
            ..whole
        };
        feed(&mut bench, &[whole, torn, lost, whole]);
        assert_eq!(
            rows(&bench),
            [
                row("inner:1", (20, 40, 1, 40)),
                row("outer:1", (0, 40, 1, 40))
            ]
        );
    }

    #[test]
    fn two_loops_may_run_the_same_place() {
        let mut bench = Bench::new();
        let stack = bench.stack("work:1");
        for at in 0..=5 {
            let first = LoopSample {
                stack,
                ..busy(stock(1, START))
            };
            let second = LoopSample {
                loop_id: crate::analysis::testing::loop_id(2),
                ..first
            };
            bench.sample(at * 10 * MS, &[first, second]);
        }
        assert_eq!(rows(&bench), [row("work:1", (100, 100, 2, 50))]);
    }

    #[test]
    fn places_that_do_not_fit_are_counted_together() {
        let mut holds = Holds::default();
        for line in 0..30_000 {
            holds.number(&place("f", line));
        }
        assert_eq!(holds.places.len(), MAX_PLACES + 1);
        assert_eq!(holds.number(&place("f", 29_999)), OTHER);
        assert_ne!(holds.number(&place("f", 5)), OTHER);
    }
}
