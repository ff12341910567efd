//! The shape of a layout: offsets in bytes, and capabilities for what offsets cannot say.
//!
//! Struct and field names are CPython's; the sources are named at the values, in `tables`.

use super::PythonVersion;

/// Everything that the readers need to know of one CPython build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The version.
    pub version: PythonVersion,
    /// False for a version newer than those that were tested.
    pub tested: bool,
    /// `_PyRuntime`.
    pub runtime: RuntimeLayout,
    /// `PyInterpreterState`.
    pub interpreter: InterpreterLayout,
    /// `_gil_runtime_state`.
    pub gil: GilLocation,
    /// `PyThreadState`.
    pub thread: ThreadLayout,
    /// `PyFrameObject` or `_PyInterpreterFrame`.
    pub frame: FrameLayout,
    /// `PyCodeObject`.
    pub code: CodeLayout,
    /// `PyGenObject`, which coroutines and async generators share.
    pub generator: GeneratorLayout,
    /// `TaskObj` and the head it shares with `FutureObj`.
    pub task: TaskLayout,
    /// Where tasks are registered.
    pub tasks: TaskRegistry,
    /// How a thread's running loop is recorded.
    pub running_loop: RunningLoop,
    /// How a loop's running task is recorded.
    pub running_task: RunningTask,
    /// `PyTypeObject`.
    pub type_: TypeLayout,
    /// Where instance attributes live.
    pub attributes: AttributeStorage,
    /// `PyDictKeysObject`.
    pub dict_keys: DictKeysLayout,
    /// `PyASCIIObject` and `PyCompactUnicodeObject`.
    pub str_: StrLayout,
    /// `PyLongObject`.
    pub int: IntFormat,
    /// True if the ints from -5 to 256 lie in one array (`small_ints`,
    /// Include/internal/pycore_global_objects.h).
    pub small_ints_in_array: bool,
    /// First item of `PyTupleObject`.
    pub tuple_items: u64,
    /// `asyncio.Handle` and `TimerHandle`, whose slots lie in alphabetical order.
    pub handle: HandleLayout,
    /// `PyFunctionObject`.
    pub function: FunctionLayout,
    /// `md_state` of `PyModuleObject`.
    pub module_state: u64,
    /// How a future's callback leads to the task that it wakes.
    pub wakeup: WakeupCallback,
}

/// Offsets in `_PyRuntime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeLayout {
    /// `interpreters.head`: the newest interpreter.
    pub interpreters_head: u64,
}

/// Offsets in `PyInterpreterState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterLayout {
    /// `next`: the next older interpreter.
    pub next: u64,
    /// `id`, 64 bits, 0 for the main one.
    pub id: u64,
    /// `threads.head`: the newest thread.
    pub threads_head: u64,
    /// The dict of modules.
    pub modules: u64,
    /// The dict of `sys`.
    pub sysdict: u64,
    /// `gc.collecting`, 32 bits.
    pub gc_collecting: GcCollecting,
    /// `asyncio_tasks_head`: tasks whose thread state has gone. Meaningful with
    /// [`TaskRegistry::Lists`] only.
    pub asyncio_tasks_head: u64,
}

/// Where the flag lies that the garbage collector runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcCollecting {
    /// At this offset of `_PyRuntime`.
    Runtime(u64),
    /// At this offset of the interpreter.
    Interpreter(u64),
}

/// Where an interpreter's `_gil_runtime_state` lies. In it `last_holder` is at 8 and `locked`
/// (32 bits) at 16 in every version; the holder is valid only while locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GilLocation {
    /// At this offset of `_PyRuntime`.
    Runtime(u64),
    /// A pointer to it at this offset of the interpreter.
    InterpreterPointer(u64),
}

/// Offsets in `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLayout {
    /// `next`: the next older thread.
    pub next: u64,
    /// The innermost frame.
    pub frame: FrameEntry,
    /// `dict`, null until something uses it.
    pub dict: u64,
    /// `thread_id`: pthread_self.
    pub thread_id: u64,
    /// `context_ver`, 64 bits: counts each entering and leaving of a context, and every callback
    /// of a loop runs in a context of its own (Python/context.c).
    pub context_version: u64,
    /// The kernel's thread id.
    pub native_id: NativeThreadId,
    /// Head of the list of tasks created by this thread. Meaningful with
    /// [`TaskRegistry::Lists`] only.
    pub asyncio_tasks_head: u64,
    /// How many bytes to read to have all of the above.
    pub size: u64,
}

