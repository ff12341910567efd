//! The linked lists in which CPython 3.14 and later keeps tasks.
//!
//! A task is added at the end of its thread's list and removed from wherever it is
//! (`register_task`, `unregister_task` in Modules/_asynciomodule.c; Include/internal/
//! pycore_llist.h). So the order of a list is the order of birth, and a walk from the end towards
//! the head cannot skip a task that lives throughout: stepping from a node that is in the list to
//! the node before it passes over nothing, and a node whose task has died and whose memory holds
//! a new task is at the end again, from where the walk only repeats itself. Each step is checked
//! in both directions, each node read after the one it was reached from.

use asyncspy_model::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::target::image::PageImage;
use crate::target::memory::{
    Fields, MemoryError, MemoryViewExt, Piece, ProcessMemory, gather_all, piece,
};

/// How many nodes are checked in one call.
const BATCH: usize = 256;

/// Most nodes of a guess that do not point back to the one before: more is no list that changes,
/// but none at all.
const MAX_ODD: usize = 1024;

/// How many pages are read when one of them is needed for a guess: tasks lie together, in pools
/// of 16 KiB (Objects/obmalloc.c, `POOL_SIZE`).
const BLOCK: u64 = 4;

/// Most nodes of one list.
const MAX_NODES: usize = 1 << 22;

/// How often a node is read again before it counts as gone.
const NODE_ATTEMPTS: usize = 16;

/// How often a head whose list makes no sense is tried again.
const HEAD_ATTEMPTS: usize = 64;

/// The nodes of one list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WalkedList {
    /// Addresses of the nodes, newest first; each once.
    pub nodes: Vec<RemoteAddr>,
    /// True if every node that was in the list throughout the walk is among them.
    pub proven: bool,
}

/// One `llist_node`: {next, prev}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Links {
    next: RemoteAddr,
    prev: RemoteAddr,
}

/// Whether each list of these heads has no node, by one look at the heads in their order. A list
/// that does not look like one has some.
///
/// # Errors
/// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
pub fn are_empty(
    memory: &dyn ProcessMemory,
    heads: &[RemoteAddr],
) -> Result<Vec<bool>, MemoryError> {
    let links = Walk::new(memory, RemoteAddr::NULL, &[]).read_links(heads)?;
    let of_none = |head| {
        Some(Links {
            next: head,
            prev: head,
        })
    };
    Ok(heads
        .iter()
        .zip(links)
        .map(|(head, links)| links == of_none(*head))
        .collect())
}

/// Walks the list with this head. `guess` is where its nodes were before, newest first; a good
/// guess makes it fast, a bad one costs a little and harms nothing.
///
/// # Errors
/// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
pub fn walk_list(
    memory: &dyn ProcessMemory,
    head: RemoteAddr,
    guess: &[RemoteAddr],
) -> Result<WalkedList, MemoryError> {
    let fresh;
    let guess = if guess.is_empty() {
        fresh = guess_by_pages(memory, head);
        &fresh
    } else {
        guess
    };
    Walk::new(memory, head, guess).run()
}

/// Follows the list through pages that are read once each: fast, and wrong where the list
/// changes meanwhile.
fn guess_by_pages(memory: &dyn ProcessMemory, head: RemoteAddr) -> Vec<RemoteAddr> {
    let image = PageImage::by_blocks(memory, BLOCK);
    let (mut nodes, mut seen) = (Vec::new(), FxHashSet::default());
    let (mut behind, mut odd) = (head, 0);
    let mut at = image.read_ptr(head.offset(8));
    while let Ok(node) = at
        && node != head
        && !node.is_null()
        && nodes.len() < MAX_NODES
        && odd < MAX_ODD
        && seen.insert(node)
    {
        odd += usize::from(image.read_ptr(node) != Ok(behind));
        nodes.push(node);
        behind = node;
        at = image.read_ptr(node.offset(8));
    }
    nodes
}

struct Walk<'a> {
    memory: &'a dyn ProcessMemory,
    head: RemoteAddr,
    guess: &'a [RemoteAddr],
    /// Where in the guess the node is that should come next, as long as the walk follows it.
    expected: Option<usize>,
    /// Positions in the guess, once the walk has left it: then a node may be met twice.
    position: Option<FxHashMap<RemoteAddr, usize>>,
    found: WalkedList,
    /// Nodes reached, the head first; the last one is where the walk stands.
    path: Vec<RemoteAddr>,
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
    ok: Vec<bool>,
}

/// What one look at the node where the walk stands has shown.
enum Look {
    /// It is in the list, and this node is before it.
    Before(RemoteAddr),
    /// It is not in the list any more.
    Gone,
}

impl<'a> Walk<'a> {
    fn new(memory: &'a dyn ProcessMemory, head: RemoteAddr, guess: &'a [RemoteAddr]) -> Self {
        Self {
            memory,
            head,
            guess,
            expected: Some(0),
            position: None,
            found: WalkedList::default(),
            path: vec![head],
            pieces: Vec::new(),
            bytes: Vec::new(),
            ok: Vec::new(),
        }
    }

