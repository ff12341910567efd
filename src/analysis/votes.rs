//! Which stack stands for many samples of the same thing.

use asyncspy_model::{StackFrame, StackId, TaskIndex};

use super::definitions::Definitions;

/// How many distinct pairs of task and stack are counted at once. A function that computes shows
/// a new line at every sample; past this the rarest half is dropped.
const MAX_VOTES: usize = 256;

/// What was seen running, with the number of samples that saw it.
#[derive(Clone, Debug, Default)]
pub(super) struct Votes(Vec<Vote>);

/// A task on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub task: Option<TaskIndex>,
    pub stack: Option<StackId>,
    /// True if only the outer part of the stack is proven.
    pub torn: bool,
    pub samples: u32,
}

impl Votes {
    /// Counts `vote`.
    pub fn add(&mut self, vote: Vote) {
        let same = |known: &&mut Vote| {
            known.stack == vote.stack && known.task == vote.task && known.torn == vote.torn
        };
        if let Some(known) = self.0.iter_mut().rev().find(same) {
            known.samples = known.samples.saturating_add(vote.samples);
            return;
        }
        if self.0.len() >= MAX_VOTES {
            self.0.sort_by_key(|known| std::cmp::Reverse(known.samples));
            self.0.truncate(MAX_VOTES / 2);
        }
        self.0.push(vote);
    }

    /// Counts all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for vote in &other.0 {
            self.add(*vote);
        }
    }

    /// Every distinct vote.
    pub fn iter(&self) -> impl Iterator<Item = &Vote> {
        self.0.iter()
    }

    /// The vote that stands for all; `None` when there is none.
    ///
    /// It is found by walking inwards from the outermost frame and following the function, then
    /// the line, that most samples show. So a function that spreads over many lines or callees is
    /// not beaten by a single stack of another. Torn and absent stacks count only if there is
    /// nothing else.
    pub fn winner(&self, definitions: &Definitions) -> Option<Vote> {
        let is_whole = |vote: &&Vote| !vote.torn && vote.stack.is_some();
        let mut votes: Vec<Vote> = self.0.iter().filter(is_whole).copied().collect();
        if votes.is_empty() {
            votes.clone_from(&self.0);
        }
        let mut depth = 0;
        while votes.len() > 1 {
            let frame_of = |vote: &Vote| outer_frame(definitions.frames(vote.stack), depth);
            let function_of = |vote: &Vote| {
                frame_of(vote).map(|frame| (&*frame.location.function, &*frame.location.file))
            };
            keep_heaviest(&mut votes, function_of);
            keep_heaviest(&mut votes, |vote| {
                frame_of(vote).map(|frame| frame.location.line)
            });
            let Some(first) = votes.first() else { break };
            if frame_of(first).is_none() {
                break;
            }
            depth += 1;
        }
        votes.into_iter().max_by_key(|vote| vote.samples)
    }
}

/// The frame at a distance from the outermost.
fn outer_frame(frames: &[StackFrame], depth: usize) -> Option<&StackFrame> {
    frames.iter().rev().nth(depth)
}

/// Keeps the votes that share the key with the most samples; the first such key on a tie.
fn keep_heaviest<K: PartialEq>(votes: &mut Vec<Vote>, key_of: impl Fn(&Vote) -> K) {
    let mut sums: Vec<(K, u64)> = Vec::new();
    for vote in votes.iter() {
        let key = key_of(vote);
        match sums.iter_mut().find(|(known, _)| *known == key) {
            Some((_, sum)) => *sum += u64::from(vote.samples),
            None => sums.push((key, u64::from(vote.samples))),
        }
    }
    let heaviest = sums.into_iter().rev().max_by_key(|(_, sum)| *sum);
    if let Some((heaviest, _)) = heaviest {
        let is_heaviest: Vec<bool> = votes.iter().map(|vote| key_of(vote) == heaviest).collect();
        let mut verdicts = is_heaviest.into_iter();
        votes.retain(|_| verdicts.next().unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::stack;

    fn winner_of(stacks: &[(&str, u32)]) -> Option<Vote> {
        let mut definitions = Definitions::default();
        let mut votes = Votes::default();
        for (index, (text, samples)) in stacks.iter().enumerate() {
            let id = StackId(u32::try_from(index).unwrap());
            definitions.add_stack(id, &stack(text));
            votes.add(Vote {
                task: None,
                stack: Some(id),
                torn: false,
                samples: *samples,
            });
        }
        votes.winner(&definitions)
    }

    #[test]
    fn the_function_that_most_samples_show_wins() {
        // Stacks are written innermost first, function:line.
        let cases: [(&[(&str, u32)], u32); 5] = [
            (&[("a:1", 1)], 0),
            (&[("a:1", 1), ("b:1", 2)], 1),
            // b is spread over lines and callees and still holds most of the time.
            (
                &[("x:9 a:1", 3), ("b:1", 2), ("y:1 b:2", 2), ("z:1 b:2", 2)],
                2,
            ),
            // Of one function the line with most samples, however many callees it has.
            (&[("b:1", 3), ("x:1 b:2", 2), ("y:1 b:2", 2)], 1),
            // The function's own line against what it calls there.
            (&[("b:1", 3), ("x:1 b:1", 2)], 0),
        ];
        for (stacks, expected) in cases {
            let found = winner_of(stacks).and_then(|vote| vote.stack);
            assert_eq!(found, Some(StackId(expected)), "{stacks:?}");
        }
        assert_eq!(winner_of(&[]), None);
    }

    #[test]
    fn a_torn_stack_counts_only_when_there_is_no_whole_one() {
        let mut definitions = Definitions::default();
        definitions.add_stack(StackId(0), &stack("outer:1"));
        definitions.add_stack(StackId(1), &stack("inner:2 outer:1"));
        let vote = |stack, torn, samples| Vote {
            task: None,
            stack,
            torn,
            samples,
        };
        let mut votes = Votes::default();
        votes.add(vote(Some(StackId(0)), true, 5));
        votes.add(vote(None, false, 9));
        assert_eq!(votes.winner(&definitions).unwrap().samples, 9);
        votes.add(vote(Some(StackId(1)), false, 1));
        let winner = votes.winner(&definitions).unwrap();
        assert_eq!(winner.stack, Some(StackId(1)));
    }

    #[test]
    fn ever_new_stacks_take_bounded_memory_and_keep_the_common_one() {
        let mut votes = Votes::default();
        for index in 0..10_000 {
            for stack in [3, 10 + index] {
                votes.add(Vote {
                    task: None,
                    stack: Some(StackId(stack)),
                    torn: false,
                    samples: 1,
                });
            }
        }
        assert!(votes.0.len() <= MAX_VOTES);
        let common = votes.0.iter().find(|vote| vote.stack == Some(StackId(3)));
        assert_eq!(common.unwrap().samples, 10_000);
    }
}