/// How a thread names its innermost frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameEntry {
    /// A pointer at this offset.
    Direct(u64),
    /// A pointer to a `_PyCFrame` at `offset`, in which the frame is at `current`. One that is
    /// being set up holds whatever was on the C stack before (`_PyEval_EvalFrameDefault`).
    CFrame {
        /// Offset of `cframe` in the thread.
        offset: u64,
        /// Offset of `current_frame` in the `_PyCFrame`.
        current: u64,
        /// Offset of `root_cframe` in the thread: the only one that may be without a frame.
        root: u64,
    },
}

/// Where the kernel's thread id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeThreadId {
    /// At this offset of the thread.
    Field(u64),
    /// At this offset of glibc's `struct pthread`, to which `thread_id` points (x86-64).
    Pthread(u64),
}

/// Offsets in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// The calling frame.
    pub previous: u64,
    /// The code object; a tagged pointer where `tagged`.
    pub code: u64,
    /// The instruction that runs.
    pub instruction: u64,
    /// What `instruction` holds.
    pub instruction_is: Instruction,
    /// First local variable.
    pub localsplus: u64,
    /// What says where the value stack ends.
    pub stack_top: StackTop,
    /// What says who owns the frame.
    pub owner: FrameOwner,
    /// What tells that a frame is a thread's outermost, and not just one that has no caller yet.
    pub outermost: Outermost,
    /// True if code, locals and stack entries carry tags in their low two bits.
    pub tagged: bool,
    /// How many bytes to read to have all of the above.
    pub size: u64,
}

/// What a frame records of its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `f_lasti`: a 32-bit offset in units of this many bytes.
    Index(u64),
    /// A pointer into the code object.
    Pointer,
}

/// What says where a frame's value stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackTop {
    /// A pointer behind the last entry at this offset; null while the frame executes (3.8, 3.9).
    Pointer(u64),
    /// The number of entries (32 bits) at `depth`, above the stack whose address is at `base`.
    Depth {
        /// Offset of `f_stackdepth`.
        depth: u64,
        /// Offset of `f_valuestack`.
        base: u64,
    },
    /// The number of entries (32 bits) at this offset, counted from the first local.
    Index(u64),
}

/// What says who owns a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOwner {
    /// A pointer to the generator, or null, at this offset (`f_gen`).
    Generator(u64),
    /// `owner`, a byte: 0 thread, 1 generator, 2 frame object, 3 and more entry shims, which are
    /// no Python frames.
    Byte(u64),
}

/// What tells a thread's outermost frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outermost {
    /// Nothing: any frame but a generator's can be.
    Unmarked,
    /// A byte at this offset that is 1 where C code has called into Python (`is_entry`, 3.11).
    Entry(u64),
    /// It is an entry shim (3.12 and later).
    Shim,
}

/// Offsets in `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLayout {
    /// `co_firstlineno`, 32 bits.
    pub firstlineno: u64,
    /// `co_flags`, 32 bits.
    pub flags: u64,
    /// The byte code: a bytes object or inline, as `inline` says.
    pub bytecode: u64,
    /// True if the byte code lies in the code object itself.
    pub inline: bool,
    /// Names of local variables: `co_varnames` or `co_localsplusnames`.
    pub local_names: u64,
    /// `co_cellvars` and `co_freevars`, whose names follow those of the locals; `None` where
    /// `local_names` has them all.
    pub cell_names: Option<(u64, u64)>,
    /// `co_filename`.
    pub filename: u64,
    /// `co_name`.
    pub name: u64,
    /// `co_qualname`; `None` where code objects have none.
    pub qualname: Option<u64>,
    /// `co_lnotab` or `co_linetable`.
    pub linetable: u64,
    /// Format of the line table.
    pub line_format: LineFormat,
    /// How many bytes to read to have all of the above.
    pub size: u64,
}

impl CodeLayout {
    /// Where it points to its names and its line table.
    pub fn parts(&self) -> impl Iterator<Item = u64> {
        let parts = [self.name, self.filename, self.linetable];
        parts.into_iter().chain(self.qualname)
    }
}