    fn run(mut self) -> Result<WalkedList, MemoryError> {
        self.walk()?;
        if self.position.is_some() {
            // Off the guess a node may be met twice.
            let mut seen = FxHashSet::default();
            self.found.nodes.retain(|node| seen.insert(*node));
        }
        Ok(self.found)
    }

    fn walk(&mut self) -> Result<(), MemoryError> {
        let bound = 10_000 + 4 * self.guess.len();
        let mut barren = 0;
        for _ in 0..bound {
            if barren > HEAD_ATTEMPTS || self.found.nodes.len() > MAX_NODES {
                break;
            }
            let here = *self.path.last().unwrap_or(&self.head);
            if let Some(at) = self.expected.take() {
                self.advance(here, None, at)?;
                if self.found.proven {
                    break;
                }
                if self.expected.is_some() {
                    continue;
                }
            }
            match self.look(here)? {
                Look::Before(node) if node == self.head => {
                    self.found.proven = true;
                    break;
                }
                Look::Before(node) => match self.position_of(node) {
                    Some(at) => self.advance(here, None, at)?,
                    None => self.advance(here, Some(node), self.guess.len())?,
                },
                Look::Gone if self.path.len() > 1 => {
                    self.positions();
                    self.path.pop();
                }
                // Its end changes all the time, or its thread has ended.
                Look::Gone => barren += 1,
            }
        }
        Ok(())
    }

    /// Reads the node, the one behind it and the one before it, until they agree.
    fn look(&mut self, here: RemoteAddr) -> Result<Look, MemoryError> {
        for _ in 0..NODE_ATTEMPTS {
            let Some(links) = self.read_links(&[here])?[0] else {
                return Ok(Look::Gone);
            };
            let around = self.read_links(&[links.next, here, links.prev])?;
            let [Some(behind), Some(again), Some(before)] = around[..] else {
                continue;
            };
            if behind.prev == here && again == links && before.next == here {
                return Ok(Look::Before(links.prev));
            }
        }
        Ok(Look::Gone)
    }

    /// Takes as many nodes before `here` as prove true in the order of reading: `node`, if given,
    /// and those of the guess from `at` on. After its last one the head is tried.
    fn advance(
        &mut self,
        here: RemoteAddr,
        node: Option<RemoteAddr>,
        at: usize,
    ) -> Result<(), MemoryError> {
        let mut batch = vec![here];
        batch.extend(node);
        let rest = self.guess.get(at..).unwrap_or_default();
        batch.extend(rest.iter().take(BATCH));
        let ends = node.is_none() && rest.len() <= BATCH;
        batch.extend(ends.then_some(self.head));
        let links = self.read_links(&batch)?;
        let mut taken = 0;
        for pair in 0..batch.len() - 1 {
            let (Some(nearer), Some(farther)) = (links[pair], links[pair + 1]) else {
                break;
            };
            if nearer.prev != batch[pair + 1] || farther.next != batch[pair] {
                break;
            }
            taken += 1;
        }
        self.found.proven = ends && taken == batch.len() - 1;
        let new = &batch[1..=taken - usize::from(self.found.proven)];
        self.path.extend(new);
        self.found.nodes.extend(new);
        let follows = taken == batch.len() - 1 && node.is_none();
        self.expected = follows.then_some(at + taken);
        Ok(())
    }

    /// Where a node is in the guess.
    fn position_of(&mut self, node: RemoteAddr) -> Option<usize> {
        self.positions().get(&node).copied()
    }

    fn positions(&mut self) -> &FxHashMap<RemoteAddr, usize> {
        let guess = self.guess.iter().enumerate();
        self.position
            .get_or_insert_with(|| guess.map(|(at, node)| (*node, at)).collect())
    }

