//! Leaving loops asleep that are.
//!
//! A thread that has not run since the last look looks as it did. Where the kernel tells when a
//! thread runs again, a loop that idles needs no look at each tick: the sampler sleeps until its
//! thread is woken, and the ticks in between found what the last one has.

use std::io;
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::target::process::{monotonic_now_ns, our_timens_offset_ns};
use crate::target::switches::SwitchNotes;

/// At so many ticks in a row all loops must have idled before it is tried to leave them asleep.
const QUIET_TICKS: u32 = 4;

/// The same at most, when that was hardly worth it the last times.
const MOST_QUIET_TICKS: u32 = 1024;

/// It is worth it if so many ticks were slept through.
const WORTH_TICKS: u64 = 4;

/// And so long a time: it costs the target some 5 us to wake the sampler, from the thread that
/// wakes itself.
const WORTH_NS: u64 = 5_000_000;

/// How long the sampler sleeps at most: a stop is heard, and a consumer told, that much later.
const LONGEST_NS: u64 = 100_000_000;

/// The same in ticks. A poll comes up to a thousandth of its time late (fs/select.c,
/// `select_estimate_accuracy`), which is to be a fraction of one.
const LONGEST_TICKS: u64 = 250;

/// Tells when the loops of a session are asleep, and sleeps with them.
#[derive(Debug)]
pub struct Rest {
    interval_ns: u64,
    /// The threads that run the loops.
    tids: Vec<i32>,
    notes: Notes,
    /// At how many ticks in a row all loops have idled.
    quiet: u32,
    /// At how many they must.
    needed: u32,
    proof: Proof,
    /// From the kernel's initial monotonic clock to ours.
    timens_offset_ns: i64,
}

/// What the kernel tells of the threads.
#[derive(Debug)]
enum Notes {
    /// Nothing was asked for yet.
    Unasked,
    /// It may take some ticks to get them.
    Asked(JoinHandle<io::Result<Vec<SwitchNotes>>>),
    /// One for each thread.
    Given(Vec<SwitchNotes>),
    Refused,
}

/// What shows that all threads sleep in the polls of their loops: a look that found them there,
/// between two moments between which none of them has run.
#[derive(Debug)]
enum Proof {
    None,
    /// The first of these moments is over: for how long each had run.
    Begun(Vec<Duration>),
    /// Since when it stands.
    Whole(u64),
}

impl Rest {
    /// For ticks of this interval.
    #[must_use]
    pub fn new(interval_ns: u64) -> Self {
        Self {
            interval_ns: interval_ns.max(1),
            tids: Vec::new(),
            notes: Notes::Unasked,
            quiet: 0,
            needed: QUIET_TICKS,
            proof: Proof::None,
            timens_offset_ns: our_timens_offset_ns(),
        }
    }

    /// How long to sleep at once at most, in nanoseconds; 0 if that is too little to be worth it.
    #[must_use]
    pub fn longest_ns(&self) -> u64 {
        let longest = LONGEST_NS.min(LONGEST_TICKS.saturating_mul(self.interval_ns));
        match longest / self.interval_ns {
            ..WORTH_TICKS => 0,
            _ => longest,
        }
    }

    /// Takes notice of a look at the loops of these threads, which have all idled or not. Returns
    /// true if all of them are asleep since then.
    pub fn note(&mut self, tids: impl Iterator<Item = i32> + Clone, all_idle: bool) -> bool {
        if !all_idle {
            self.wake();
            return false;
        }
        if !tids.clone().eq(self.tids.iter().copied()) {
            self.wake();
            self.tids = tids.collect();
            self.notes = Notes::Unasked;
        }
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet < self.needed {
            return false;
        }
        self.prove().unwrap_or_else(|_| {
            self.notes = Notes::Refused;
            self.proof = Proof::None;
            false
        })
    }

    fn prove(&mut self) -> io::Result<bool> {
        self.ask()?;
        let Notes::Given(notes) = &mut self.notes else {
            return Ok(false);
        };
        match &self.proof {
            Proof::None => {
                notes.iter_mut().try_for_each(SwitchNotes::begin)?;
                self.proof = Proof::Begun(ran(notes)?);
            }
            Proof::Begun(before) if ran(notes)? == *before => {
                self.proof = Proof::Whole(monotonic_now_ns());
            }
            Proof::Begun(_) => {
                self.back_off();
                self.wake();
            }
            Proof::Whole(_) => {}
        }
        Ok(matches!(self.proof, Proof::Whole(_)))
    }