/// Format of a line table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// `co_lnotab` (Objects/lnotab_notes.txt, 3.8 and 3.9).
    Lnotab,
    /// PEP 626 (Objects/lnotab_notes.txt, 3.10).
    Ranges,
    /// PEP 657 (Objects/locations.md, 3.11 and later).
    Locations,
}

/// Offsets in `PyGenObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorLayout {
    /// Where its frame is.
    pub frame: GeneratorFrame,
    /// `gi_name`.
    pub name: u64,
    /// `gi_qualname`.
    pub qualname: u64,
    /// How its state is recorded.
    pub state: GeneratorStates,
    /// What tells that it is suspended in an `await`.
    pub awaiting: AwaitRule,
    /// Distance from the end of the value stack down to the awaited object.
    pub await_slot: u64,
}

/// Where a generator's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorFrame {
    /// A frame object.
    Pointer {
        /// `gi_frame`: where the pointer to it is; null when finished.
        frame: u64,
        /// `gi_code`.
        code: u64,
    },
    /// Inside the generator at this offset.
    Embedded(u64),
}

/// How the state of a generator is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorStates {
    /// By the frame: no frame: finished; null `f_stacktop`: executing; `f_lasti` -1: created.
    Frame,
    /// By a signed number.
    Number {
        /// Where it is.
        place: StatePlace,
        /// Not started.
        created: i8,
        /// Suspended in a `yield`; in an `await` too where `awaiting` is the same.
        suspended: i8,
        /// Suspended in an `await`; two values in versions that have a locked form.
        awaiting: [i8; 2],
        /// On some thread's stack.
        executing: i8,
    },
}

/// Where a generator's state number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatePlace {
    /// A byte at this offset of the frame object.
    FrameObject(u64),
    /// A byte at this offset of the generator.
    Generator(u64),
}

/// What tells that a suspended generator awaits something rather than yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitRule {
    /// The next instruction is `YIELD_FROM` (opcode 72).
    YieldFrom,
    /// The instruction after `prev_instr` is a `RESUME` whose argument is 2 or more.
    ResumeArgument,
    /// The state says so.
    State,
}

/// Offsets in `TaskObj`; up to `callbacks` and `state` also in `FutureObj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLayout {
    /// `loop`.
    pub loop_: u64,
    /// `callback0`.
    pub callback0: u64,
    /// `callbacks`: a list of (callback, context) tuples.
    pub callbacks: u64,
    /// `state`: 32 bits, 0 pending, 1 cancelled, 2 finished.
    pub state: u64,
    /// `must_cancel`: offset of a byte and the bits in it.
    pub must_cancel: (u64, u8),
    /// `num_cancels_requested`, 32 bits; `None` where there is none.
    pub cancels_requested: Option<u64>,
    /// `awaited_by` and `awaited_by_is_set` and `is_task`; `None` where futures do not record
    /// who awaits them.
    pub awaited_by: Option<AwaitedByLayout>,
    /// `fut_waiter`.
    pub fut_waiter: u64,
    /// `coro`.
    pub coro: u64,
    /// `name`: a str, or an int that stands for `Task-N`.
    pub name: u64,
    /// `node`: {next, prev}. Meaningful with [`TaskRegistry::Lists`] only.
    pub node: u64,
    /// Size of a task.
    pub size: u64,
    /// Size of a future.
    pub future_size: u64,
}

/// How a future records who awaits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitedByLayout {
    /// Null, one task or future, or a set of them.
    pub awaited_by: u64,
    /// A byte: 1 for a set.
    pub is_set: u64,
    /// A byte: 1 if the object is a task.
    pub is_task: u64,
}

/// Where tasks are registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRegistry {
    /// The WeakSet `asyncio.tasks._all_tasks`.
    AllTasks,
    /// The WeakSet `asyncio.tasks._scheduled_tasks` and the set `_eager_tasks`.
    ScheduledAndEager,
    /// Doubly linked lists in thread states and interpreters, newest at the end; and, for tasks
    /// that are not C tasks, the WeakSet and set as before.
    Lists,
    /// In such lists too, but `_asyncio`, which publishes where, is not loaded yet.
    UnpublishedLists,
}