    /// The links of these nodes, read in this order; `None` for one that cannot be read.
    fn read_links(&mut self, nodes: &[RemoteAddr]) -> Result<Vec<Option<Links>>, MemoryError> {
        self.pieces.clear();
        self.pieces
            .extend(nodes.iter().map(|node| piece(*node, 16)));
        self.bytes.resize(16 * nodes.len(), 0);
        gather_all(self.memory, &self.pieces, &mut self.bytes, &mut self.ok)?;
        let links = self.bytes.chunks_exact(16).zip(&self.ok);
        Ok(links
            .map(|(bytes, ok)| {
                let fields = Fields(bytes);
                ok.then(|| Links {
                    next: fields.ptr(0),
                    prev: fields.ptr(8),
                })
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::memory::MemoryView;
    use std::cell::RefCell;
    use std::collections::HashMap;

    type Ring = HashMap<u64, [u64; 2]>;
    type Change = Box<dyn Fn(usize, &mut Ring)>;

    /// A list that changes after so many node reads.
    struct Shifting {
        nodes: RefCell<Ring>,
        reads: RefCell<usize>,
        change: Change,
    }

    impl MemoryView for Shifting {
        fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            let got = self.gather(&[piece(addr, buf.len())], buf)?;
            if got == buf.len() {
                return Ok(());
            }
            Err(MemoryError::Unmapped {
                addr,
                len: buf.len(),
            })
        }
    }

    impl ProcessMemory for Shifting {
        fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
            let mut done = 0;
            for piece in pieces {
                if piece.len > 16 {
                    return Ok(done);
                }
                let mut nodes = self.nodes.borrow_mut();
                let mut reads = self.reads.borrow_mut();
                (self.change)(*reads, &mut nodes);
                *reads += 1;
                let base = piece.base as u64;
                let node = nodes.get(&(base & !15)).copied();
                let Some([next, prev]) = node else {
                    return Ok(done);
                };
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&next.to_le_bytes());
                bytes[8..].copy_from_slice(&prev.to_le_bytes());
                let from = (base & 15) as usize;
                buf[done..done + piece.len].copy_from_slice(&bytes[from..from + piece.len]);
                done += piece.len;
            }
            Ok(done)
        }

        fn as_view(&self) -> &dyn MemoryView {
            self
        }
    }

    /// Links the addresses in this order, the head first.
    fn ring(order: &[u64]) -> Ring {
        let count = order.len();
        let links = |at: usize| [order[(at + 1) % count], order[(at + count - 1) % count]];
        (0..count).map(|at| (order[at], links(at))).collect()
    }

    fn shifting(order: &[u64], change: impl Fn(usize, &mut Ring) + 'static) -> Shifting {
        Shifting {
            nodes: RefCell::new(ring(order)),
            reads: RefCell::new(0),
            change: Box::new(change),
        }
    }

    fn remote(addrs: &[u64]) -> Vec<RemoteAddr> {
        addrs.iter().map(|addr| RemoteAddr(*addr)).collect()
    }

    fn walk(
        order: &[u64],
        guess: &[u64],
        change: impl Fn(usize, &mut Ring) + 'static,
    ) -> WalkedList {
        let memory = shifting(order, change);
        walk_list(&memory, RemoteAddr(order[0]), &remote(guess)).unwrap()
    }

    fn addrs(list: &WalkedList) -> Vec<u64> {
        list.nodes.iter().map(|node| node.0).collect()
    }

    #[test]
    fn a_quiet_list_is_read_whole_with_any_guess() {
        let order = [16, 32, 48, 64, 80];
        for guess in [&[80, 64, 48, 32][..], &[64, 48][..], &[96, 112][..]] {
            let list = walk(&order, guess, |_, _| {});
            assert_eq!(addrs(&list), [80, 64, 48, 32]);
            assert!(list.proven);
        }
        assert!(walk(&[16], &[32], |_, _| {}).proven);
    }

    #[test]
    fn a_list_that_is_as_it_was_is_read_once() {
        let memory = shifting(&[16, 32, 48, 64, 80], |_, _| {});
        let list = walk_list(&memory, RemoteAddr(16), &remote(&[80, 64, 48, 32])).unwrap();
        assert_eq!(addrs(&list), [80, 64, 48, 32]);
        assert!(list.proven);
        // The head stands at both ends.
        assert_eq!(*memory.reads.borrow(), 6);
    }

    #[test]
    fn a_guess_that_ends_too_early_or_too_late_is_none() {
        let order = [16, 32, 48, 64, 80];
        for guess in [
            &[80, 64, 48][..],
            &[80, 64, 48, 32, 96][..],
            &[64, 48, 32][..],
        ] {
            let list = walk(&order, guess, |_, _| {});
            assert_eq!(addrs(&list), [80, 64, 48, 32], "{guess:?}");
            assert!(list.proven);
        }
    }

    #[test]
    fn an_empty_list_is_told_by_its_head() {
        let memory = shifting(&[16], |_, _| {});
        memory.nodes.borrow_mut().extend(ring(&[32, 48]));
        let empty = are_empty(&memory, &remote(&[16, 32, 64])).unwrap();
        assert_eq!(empty, [true, false, false]);
    }

    #[test]
    fn tasks_that_die_and_are_born_again_hide_no_survivor() {
        // 48 and 64 die while they are walked over, and their memory holds the newest tasks.
        for moment in 0..40 {
            let list = walk(
                &[16, 32, 48, 64, 80],
                &[80, 64, 48, 32],
                move |reads, nodes| {
                    if reads == moment {
                        *nodes = ring(&[16, 32, 80, 48, 64]);
                    }
                },
            );
            assert!(list.proven, "moment {moment}");
            for survivor in [32, 80] {
                assert!(addrs(&list).contains(&survivor), "moment {moment}");
            }
        }
    }

    #[test]
    fn a_list_that_never_holds_still_is_not_called_whole() {
        let list = walk(&[16, 32, 48], &[48, 32], |reads, nodes| {
            *nodes = if reads % 2 == 0 {
                ring(&[16, 32, 48])
            } else {
                ring(&[16, 48, 32])
            };
        });
        assert!(!list.proven);
    }
}
