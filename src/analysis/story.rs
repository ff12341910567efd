//! Tells a stall from what samples showed of it.

use std::sync::Arc;

use asyncspy_model::stack::Chain;
use asyncspy_model::{
    BeganIs, Cause, FrameKind, Location, LoopId, StackFrame, Stall, TaskDefinition,
};

use super::between::Between;
use super::conditions::Conditions;
use super::definitions::Definitions;
use super::segment::Segment;
use super::turn::Stretch;

/// The name of a plain callback of which no sample caught a stack.
const NAMELESS_CALLBACK: &str = "callback";

/// The stall that `stretch` is.
pub(super) fn tell(
    stretch: &Stretch,
    loop_id: LoopId,
    definitions: &Definitions,
    conditions: &Conditions,
) -> Stall {
    let cause = cause_of(stretch, conditions);
    let votes = match cause {
        Cause::ManyCallbacks => &stretch.votes,
        _ => &stretch.culprit.votes,
    };
    let winner = votes.winner(definitions);
    let frames = definitions.frames(winner.and_then(|vote| vote.stack));
    let task = definitions.task(winner.and_then(|vote| vote.task));
    let (began, began_is) = beginning(stretch, cause, conditions);
    let length = conditions.pauses.length(began, stretch.ended);
    let (stack, coroutine_stack) = split_frames(frames);
    let (name, label) = names(task, frames);
    Stall {
        number: stretch.number,
        loop_id,
        task: task.map(|task| task.id),
        name,
        label,
        began_monotonic_ns: began.middle(),
        began_unix_ns: definitions.unix_ns(began.middle()),
        began_is,
        duration_ns: length.middle(),
        uncertainty_ns: length.uncertainty(),
        ongoing: false,
        cause,
        stack,
        coroutine_stack,
        awaiters: task.map(|task| task.awaiters.clone()).unwrap_or_default(),
        samples: stretch.samples,
        callbacks: stretch.callbacks,
        late_timers: stretch.late_timers,
        ready: stretch.ready,
    }
}

/// Why the loop did not answer.
fn cause_of(stretch: &Stretch, conditions: &Conditions) -> Cause {
    let length = conditions.pauses.length(stretch.began, stretch.ended);
    let is_minor = stretch.culprit_ns.saturating_mul(2) < length.middle();
    if stretch.is_mixed && is_minor {
        return Cause::ManyCallbacks;
    }
    let Segment {
        running, asleep, ..
    } = stretch.culprit;
    match (running, asleep) {
        (0, 0) => Cause::Unknown,
        _ if asleep > running => Cause::Blocked,
        _ => Cause::Cpu,
    }
}

/// When the stall began: with the callback that held the loop where that is known exactly and is
/// a stall by itself, else with the turn.
fn beginning(stretch: &Stretch, cause: Cause, conditions: &Conditions) -> (Between, BeganIs) {
    let culprit = &stretch.culprit;
    let alone = conditions.pauses.length(culprit.began, stretch.ended);
    let is_long_enough = alone.longest >= conditions.rules.threshold_ns;
    if culprit.is_began_known && cause != Cause::ManyCallbacks && is_long_enough {
        return (culprit.began, BeganIs::Callback);
    }
    (stretch.began, stretch.began_is)
}

/// Name and label of what ran.
fn names(task: Option<&Arc<TaskDefinition>>, frames: &[StackFrame]) -> (Arc<str>, Arc<str>) {
    if let Some(task) = task {
        return (Arc::clone(&task.name), Arc::clone(&task.label));
    }
    let name = callback_name(frames);
    (Arc::clone(&name), name)
}

/// The name of a plain callback: the function that the loop called.
pub(super) fn callback_name(frames: &[StackFrame]) -> Arc<str> {
    let mut outermost_first = frames.iter().rev();
    outermost_first
        .find(|frame| frame.kind != FrameKind::Machinery)
        .map_or_else(
            || NAMELESS_CALLBACK.into(),
            |frame| Arc::clone(&frame.location.function),
        )
}

/// Divides frames, innermost first, into the ordinary ones and the coroutines below them.
///
/// The coroutines are the outermost frames up to the first ordinary function. A generator that
/// such a function runs is a part of the ordinary frames.
fn split_frames(frames: &[StackFrame]) -> (Chain, Chain) {
    let outermost_first = || {
        let all = frames.iter().rev();
        all.filter(|frame| frame.kind != FrameKind::Machinery)
    };
    let is_coroutine = |frame: &&StackFrame| frame.kind == FrameKind::Coroutine;
    (
        chain(outermost_first().skip_while(is_coroutine)),
        chain(outermost_first().take_while(is_coroutine)),
    )
}

