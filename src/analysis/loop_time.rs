//! Where the loops' time went, counted in several ways.

use asyncspy_model::{FrameLabel, Stall, Timeline};
use rustc_hash::FxHashMap;

use super::definitions::Definitions;
use super::meter::{Content, Slice};
use super::paths::{LoopPath, PathCache, Running};
use super::timelines::Timelines;
use super::tree::{Label, NodeId, Tree};
use super::turn::Stretch;

/// Which time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Time at which something held a loop.
    Busy,
    /// Of that, time within stalls; the outermost label is the cause.
    Stalls,
    /// Time at which tasks waited, summed over tasks. Empty unless it was asked for.
    Waits,
    /// All time of the loops, idle time included.
    Wall,
}

impl Mode {
    /// The word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Stalls => "stalls",
            Self::Waits => "waits",
            Self::Wall => "wall",
        }
    }
}

/// Where time went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Distinct stacks, outermost label first, each with its time in nanoseconds. One that only a
    /// timeline needs has none.
    pub stacks: Vec<(Vec<FrameLabel>, u64)>,
    /// What each loop ran when; idle time is left out. Empty unless it was asked for, and for
    /// modes without an order in time.
    pub timelines: Vec<Timeline>,
}

/// The loops' time, counted.
#[derive(Debug, Default)]
pub(super) struct LoopTime {
    busy: Tree,
    busy_paths: PathCache,
    stalls: Tree,
    stall_paths: PathCache,
    /// What is not busy.
    rest: Tree,
    timelines: Option<Timelines>,
}

impl LoopTime {
    /// Nothing yet. Timelines are kept only if asked for: they grow with time.
    pub fn new(keeps_timelines: bool) -> Self {
        Self {
            timelines: keeps_timelines.then(Timelines::default),
            ..Self::default()
        }
    }

    /// Forgets all time.
    pub fn clear(&mut self) {
        *self = Self::new(self.timelines.is_some());
    }

    /// Forgets what indices of stacks and tasks mean.
    pub fn forget_indices(&mut self) {
        self.busy_paths = PathCache::default();
        self.stall_paths = PathCache::default();
    }

    /// Adds a piece of a loop's time.
    pub fn add(&mut self, loop_path: &LoopPath, slice: &Slice, definitions: &Definitions) {
        let held = match slice.content {
            Content::Busy(held) => held,
            Content::Idle => return self.add_rest(loop_path, "(idle)", slice.weight_ns),
            Content::Unknown => return self.add_rest(loop_path, "(unknown)", slice.weight_ns),
        };
        if slice.weight_ns == 0 {
            return;
        }
        let running = Running {
            loop_path,
            task: held.task,
            stack: held.stack,
            torn: held.torn,
        };
        let path = self
            .busy_paths
            .find(&mut self.busy, NodeId::ROOT, running, definitions);
        self.busy.add(path, slice.weight_ns);
        if let Some(timelines) = &mut self.timelines {
            let span = (slice.from_ns, slice.until_ns);
            timelines.add(loop_path.serial, || loop_path.name(), span, path);
        }
    }

    fn add_rest(&mut self, loop_path: &LoopPath, label: &str, weight_ns: u64) {
        let loop_node = self.rest.descend(NodeId::ROOT, loop_path.labels());
        let node = self.rest.child(loop_node, &Label::plain(&label.into()));
        self.rest.add(node, weight_ns);
    }

    /// Adds a stall: its time is divided among what its samples showed.
    pub fn add_stall(
        &mut self,
        loop_path: &LoopPath,
        stall: &Stall,
        stretch: &Stretch,
        definitions: &Definitions,
    ) {
        let cause = Label::plain(&stall.cause.word().into());
        let root = self.stalls.child(NodeId::ROOT, &cause);
        let samples: u64 = stretch
            .votes
            .iter()
            .map(|vote| u64::from(vote.samples))
            .sum();
        let mut remaining_samples = samples;
        let mut remaining_ns = stall.duration_ns;
        for vote in stretch.votes.iter() {
            let running = Running {
                loop_path,
                task: vote.task,
                stack: vote.stack,
                torn: vote.torn,
            };
            let path = self
                .stall_paths
                .find(&mut self.stalls, root, running, definitions);
            let share_ns = share(remaining_ns, u64::from(vote.samples), remaining_samples);
            remaining_ns -= share_ns;
            remaining_samples -= u64::from(vote.samples);
            self.stalls.add(path, share_ns);
        }
    }

