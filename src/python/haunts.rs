//! Where frames of a thread were met lately.

use std::cmp::Reverse;

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashMap;

use super::frame::{Owner, RawFrame};
use super::stack_reads::Plan;

/// How many haunts are known, besides those of the last stack.
const MOST_HAUNTS: usize = 96;

/// Where frames of a thread were met lately. Memory is used again, so frames come back to where
/// others were.
#[derive(Debug, Default)]
pub(super) struct Haunts {
    known: FxHashMap<RemoteAddr, Haunt>,
    now: u64,
}

/// A place where a frame was met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Haunt {
    /// How far from the outermost frame.
    pub height: usize,
    /// What was met there last.
    pub kind: HauntKind,
    seen: u64,
}

/// What was met there last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HauntKind {
    /// The frame of a coroutine or generator.
    Generator,
    /// A shim.
    Shim,
    /// Another frame, or what leads to one.
    Other,
}

impl Haunts {
    /// True if none are known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All of them with their addresses, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (RemoteAddr, Haunt)> {
        self.known.iter().map(|(addr, haunt)| (*addr, *haunt))
    }

    /// Takes notice of a stack, innermost frame first.
    pub fn note(&mut self, frames: &[RawFrame]) {
        self.now += 1;
        for (nth, frame) in frames.iter().enumerate() {
            let kind = match frame.owner {
                Owner::Generator(_) => HauntKind::Generator,
                Owner::Shim => HauntKind::Shim,
                Owner::Thread => HauntKind::Other,
            };
            self.note_one(frame.addr, frames.len() - nth, kind);
        }
        let most = MOST_HAUNTS + frames.len().min(MOST_HAUNTS);
        if self.known.len() > most {
            self.forget_oldest();
        }
    }

    /// Takes notice of what leads to the innermost frame.
    pub fn note_entry(&mut self, cframe: RemoteAddr) {
        if !cframe.is_null() {
            self.note_one(cframe, usize::MAX, HauntKind::Other);
        }
    }

    /// Forgets those of a pass that could not be read: their memory is gone.
    pub fn forget_unread(&mut self, pass: &Plan) {
        for (low, high) in pass.unread() {
            self.known.retain(|addr, _| !(low..high).contains(&addr.0));
        }
    }

    /// Where generators were, those that were innermost first.
    pub fn generators(&self) -> impl Iterator<Item = RemoteAddr> {
        let all = self.iter();
        let mut generators: Vec<_> = all
            .filter(|(_, haunt)| haunt.kind == HauntKind::Generator)
            .map(|(addr, haunt)| (Reverse(haunt.height), addr))
            .collect();
        generators.sort_unstable();
        generators.into_iter().map(|(_, addr)| addr)
    }

    fn forget_oldest(&mut self) {
        let mut seen: Vec<_> = self.known.values().map(|haunt| haunt.seen).collect();
        let (_, oldest, _) = seen.select_nth_unstable_by_key(MOST_HAUNTS, |seen| Reverse(*seen));
        let oldest = *oldest;
        self.known.retain(|_, haunt| haunt.seen > oldest);
    }

    fn note_one(&mut self, addr: RemoteAddr, height: usize, kind: HauntKind) {
        let seen = self.now;
        self.known.insert(addr, Haunt { height, kind, seen });
    }
}