impl TaskRegistry {
    /// True if the module `_asyncio` names its containers too (`module_exec`,
    /// Modules/_asynciomodule.c), and not in its state alone.
    #[must_use]
    pub const fn is_named_by_accelerator(self) -> bool {
        matches!(self, Self::AllTasks | Self::ScheduledAndEager)
    }

    /// What the module `asyncio.tasks` calls the dict of running tasks, the WeakSet and the set, in
    /// this order; no set before 3.12 (the end of Lib/asyncio/tasks.py).
    #[must_use]
    pub const fn containers(self) -> &'static [&'static str] {
        match self {
            Self::AllTasks => &["_current_tasks", "_all_tasks"],
            Self::ScheduledAndEager | Self::Lists | Self::UnpublishedLists => {
                &["_current_tasks", "_scheduled_tasks", "_eager_tasks"]
            }
        }
    }
}

/// How a thread's running loop is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunningLoop {
    /// In the thread's dict under `__asyncio_running_event_loop__`, in a holder object with the
    /// loop at 16 and the pid at 24.
    DictHolder,
    /// In the thread's dict under that key.
    Dict,
    /// A pointer at this offset of the thread.
    Field(u64),
    /// In the thread, but `_asyncio`, which publishes where, is not loaded yet: no loop runs.
    Unpublished,
}

/// How a loop's running task is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunningTask {
    /// In the dict `asyncio.tasks._current_tasks`, by loop.
    CurrentTasks,
    /// A pointer at this offset of the thread that runs the loop.
    Field(u64),
}

/// Offsets in `PyTypeObject` and `PyHeapTypeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeLayout {
    /// `tp_name`: a C string.
    pub name: u64,
    /// `tp_basicsize`.
    pub basicsize: u64,
    /// `tp_flags`.
    pub flags: u64,
    /// `tp_base`.
    pub base: u64,
    /// `tp_dictoffset`.
    pub dictoffset: u64,
    /// `ht_cached_keys` of a heap type.
    pub cached_keys: u64,
    /// How many bytes to read to have all of the above.
    pub size: u64,
}

/// Where the attributes of an instance live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeStorage {
    /// A dict, to which `tp_dictoffset` leads.
    DictOffset,
    /// With the managed-dict flag: values at -32, else a dict at -24.
    ValuesOrDict,
    /// With the managed-dict flag: at -24 a dict, or values when the low bit is set.
    TaggedWord,
    /// With the managed-dict flag: a dict at -24; when null, values inside the object.
    InlineValues,
}

/// Offsets in `PyDictKeysObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DictKeysLayout {
    /// How the sizes are recorded.
    pub sizes: DictKeySizes,
    /// `dk_nentries`.
    pub nentries: u64,
    /// First index.
    pub indices: u64,
}

/// How a keys object records its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DictKeySizes {
    /// `dk_size` at 8; entries are {hash, key, value}.
    Size,
    /// `dk_log2_size`, `dk_log2_index_bytes`, `dk_kind` at 8, 9, 10; entries of kind 1 and 2 are
    /// {key, value}.
    Log2,
}

/// Offsets in string objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrLayout {
    /// Text of a compact ASCII string.
    pub ascii_data: u64,
    /// Text of any other compact string.
    pub compact_data: u64,
}

/// How an int is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntFormat {
    /// `ob_size` holds sign and number of digits.
    ObSize,
    /// `lv_tag` does.
    Tag,
}

/// Offsets in `asyncio.Handle` and `TimerHandle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleLayout {
    /// `_args`.
    pub args: u64,
    /// `_callback`.
    pub callback: u64,
    /// `_when` of a `TimerHandle`: a float.
    pub when: u64,
}

/// Offsets in `PyFunctionObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionLayout {
    /// `func_code`.
    pub code: u64,
    /// `func_closure`: a tuple of cells, or null.
    pub closure: u64,
    /// `func_qualname`.
    pub qualname: u64,
}

/// How a future's callback leads to the task that it wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeupCallback {
    /// An object of type `TaskWakeupMethWrapper` with the task at 16.
    Wrapper,
    /// A builtin method named `task_wakeup` whose self is the task.
    BuiltinMethod,
}
