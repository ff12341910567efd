//! Which threads run loops.

use std::sync::Arc;

use asyncspy_model::RemoteAddr;

use crate::aio::Caches;
use crate::aio::event_loop::LoopFacts;
use crate::aio::registry::Registries;
use crate::aio::running::running_loop;
use crate::python::Python;
use crate::python::object::Objects;
use crate::python::thread::{Thread, read_interpreters, read_threads};
use crate::python::thread_names::ThreadNames;
use crate::target::image::PageImage;
use crate::target::memory::MemoryError;
use crate::target::threads::{ThreadIds, state_and_name};

/// A loop that a thread runs.
#[derive(Clone, Debug)]
pub struct RunningLoopFound {
    /// The thread.
    pub thread: Thread,
    /// Its kernel id.
    pub tid: i32,
    /// Its name, unescaped.
    pub thread_name: Arc<str>,
    /// The loop.
    pub facts: LoopFacts,
    /// The dict of running tasks of its interpreter; null where the version has none.
    pub current_tasks: RemoteAddr,
}

impl RunningLoopFound {
    /// True if this loop runs in that thread.
    #[must_use]
    pub fn is_in(&self, thread: &Thread) -> bool {
        self.thread.addr == thread.addr
            && self.thread.thread_id == thread.thread_id
            && self.thread.native_id == thread.native_id
    }

    /// True if both are the same loop in the same thread.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.is_in(&other.thread)
            && self.facts.addr == other.facts.addr
            && self.facts.class == other.facts.class
    }
}

/// Finds all loops that run now. Threads that `known` loops run in keep their names.
///
/// # Errors
/// When not even the main interpreter can be read; [`MemoryError::Gone`],
/// [`MemoryError::Denied`].
pub fn find_running_loops(
    python: &Python,
    caches: &mut Caches,
    registries: &mut Registries,
    thread_names: &mut ThreadNames,
    known: &[&RunningLoopFound],
) -> Result<Vec<RunningLoopFound>, MemoryError> {
    let image = PageImage::new(&python.memory);
    let objects = Objects {
        view: &image,
        layout: &python.layout,
    };
    let head = python.interpreters_head(&image)?;
    let (interpreters, _) = read_interpreters(objects, python.anchors.runtime, head)?;
    let mut ids = None;
    let mut found = Vec::new();
    for interpreter in interpreters {
        let (threads, _) = read_threads(objects, &interpreter);
        let mut names = None;
        for thread in threads {
            let loop_addr = running_loop(objects, &thread, python.facts.inner_pid);
            let Ok(loop_addr) = loop_addr else { continue };
            if loop_addr.is_null() {
                continue;
            }
            let Ok(facts) = LoopFacts::read(objects, caches, loop_addr) else {
                continue;
            };
            let current = registries.current_tasks(objects, &interpreter)?;
            let (tid, thread_name) = match known.iter().find(|known| known.is_in(&thread)) {
                Some(known) => (known.tid, known.thread_name.clone()),
                None => {
                    let ids = ids.get_or_insert_with(|| ThreadIds::read(&python.facts));
                    let Some(tid) = ids.outer(thread.native_id) else {
                        continue;
                    };
                    let met = registries.threading(&interpreter);
                    let read_names = || thread_names.read(objects, interpreter.modules, met);
                    let name = names.get_or_insert_with(read_names).get(&thread.thread_id);
                    let name = name.cloned();
                    (tid, name.unwrap_or_else(|| os_name(python.facts.pid, tid)))
                }
            };
            found.push(RunningLoopFound {
                thread,
                tid,
                thread_name,
                facts,
                current_tasks: current.unwrap_or(RemoteAddr::NULL),
            });
        }
    }
    Ok(found)
}

fn os_name(pid: i32, tid: i32) -> Arc<str> {
    state_and_name(pid, tid).map_or_else(|| Arc::from(""), |(_, name)| name.into())
}
