//! Where an interpreter keeps its tasks.

use std::iter;

use asyncspy_model::{FaultKind, Faults, RemoteAddr};
use rustc_hash::{FxHashMap, FxHashSet};

use super::task_list::{are_empty, walk_list};
use super::task_set::{ReadSet, read_set, read_weak_set};
use crate::layout::{Layout, RunningTask, TaskRegistry};
use crate::python::object::Objects;
use crate::python::thread::{Interpreter, Thread};
use crate::python::types::TypeCache;
use crate::target::image::PageImage;
use crate::target::memory::{Fields, MemoryError, MemoryViewExt};

/// `md_dict` of a module (`PyModuleObject`, Objects/moduleobject.c).
const MODULE_DICT: u64 = 16;

/// `sizeof(PyDictObject)` (Include/cpython/dictobject.h).
const DICT_SIZE: u64 = 48;

/// The parts of asyncio's modules that matter, by interpreter. Looked up once: the table of
/// modules is long.
#[derive(Debug, Default)]
pub struct Registries {
    found: FxHashMap<i64, Registry>,
    /// The containers that the modules named last time, as long as their dicts keep their shape.
    containers: FxHashMap<i64, ([DictShape; 2], Containers)>,
    /// Nodes of each list at the last walk, newest first.
    guesses: FxHashMap<RemoteAddr, Vec<RemoteAddr>>,
}

/// The module dicts of one interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registry {
    modules: RemoteAddr,
    /// `asyncio.tasks`: the module and its dict.
    tasks: (RemoteAddr, RemoteAddr),
    /// `_asyncio`, the same; null where there is no C module.
    accelerator: (RemoteAddr, RemoteAddr),
    /// `threading`, the same.
    threading: (RemoteAddr, RemoteAddr),
}

/// Number of items, version, keys and values of a dict: what changes when an item is added.
type DictShape = [u64; 4];

/// The containers of one interpreter.
#[derive(Clone, Debug, Default)]
struct Containers {
    current: Option<RemoteAddr>,
    eager: Vec<RemoteAddr>,
    scheduled: Vec<RemoteAddr>,
}

/// The tasks of one interpreter.
#[derive(Debug, Default)]
pub struct Registered {
    /// Addresses, each once, in an order that is stable while nothing changes. Tasks that are
    /// done may be among them.
    pub tasks: Vec<RemoteAddr>,
    /// The running task of each loop, where a dict records it.
    pub running: FxHashMap<RemoteAddr, RemoteAddr>,
    /// What went wrong.
    pub faults: Faults,
}

impl Registries {
    /// Collects the tasks of an interpreter.
    ///
    /// # Errors
    /// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`].
    pub fn collect(
        &mut self,
        image: &PageImage<'_>,
        layout: &Layout,
        interpreter: &Interpreter,
        threads: &[Thread],
        types: &mut TypeCache,
    ) -> Result<Registered, MemoryError> {
        let mut registered = Registered::default();
        let mut seen = FxHashSet::default();
        if layout.tasks == TaskRegistry::Lists {
            self.collect_lists(image, layout, interpreter, threads, &mut registered)?;
            seen.extend(registered.tasks.iter().copied());
        }
        let objects = Objects {
            view: image,
            layout,
        };
        let Some(registry) = self.registry(objects, interpreter, &mut registered.faults)? else {
            return Ok(registered);
        };
        let Some(containers) = self.containers(objects, interpreter, registry)? else {
            registered.faults.add(FaultKind::ModulesUnreadable);
            return Ok(registered);
        };
        if layout.tasks == TaskRegistry::UnpublishedLists && !registry.accelerator.0.is_null() {
            // It was imported since the layout was chosen.
            registered.faults.add(FaultKind::TasksUnreachable);
        }
        if let Some(current) = containers.current
            && layout.running_task == RunningTask::CurrentTasks
        {
            let running = objects.dict_items(current);
            registered.running = running.unwrap_or_default().into_iter().collect();
        }
        // Eager tasks first: a task moves from there to the scheduled ones, never back.
        for set in containers.eager {
            let set = read_set(image.memory(), layout, set);
            registered.add(set, &mut seen)?;
        }
        for set in containers.scheduled {
            registered.add(read_weak_set(image, layout, types, set), &mut seen)?;
        }
        Ok(registered)
    }

