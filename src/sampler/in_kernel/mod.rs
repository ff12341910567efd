//! Looks that the kernel takes in the loop's own thread.
//!
//! A thread that is interrupted stands still, so what the kernel sees of it is of one moment, and
//! the sampler need not be woken for it: looks wait in a ring until there are some.
//!
//! - [`program`]: what the kernel runs; [`record`]: what that writes.
//! - [`spans`]: how much time each look stands for.

use std::io;
use std::thread::JoinHandle;

use asyncspy_model::RemoteAddr;

pub mod program;
pub mod record;
pub mod spans;

use self::program::{Maps, Moment, Subject};
use self::record::{MOST, Record};
use self::spans::{Look, Piece, Spans};
use super::discovery::RunningLoopFound;
use crate::aio::loop_turn::RunOnceFacts;
use crate::layout::Layout;
use crate::target::bpf::kernel::{create_ring, create_scratch, load_program, number};
use crate::target::bpf::ring::Ring;
use crate::target::process::{monotonic_now_ns, our_timens_offset_ns};
use crate::target::thread_events::ThreadEvents;

/// Room for looks that wait: at a thousand a second, of fifty frames each, for half a second.
const RING: u32 = 4 << 20;

/// What the kernel looks at, and what has come of it.
#[derive(Debug, Default)]
pub struct InKernel {
    state: State,
    /// Thread and loop that it was asked to look at.
    subject: (RemoteAddr, RemoteAddr),
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unasked,
    /// It may take some ticks.
    Asked(JoinHandle<io::Result<KernelLooks>>),
    /// It has not looked yet: what the thread does since before that, only the sampler sees.
    Begun(Box<KernelLooks>),
    Refused,
}

/// What there was in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Looks.
    pub looks: u64,
    /// Looks that should have been there, too.
    pub lost: u64,
    /// How long it had not been drained.
    pub within_ns: u64,
}

/// Looks of one loop's thread.
#[derive(Debug)]
pub struct KernelLooks {
    events: ThreadEvents,
    ring: Ring,
    spans: Spans,
    timens_offset_ns: i64,
    /// What a loop polls that has no frame to tell it.
    poll_fd: Option<i32>,
    /// When it was drained last.
    drained_ns: u64,
    /// The last record at which the thread left its processor.
    left: Vec<u8>,
}

/// Tries whether the kernel would look at this thread.
///
/// # Errors
/// That it refuses.
pub fn try_out(tid: i32) -> io::Result<()> {
    use crate::target::bpf::assembler::{Assembler, R0};
    let nothing = || {
        let mut program = Assembler::default();
        program.set(R0, 0);
        program.exit();
        load_program("asyncspy_try", &program.finish().unwrap_or_default())
    };
    create_ring(MOST)?;
    ThreadEvents::begin(tid, u64::from(u32::MAX), [nothing()?, nothing()?])?;
    Ok(())
}

impl InKernel {
    /// Does not ask again for this loop: it led nowhere.
    pub fn give_up(&mut self) {
        self.state = State::Refused;
    }

    /// Asks the kernel to look at a loop, and hands its looks over from the first on; `None` until
    /// then, and where it refuses.
    pub fn poll(&mut self, subject: Option<Subject<'_>>, interval_ns: u64) -> Option<KernelLooks> {
        let of = |one: Subject<'_>| (one.found.thread.addr, one.found.facts.addr);
        if let Some(subject) = subject.map(of).filter(|subject| *subject != self.subject) {
            (self.state, self.subject) = (State::Unasked, subject);
        }
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Unasked => {
                self.state = State::Unasked;
                let subject = subject?;
                let (found, layout) = (subject.found.clone(), *subject.layout);
                let run_once = subject.run_once;
                let open = move || KernelLooks::open(&found, &layout, run_once, interval_ns);
                let thread = std::thread::Builder::new().name("in-kernel".to_owned());
                self.state = thread.spawn(open).map_or(State::Refused, State::Asked);
                None
            }
            State::Asked(asked) if asked.is_finished() => {
                self.state = State::Begun(Box::new(asked.join().ok()?.ok()?));
                None
            }
            State::Begun(looks) if !looks.ring.is_empty() => {
                self.state = State::Unasked;
                Some(*looks)
            }
            other => {
                self.state = other;
                None
            }
        }
    }
}

impl KernelLooks {
    fn open(
        found: &RunningLoopFound,
        layout: &Layout,
        run_once: Option<RunOnceFacts>,
        interval_ns: u64,
    ) -> io::Result<Self> {
        let (scratch, ring) = (create_scratch(MOST)?, create_ring(RING)?);
        let maps = Maps {
            scratch: number(&scratch),
            ring: number(&ring),
        };
        let subject = Subject {
            found,
            layout,
            run_once,
        };
        let load = |moment| {
            let load = |tells_calls| {
                let program = program::write(subject, maps, (moment, tells_calls));
                load_program("asyncspy", &program.ok_or(io::ErrorKind::Unsupported)?)
            };
            load(true).or_else(|_| load(false))
        };
        let programs = [load(Moment::Running)?, load(Moment::Leaving)?];
        Ok(Self {
            poll_fd: run_once.is_none().then_some(found.facts.poll_fd),
            ring: Ring::open(&ring, RING as usize)?,
            events: ThreadEvents::begin(found.tid, interval_ns, programs)?,
            spans: Spans::new(interval_ns),
            timens_offset_ns: our_timens_offset_ns(),
            drained_ns: monotonic_now_ns(),
            left: Vec::new(),
        })
    }

    /// Hands over what there is: samples to be taken, each with the record that it is taken of.
    /// `now_ns` is when the thread was seen to be there still.
    ///
    /// # Errors
    /// That the kernel does not tell.
    pub fn drain(
        &mut self,
        now_ns: Option<u64>,
        mut give: impl FnMut(Piece, Record<'_>),
    ) -> io::Result<Drained> {
        let ran_ns = self.events.ran_ns()?;
        let (spans, left) = (&mut self.spans, &mut self.left);
        let (offset, poll_fd) = (self.timens_offset_ns, self.poll_fd);
        let mut looks = 0;
        self.ring.drain(|bytes| {
            looks += 1;
            let record = Record(bytes);
            let look = Look {
                at_ns: record.at_ns().saturating_add_signed(offset),
                ran_ns: record.ran_ns(),
                leaves: record.leaves(),
                polls: match poll_fd {
                    Some(poll_fd) => record.system_call().polls(poll_fd),
                    None => record.polls(),
                },
            };
            spans.note(look, |piece| match piece.shown {
                spans::Shown::Before => give(piece, Record(left)),
                spans::Shown::Now => give(piece, record),
            });
            if look.leaves {
                left.clear();
                left.extend_from_slice(bytes);
            }
        });
        if let Some(now_ns) = now_ns {
            spans.catch_up(now_ns, ran_ns, |piece| give(piece, Record(left)));
        }
        let now_ns = monotonic_now_ns();
        let before_ns = std::mem::replace(&mut self.drained_ns, now_ns);
        Ok(Drained {
            looks,
            lost: spans.lost(),
            within_ns: now_ns.saturating_sub(before_ns),
        })
    }
}