    /// The time of a mode other than [`Mode::Waits`]; moments are counted from `origin`.
    pub fn profile(&self, mode: Mode, origin: u64) -> Profile {
        let mut profile = Profile::default();
        let is_in_order = matches!(mode, Mode::Busy | Mode::Wall);
        let timelines = self.timelines.as_ref().filter(|_| is_in_order);
        if is_in_order {
            let used: Vec<NodeId> = timelines.iter().flat_map(|known| known.paths()).collect();
            let positions = add_stacks(&mut profile, &self.busy, &used);
            if let Some(timelines) = timelines {
                profile.timelines = timelines.export(origin, &positions);
            }
        }
        match mode {
            Mode::Stalls => drop(add_stacks(&mut profile, &self.stalls, &[])),
            Mode::Wall => drop(add_stacks(&mut profile, &self.rest, &[])),
            Mode::Busy | Mode::Waits => {}
        }
        profile
    }

    /// Busy time, as a tree.
    pub const fn busy(&self) -> &Tree {
        &self.busy
    }
}

/// `part` of `whole` shares of `total`.
fn share(total: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(total) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(total).min(total)
}

/// Adds every path with time of its own, and those in `also`; returns where they stand.
pub(super) fn add_stacks(
    profile: &mut Profile,
    tree: &Tree,
    also: &[NodeId],
) -> FxHashMap<NodeId, usize> {
    let mut positions = FxHashMap::default();
    let timed = tree.ids().filter(|(_, node)| node.self_ns > 0);
    for (id, weight_ns) in timed.map(|(id, node)| (id, node.self_ns)) {
        positions.insert(id, profile.stacks.len());
        profile.stacks.push((tree.path(id), weight_ns));
    }
    for &id in also {
        positions.entry(id).or_insert_with(|| {
            profile.stacks.push((tree.path(id), 0));
            profile.stacks.len() - 1
        });
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Settings;
    use crate::analysis::testing::{Bench, MS, START, busy, idle, path_text, stock};
    use asyncspy_model::sample::EndReason;
    use asyncspy_model::{LoopActivity, LoopSample, Run};

    const LOOP: &str = "python 42 > thread-1 > _UnixSelectorEventLoop";

    fn bench() -> Bench {
        let settings = Settings {
            keeps_timelines: true,
            ..Settings::default()
        };
        Bench::with(settings, 10 * MS)
    }

    /// (path below the loop, ms) of every stack, sorted.
    fn stacks(bench: &Bench, mode: Mode) -> Vec<(String, u64)> {
        let profile = bench.analysis.profile(mode);
        let rows = profile.stacks.iter().map(|(path, weight_ns)| {
            let path = path_text(path).replace(LOOP, "L");
            (path, weight_ns / MS)
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort();
        rows
    }

    /// 100 ms idle, 300 ms in `fetch`, which calls `recv` for most of it, 50 ms in a callback.
    fn run(bench: &mut Bench) {
        let fetch = LoopSample {
            task: bench.task("fetch", &["handler", "server"]),
            stack: bench.stack("recv:5 fetch:33~ run!"),
            ..busy(stock(1, START + 95 * MS))
        };
        let own = LoopSample {
            stack: bench.stack("fetch:34~ run!"),
            ..fetch
        };
        let callback = LoopSample {
            stack: bench.stack("on_timer:2 run!"),
            ..busy(stock(2, START + 396 * MS))
        };
        bench.samples(0, 90, idle());
        bench.samples(100, 340, fetch);
        bench.samples(350, 390, own);
        bench.samples(400, 440, callback);
        bench.samples(450, 500, idle());
    }

    #[test]
    fn busy_time_stands_under_the_tasks_that_wait_for_it() {
        let mut bench = bench();
        run(&mut bench);
        assert_eq!(
            stacks(&bench, Mode::Busy),
            [
                ("L > on_timer:2".into(), 50),
                (
                    "L > server > handler > fetch > fetch:33 > recv:5".into(),
                    250
                ),
                ("L > server > handler > fetch > fetch:34".into(), 50),
            ]
        );
        assert_eq!(stacks(&bench, Mode::Waits), []);
    }

    #[test]
    fn wall_time_holds_idle_time_too() {
        let mut bench = bench();
        run(&mut bench);
        bench.samples(510, 510, busy_unknown());
        let rows = stacks(&bench, Mode::Wall);
        assert_eq!(rows.iter().map(|(_, ms)| ms).sum::<u64>(), 510);
        assert!(rows.contains(&("L > (idle)".into(), 155)), "{rows:?}");
        assert!(rows.contains(&("L > (unknown)".into(), 5)));
    }

    fn busy_unknown() -> LoopSample {
        LoopSample {
            activity: LoopActivity::Unknown,
            ..idle()
        }
    }

    #[test]
    fn stall_time_is_that_of_the_stalls_and_stands_under_its_cause() {
        let mut bench = bench();
        run(&mut bench);
        let duration_ns = bench.ended()[0].duration_ns;
        let rows = stacks(&bench, Mode::Stalls);
        assert_eq!(
            rows.iter().map(|(path, _)| &**path).collect::<Vec<_>>(),
            [
                "blocking call > L > server > handler > fetch > fetch:33 > recv:5",
                "blocking call > L > server > handler > fetch > fetch:34",
            ]
        );
        let profile = bench.analysis.profile(Mode::Stalls);
        let sum: u64 = profile.stacks.iter().map(|(_, weight_ns)| weight_ns).sum();
        assert_eq!(sum, duration_ns, "not a nanosecond is lost");
    }

    #[test]
    fn a_stall_that_outlasts_the_recording_is_in_it() {
        let mut bench = bench();
        bench.samples(0, 300, busy(stock(1, START)));
        bench.end(EndReason::Interrupted, 300 * MS);
        assert_eq!(
            stacks(&bench, Mode::Stalls),
            [("blocking call > L".into(), 300)]
        );
    }

    #[test]
    fn a_torn_stack_says_so() {
        let mut bench = bench();
        let torn = LoopSample {
            stack: bench.stack("outer:1"),
            torn: true,
            ..busy(stock(1, START))
        };
        bench.samples(0, 20, torn);
        assert_eq!(
            stacks(&bench, Mode::Busy),
            [("L > outer:1 > (torn)".into(), 20)]
        );
    }

    #[test]
    fn timelines_show_what_ran_in_the_order_of_time() {
        let mut bench = bench();
        run(&mut bench);
        let profile = bench.analysis.profile(Mode::Busy);
        assert_eq!(profile.timelines.len(), 1);
        let timeline = &profile.timelines[0];
        assert_eq!(&*timeline.name, "thread-1 _UnixSelectorEventLoop");
        let runs: Vec<_> = timeline
            .runs
            .iter()
            .map(
                |Run {
                     from_ns,
                     to_ns,
                     stack,
                 }| {
                    let (path, _) = &profile.stacks[stack.unwrap()];
                    (from_ns / MS, to_ns / MS, path_text(&path[path.len() - 1..]))
                },
            )
            .collect();
        assert_eq!(
            runs,
            [
                (95, 345, "recv:5".into()),
                (345, 395, "fetch:34".into()),
                (395, 445, "on_timer:2".into()),
            ]
        );
        assert!(bench.analysis.profile(Mode::Stalls).timelines.is_empty());
    }

    #[test]
    fn a_reset_forgets_time_but_not_what_goes_on() {
        let mut bench = bench();
        run(&mut bench);
        bench.samples(510, 700, busy(stock(3, START + 505 * MS)));
        bench.analysis.reset();
        let report = bench.report();
        assert_eq!(report.totals.stalls, 0);
        assert_eq!((report.stalls.len(), report.stalls[0].ongoing), (1, true));
        assert!(report.hot.is_empty() && report.culprits.is_empty());
        assert_eq!(report.call_tree.nodes.len(), 1);
        assert_eq!(stacks(&bench, Mode::Wall), []);
        bench.samples(710, 710, idle());
        assert_eq!(bench.report().totals.stalls, 1);
        assert_eq!(bench.report().stalls[0].number, 2, "numbers go on");
    }
}