/// The places of frames that come outermost first, innermost first.
fn chain<'a>(outermost_first: impl Iterator<Item = &'a StackFrame>) -> Chain {
    let mut places: Vec<Location> = outermost_first
        .map(|frame| frame.location.clone())
        .collect();
    places.reverse();
    places.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use asyncspy_model::{LoopSample, TaskId};

    use crate::analysis::testing::{Bench, MS, START, busy, idle, stack, stock};

    /// The stall that these samples, one each 10 ms, are of.
    fn stall_of(bench: &mut Bench, samples: &[LoopSample]) -> Arc<Stall> {
        for (sample, at) in samples.iter().zip((0..).step_by(10)) {
            bench.sample(at * MS, &[*sample]);
        }
        bench.sample(10_000 * MS, &[idle()]);
        bench.ended().into_iter().next_back().unwrap()
    }

    #[test]
    fn the_stall_names_the_task_the_place_and_who_waits() {
        let mut bench = Bench::new();
        let blocked = LoopSample {
            task: bench.task("fetch", &["handler", "server"]),
            stack: bench.stack("recv:5 read:9 fetch:33~ run!"),
            ready: 7,
            late_timers: 2,
            ..busy(stock(1, START))
        };
        let other = LoopSample {
            stack: bench.stack("encode:1 fetch:30~ run!"),
            ready: 9,
            late_timers: 1,
            ..blocked
        };
        let mut samples = vec![blocked; 15];
        samples.extend([other; 3]);
        let stall = stall_of(&mut bench, &samples);
        assert_eq!((&*stall.name, &*stall.label), ("fetch", "fetch"));
        assert!(stall.task.is_some_and(|task| task != TaskId::default()));
        assert_eq!(stall.awaiters, ["handler".into(), "server".into()]);
        let lines: Vec<u32> = stall.stack.iter().map(|place| place.line).collect();
        assert_eq!(lines, [5, 9]);
        assert_eq!(stall.coroutine_stack[0].line, 33);
        assert_eq!(stall.culprit().map(|place| &*place.function), Some("recv"));
        assert_eq!((stall.ready, stall.late_timers), (9, 2));
    }

    #[test]
    fn the_cause_follows_the_state_of_the_thread() {
        for (states, expected) in [
            ("RRRRRRRRRRRRSS", Cause::Cpu),
            ("RSSSSSSDDDDDSS", Cause::Blocked),
            ("??????????????", Cause::Unknown),
            ("???????????R??", Cause::Cpu),
        ] {
            let sample = |os_state| LoopSample {
                os_state,
                ..busy(stock(1, START))
            };
            let samples: Vec<_> = states.chars().map(sample).collect();
            let stall = stall_of(&mut Bench::new(), &samples);
            assert_eq!(stall.cause, expected, "{states}");
        }
    }

    #[test]
    fn frames_are_divided_at_the_innermost_coroutine() {
        // Innermost first; `~` marks a coroutine or generator, `!` the loop's machinery.
        for (frames, expected_sync, expected_coroutines) in [
            ("", "", ""),
            ("run!", "", ""),
            ("sleep work~ main~ run!", "sleep", "work main"),
            ("work~ main~", "", "work main"),
            ("callback run!", "callback", ""),
            ("genexpr~ total work~ main~", "genexpr total", "work main"),
            ("genexpr~ total callback", "genexpr total callback", ""),
        ] {
            let (sync, coroutines) = split_frames(&stack(frames));
            let names = |chain: &Chain| {
                let names: Vec<&str> = chain.iter().map(|place| &*place.function).collect();
                names.join(" ")
            };
            assert_eq!(names(&sync), expected_sync, "{frames}");
            assert_eq!(names(&coroutines), expected_coroutines, "{frames}");
        }
    }

    #[test]
    fn a_plain_callback_is_named_after_the_function_that_the_loop_called() {
        for (frames, expected) in [
            ("inner callback run!", "callback"),
            ("run!", NAMELESS_CALLBACK),
            ("", NAMELESS_CALLBACK),
        ] {
            assert_eq!(&*callback_name(&stack(frames)), expected);
        }
    }
}
