//! Interpreters, threads, the GIL and the garbage collector.

use asyncspy_model::RemoteAddr;

use super::object::Objects;
use crate::layout::{GcCollecting, GilLocation, Layout, NativeThreadId, RunningLoop, RunningTask};
use crate::target::memory::{Fields, MemoryError, MemoryViewExt};

/// Most interpreters that are followed.
const MAX_INTERPRETERS: usize = 256;

/// Most threads that are followed in one interpreter.
const MAX_THREADS: usize = 16_384;

/// An interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// `PyInterpreterState`.
    pub addr: RemoteAddr,
    /// 0 for the main one.
    pub id: i64,
    /// The dict of modules; null before it is made.
    pub modules: RemoteAddr,
    /// The thread state that holds the GIL; null when none does.
    pub gil_holder: RemoteAddr,
    /// True while the garbage collector runs.
    pub collects_garbage: bool,
}

/// A thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// `PyThreadState`.
    pub addr: RemoteAddr,
    /// pthread_self.
    pub thread_id: u64,
    /// The kernel's id in the target's own pid namespace; 0 when it could not be read.
    pub native_id: i32,
    /// The thread state's dict; may be null.
    pub dict: RemoteAddr,
    /// The running loop, where the thread state records it; else null.
    pub running_loop: RemoteAddr,
    /// The running task, where the thread state records it; else null.
    pub running_task: RemoteAddr,
}

/// All interpreters, the main one first. `head` is the address of the newest.
///
/// # Errors
/// When the first cannot be read; the second value tells whether a later one could not.
pub fn read_interpreters(
    objects: Objects<'_>,
    runtime: RemoteAddr,
    head: RemoteAddr,
) -> Result<(Vec<Interpreter>, bool), MemoryError> {
    let mut interpreters = Vec::new();
    let mut at = head;
    while !at.is_null() && interpreters.len() < MAX_INTERPRETERS {
        match read_interpreter(objects, runtime, at) {
            Ok((interpreter, next)) => {
                interpreters.push(interpreter);
                at = next;
            }
            Err(error) if interpreters.is_empty() => return Err(error),
            Err(_) => return Ok((interpreters, false)),
        }
    }
    interpreters.sort_by_key(|interpreter| interpreter.id);
    Ok((interpreters, at.is_null()))
}

fn read_interpreter(
    objects: Objects<'_>,
    runtime: RemoteAddr,
    addr: RemoteAddr,
) -> Result<(Interpreter, RemoteAddr), MemoryError> {
    let (view, layout) = (objects.view, &objects.layout.interpreter);
    let gc_flag = match layout.gc_collecting {
        GcCollecting::Runtime(offset) => runtime.offset(offset),
        GcCollecting::Interpreter(offset) => addr.offset(offset),
    };
    let fields = [layout.id, layout.modules, layout.next, layout.threads_head];
    let mut fields = fields.iter().map(|offset| (addr.offset(*offset), 8));
    view.expect(&mut fields)?;
    let interpreter = Interpreter {
        addr,
        id: view.read_u64(addr.offset(layout.id))?.cast_signed(),
        modules: view.read_ptr(addr.offset(layout.modules))?,
        gil_holder: gil_holder(objects, runtime, addr),
        collects_garbage: view.read_u32(gc_flag) == Ok(1),
    };
    Ok((interpreter, view.read_ptr(addr.offset(layout.next))?))
}

/// `last_holder` keeps its value after the lock is released, so `locked` decides.
fn gil_holder(objects: Objects<'_>, runtime: RemoteAddr, interpreter: RemoteAddr) -> RemoteAddr {
    let gil = match objects.layout.gil {
        GilLocation::Runtime(offset) => runtime.offset(offset),
        GilLocation::InterpreterPointer(offset) => {
            match objects.view.read_ptr(interpreter.offset(offset)) {
                Ok(gil) => gil,
                Err(_) => return RemoteAddr::NULL,
            }
        }
    };
    let mut bytes = [0; 24];
    if objects.view.read(gil, &mut bytes).is_err() {
        return RemoteAddr::NULL;
    }
    let fields = Fields(&bytes);
    if fields.i32(16) == 1 {
        fields.ptr(8)
    } else {
        RemoteAddr::NULL
    }
}

/// All threads of an interpreter, oldest first. The second value tells whether the list was
/// followed to its end and every thread was read in full.
#[must_use]
pub fn read_threads(objects: Objects<'_>, interpreter: &Interpreter) -> (Vec<Thread>, bool) {
    let layout = &objects.layout.thread;
    let head = interpreter
        .addr
        .offset(objects.layout.interpreter.threads_head);
    let mut threads = Vec::new();
    let mut next = objects.view.read_ptr(head);
    let mut all = true;
    while let Ok(at) = next
        && !at.is_null()
        && threads.len() < MAX_THREADS
    {
        match objects.view.read_vec(at, layout.size as usize) {
            Ok(bytes) => {
                let fields = Fields(&bytes);
                let thread = decode_thread(objects, at, fields);
                // A thread state that no thread has taken yet has neither.
                all &= thread.native_id != 0 || thread.thread_id == 0;
                threads.push(thread);
                next = Ok(fields.ptr(layout.next));
            }
            Err(error) => next = Err(error),
        }
    }
    // Newest come first in memory.
    threads.reverse();
    (threads, all && next == Ok(RemoteAddr::NULL))
}

fn decode_thread(objects: Objects<'_>, addr: RemoteAddr, fields: Fields<'_>) -> Thread {
    let layout: &Layout = objects.layout;
    let thread_id = fields.u64(layout.thread.thread_id);
    let native_id = match layout.thread.native_id {
        NativeThreadId::Field(offset) => fields.i32(offset),
        NativeThreadId::Pthread(offset) => objects
            .view
            .read_u32(RemoteAddr(thread_id).offset(offset))
            .map_or(0, u32::cast_signed),
    };
    Thread {
        addr,
        thread_id,
        native_id,
        dict: fields.ptr(layout.thread.dict),
        running_loop: match layout.running_loop {
            RunningLoop::Field(offset) => fields.ptr(offset),
            RunningLoop::Dict | RunningLoop::DictHolder | RunningLoop::Unpublished => {
                RemoteAddr::NULL
            }
        },
        running_task: match layout.running_task {
            RunningTask::Field(offset) => fields.ptr(offset),
            RunningTask::CurrentTasks => RemoteAddr::NULL,
        },
    }
}