    /// Where `threading` was and its dict, if it was come across while asyncio was looked for.
    #[must_use]
    pub fn threading(&self, interpreter: &Interpreter) -> Option<(RemoteAddr, RemoteAddr)> {
        let found = self.found.get(&interpreter.id)?;
        Some(found.threading).filter(|module| !module.0.is_null())
    }

    /// The dict of running tasks by loop, where the version has one.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn current_tasks(
        &mut self,
        objects: Objects<'_>,
        interpreter: &Interpreter,
    ) -> Result<Option<RemoteAddr>, MemoryError> {
        if objects.layout.running_task != RunningTask::CurrentTasks {
            return Ok(None);
        }
        let mut faults = Faults::default();
        let Some(registry) = self.registry(objects, interpreter, &mut faults)? else {
            return Ok(None);
        };
        let containers = self.containers(objects, interpreter, registry)?;
        Ok(containers.and_then(|containers| containers.current))
    }

    /// The containers of an interpreter; `None` when its modules' dicts could not be read.
    fn containers(
        &mut self,
        objects: Objects<'_>,
        interpreter: &Interpreter,
        registry: Registry,
    ) -> Result<Option<Containers>, MemoryError> {
        let dicts = [registry.tasks.1, registry.accelerator.1];
        let mut heads = dicts.iter().map(|dict| (*dict, DICT_SIZE));
        objects.view.expect(&mut heads)?;
        let shapes = dicts.map(|dict| dict_shape(objects, dict));
        if let Some((known, containers)) = self.containers.get(&interpreter.id)
            && *known == shapes
        {
            return Ok(Some(containers.clone()));
        }
        match find_containers(objects, registry) {
            Ok(containers) => {
                let entry = (shapes, containers.clone());
                self.containers.insert(interpreter.id, entry);
                Ok(Some(containers))
            }
            Err(error) if error.is_final() => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn collect_lists(
        &mut self,
        image: &PageImage<'_>,
        layout: &Layout,
        interpreter: &Interpreter,
        threads: &[Thread],
        registered: &mut Registered,
    ) -> Result<(), MemoryError> {
        let memory = image.memory();
        let of_threads = threads
            .iter()
            .map(|thread| thread.addr.offset(layout.thread.asyncio_tasks_head));
        let of_threads: Vec<_> = of_threads.collect();
        let empty = are_empty(memory, &of_threads)?;
        // What a thread leaves behind goes there: it is read after the lists of all threads.
        let of_interpreter = interpreter
            .addr
            .offset(layout.interpreter.asyncio_tasks_head);
        let heads = of_threads.into_iter().zip(empty);
        for (head, is_empty) in heads.chain([(of_interpreter, false)]) {
            let guess = self.guesses.remove(&head).unwrap_or_default();
            if is_empty || (guess.is_empty() && are_empty(memory, &[head])? == [true]) {
                continue;
            }
            let list = walk_list(memory, head, &guess)?;
            if !list.proven {
                registered.faults.add(FaultKind::TasksUnreachable);
            }
            let oldest_first = list.nodes.iter().rev();
            registered
                .tasks
                .extend(oldest_first.map(|node| node.before(layout.task.node)));
            if !list.nodes.is_empty() {
                self.guesses.insert(head, list.nodes);
            }
        }
        Ok(())
    }

    /// The module dicts of an interpreter; `None` while asyncio is not imported there.
    fn registry(
        &mut self,
        objects: Objects<'_>,
        interpreter: &Interpreter,
        faults: &mut Faults,
    ) -> Result<Option<Registry>, MemoryError> {
        let unchanged = |module: (RemoteAddr, RemoteAddr)| {
            module.0.is_null()
                || objects.view.read_ptr(module.0.offset(MODULE_DICT)) == Ok(module.1)
        };
        if let Some(known) = self.found.get(&interpreter.id)
            && known.modules == interpreter.modules
            && unchanged(known.tasks)
            && unchanged(known.accelerator)
        {
            return Ok(Some(*known));
        }
        self.found.remove(&interpreter.id);
        if interpreter.modules.is_null() {
            return Ok(None);
        }
        match find_modules(objects, interpreter.modules) {
            Ok(Some(registry)) => {
                self.found.insert(interpreter.id, registry);
                Ok(Some(registry))
            }
            Ok(None) => Ok(None),
            Err(error) if error.is_final() => Err(error),
            Err(_) => {
                faults.add(FaultKind::ModulesUnreadable);
                Ok(None)
            }
        }
    }
}

/// All zero for no dict.
fn dict_shape(objects: Objects<'_>, dict: RemoteAddr) -> DictShape {
    let mut bytes = [0; 32];
    // `ma_used` is the first field behind the object's head.
    if dict.is_null() || objects.view.read(dict.offset(16), &mut bytes).is_err() {
        return DictShape::default();
    }
    let fields = Fields(&bytes);
    [0, 8, 16, 24].map(|offset| fields.u64(offset))
}

fn find_modules(
    objects: Objects<'_>,
    modules: RemoteAddr,
) -> Result<Option<Registry>, MemoryError> {
    // asyncio imports `threading`, which is looked for here so as to go through the table once.
    let found = objects.dict_find(modules, &["asyncio.tasks", "_asyncio", "threading"])?;
    let [tasks @ Some(_), accelerator, threading] = found[..] else {
        return Ok(None);
    };
    let modules_found = found.iter().flatten();
    let mut heads = modules_found.map(|module| (module.offset(MODULE_DICT), 8));
    objects.view.expect(&mut heads)?;
    let with_dict = |module: Option<RemoteAddr>| match module {
        Some(module) => Ok((module, objects.view.read_ptr(module.offset(MODULE_DICT))?)),
        None => Ok((RemoteAddr::NULL, RemoteAddr::NULL)),
    };
    Ok(Some(Registry {
        modules,
        tasks: with_dict(tasks)?,
        accelerator: with_dict(accelerator)?,
        threading: with_dict(threading)?,
    }))
}

/// The containers that asyncio's modules name. The same object may stand in both modules.
fn find_containers(objects: Objects<'_>, registry: Registry) -> Result<Containers, MemoryError> {
    let mut containers = Containers::default();
    let tasks = objects.layout.tasks;
    let accelerator = Some(registry.accelerator.1)
        .filter(|dict| !dict.is_null() && tasks.is_named_by_accelerator());
    for dict in iter::once(registry.tasks.1).chain(accelerator) {
        let found = objects.dict_find(dict, tasks.containers())?;
        let mut found = found.into_iter();
        containers.current = containers.current.or(found.next().flatten());
        containers.scheduled.extend(found.next().flatten());
        containers.eager.extend(found.next().flatten());
    }
    containers.eager.dedup();
    containers.scheduled.dedup();
    Ok(containers)
}

impl Registered {
    fn add(
        &mut self,
        set: Result<ReadSet, MemoryError>,
        seen: &mut FxHashSet<RemoteAddr>,
    ) -> Result<(), MemoryError> {
        match set {
            Ok(set) => {
                if !set.proven {
                    self.faults.add(FaultKind::TasksUnreachable);
                }
                let new = set.members.into_iter().filter(|task| seen.insert(*task));
                self.tasks.extend(new);
                Ok(())
            }
            Err(error) if error.is_final() => Err(error),
            Err(_) => {
                self.faults.add(FaultKind::TasksUnreachable);
                Ok(())
            }
        }
    }
}
