//! What each loop ran, in the order of time.

use std::sync::Arc;

use asyncspy_model::{Run, Timeline};
use rustc_hash::FxHashMap;

use super::tree::NodeId;

/// How many runs are kept, of all loops together: 24 bytes each. At 100 Hz a busy loop needs some
/// hours to fill it.
const MAX_RUNS: usize = 2_000_000;

/// The runs of all loops. Neighbours that show the same are one run, so an idle or a stalled loop
/// takes no room.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    loops: Vec<LoopRuns>,
    runs: usize,
    is_full: bool,
}

#[derive(Debug)]
struct LoopRuns {
    serial: u32,
    name: Arc<str>,
    /// (from, to, path) in the order of time; idle time is left out.
    runs: Vec<(u64, u64, NodeId)>,
}

impl Timelines {
    /// Notes that the loop with this number ran `path` for some time.
    pub fn add(
        &mut self,
        serial: u32,
        name: impl FnOnce() -> Arc<str>,
        (from, to): (u64, u64),
        path: NodeId,
    ) {
        let position = self.loops.iter().rposition(|known| known.serial == serial);
        let last = position
            .and_then(|position| self.loops.get_mut(position))
            .and_then(|known| known.runs.last_mut());
        match last {
            Some(last) if last.1 == from && last.2 == path => last.1 = to,
            _ if self.runs >= MAX_RUNS => self.is_full = true,
            _ => {
                let position = position.unwrap_or_else(|| self.add_loop(serial, name()));
                if let Some(known) = self.loops.get_mut(position) {
                    known.runs.push((from, to, path));
                    self.runs += 1;
                }
            }
        }
    }

    fn add_loop(&mut self, serial: u32, name: Arc<str>) -> usize {
        self.loops.push(LoopRuns {
            serial,
            name,
            runs: Vec::new(),
        });
        self.loops.len() - 1
    }

    /// The paths that are used.
    pub fn paths(&self) -> impl Iterator<Item = NodeId> {
        let runs = self.loops.iter().flat_map(|known| known.runs.iter());
        runs.map(|&(_, _, path)| path)
    }

    /// All timelines; moments are counted from `origin`. A path stands at its position in
    /// `positions`. One that was cut short says so in its name.
    pub fn export(&self, origin: u64, positions: &FxHashMap<NodeId, usize>) -> Vec<Timeline> {
        let timelines = self.loops.iter().map(|known| Timeline {
            name: if self.is_full {
                format!("{} (cut short)", known.name).into()
            } else {
                Arc::clone(&known.name)
            },
            runs: known
                .runs
                .iter()
                .map(|(from, to, path)| Run {
                    from_ns: from.saturating_sub(origin),
                    to_ns: to.saturating_sub(origin),
                    stack: positions.get(path).copied(),
                })
                .collect(),
        });
        timelines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_show_the_same_are_one_run() {
        let mut timelines = Timelines::default();
        let path = NodeId::ROOT;
        for (serial, from, to) in [(1, 0, 5), (1, 5, 9), (2, 0, 9), (1, 12, 20)] {
            timelines.add(serial, || "loop".into(), (from, to), path);
        }
        let exported = timelines.export(0, &FxHashMap::from_iter([(path, 3)]));
        let runs: Vec<Vec<_>> = exported
            .iter()
            .map(|timeline| {
                timeline
                    .runs
                    .iter()
                    .map(|run| (run.from_ns, run.to_ns, run.stack))
                    .collect()
            })
            .collect();
        assert_eq!(
            runs,
            [
                vec![(0, 9, Some(3)), (12, 20, Some(3))],
                vec![(0, 9, Some(3))]
            ]
        );
    }

    #[test]
    fn a_timeline_that_was_cut_short_says_so() {
        let mut timelines = Timelines {
            runs: MAX_RUNS - 1,
            ..Timelines::default()
        };
        for at in 0..5 {
            timelines.add(1, || "loop".into(), (at * 10, at * 10 + 5), NodeId::ROOT);
        }
        let exported = timelines.export(0, &FxHashMap::default());
        assert_eq!(exported[0].runs.len(), 1);
        assert_eq!(&*exported[0].name, "loop (cut short)");
    }
}