    /// Asks for notes, and sees whether they have come.
    fn ask(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.notes, Notes::Refused) {
            Notes::Unasked => {
                let tids = self.tids.clone();
                let open = move || tids.into_iter().map(SwitchNotes::open).collect();
                let thread = std::thread::Builder::new().name("switches".to_owned());
                self.notes = Notes::Asked(thread.spawn(open)?);
            }
            Notes::Asked(asked) if asked.is_finished() => {
                if let Ok(notes) = asked.join() {
                    self.notes = Notes::Given(notes?);
                }
            }
            other => self.notes = other,
        }
        Ok(())
    }

    /// Sleeps until this moment (CLOCK_MONOTONIC), or one of the threads runs again. Returns until
    /// when none of them has run. To be called only when [`note`](Self::note) has said so.
    pub fn sleep(&mut self, until_ns: u64) -> u64 {
        let (Notes::Given(notes), Proof::Whole(since_ns)) = (&mut self.notes, &self.proof) else {
            return 0;
        };
        let since_ns = *since_ns;
        let Some(woken_ns) = sleep_with(notes, until_ns) else {
            return until_ns;
        };
        let woken_ns = woken_ns.saturating_add_signed(self.timens_offset_ns);
        let slept_ns = woken_ns.saturating_sub(since_ns);
        match slept_ns >= WORTH_NS.max(WORTH_TICKS * self.interval_ns) {
            true => self.needed = QUIET_TICKS,
            false => self.back_off(),
        }
        self.wake();
        woken_ns
    }

    const fn back_off(&mut self) {
        let more = self.needed * 2;
        self.needed = if more > MOST_QUIET_TICKS {
            MOST_QUIET_TICKS
        } else {
            more
        };
    }

    /// Has no notes taken while a loop is at work.
    fn wake(&mut self) {
        self.quiet = 0;
        if let (Notes::Given(notes), Proof::Begun(_) | Proof::Whole(_)) =
            (&mut self.notes, &self.proof)
            && notes.iter_mut().try_for_each(SwitchNotes::end).is_err()
        {
            self.notes = Notes::Refused;
        }
        self.proof = Proof::None;
    }
}

fn ran(notes: &mut [SwitchNotes]) -> io::Result<Vec<Duration>> {
    notes.iter_mut().map(SwitchNotes::ran).collect()
}

/// Sleeps until this moment, and returns `None`, or until there is a note: when the first was
/// taken, by the kernel's clock; 0 where that is not known.
fn sleep_with(notes: &mut [SwitchNotes], until_ns: u64) -> Option<u64> {
    loop {
        if let Some(first) = first_ns(notes) {
            return Some(first);
        }
        let left = until_ns.saturating_sub(monotonic_now_ns());
        if left == 0 {
            return None;
        }
        match poll_notes(notes, left) {
            // A signal, or a readiness that was left over, is no note.
            Ok(false) | Err(Errno::EINTR) => {}
            Ok(true) | Err(_) => return Some(first_ns(notes).unwrap_or(0)),
        }
    }
}

fn first_ns(notes: &mut [SwitchNotes]) -> Option<u64> {
    notes.iter_mut().filter_map(SwitchNotes::first_ns).min()
}

/// Waits for notes, but not longer than this. True if there will be none any more.
fn poll_notes(notes: &[SwitchNotes], longest_ns: u64) -> nix::Result<bool> {
    let mut polled: Vec<PollFd<'_>> = notes
        .iter()
        .map(|notes| PollFd::new(notes.as_fd(), PollFlags::POLLIN))
        .collect();
    let longest = TimeSpec::from_duration(Duration::from_nanos(longest_ns));
    ppoll(&mut polled, Some(longest), None)?;
    let ends = PollFlags::POLLHUP | PollFlags::POLLERR;
    let has_ended = |polled: &PollFd<'_>| {
        let events = polled.revents();
        events.is_none_or(|events| events.intersects(ends))
    };
    Ok(polled.iter().any(has_ended))
}
