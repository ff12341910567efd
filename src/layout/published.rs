//! The tables of offsets that a target publishes for outside readers.

use super::types::*;
use super::version::PythonVersion;
use crate::target::memory::Fields;

/// First eight bytes of `_PyRuntime` from 3.13 on (Include/internal/pycore_debug_offsets.h).
pub const COOKIE: [u8; 8] = *b"xdebugpy";

/// How many bytes to read of `_Py_DebugOffsets`: the longest known, of 3.15.
pub const TABLE_SIZE: usize = 888;

/// A group of `_Py_DebugOffsets`: name, position in the table, members in order.
type Group = (&'static str, u64, &'static [&'static str]);

/// `_Py_DebugOffsets` of one target.
pub struct PublishedTable {
    bytes: [u8; TABLE_SIZE],
    groups: &'static [Group],
}

impl PublishedTable {
    /// Understands the first bytes of `_PyRuntime`; `None` if they are no such table.
    #[must_use]
    pub fn parse(bytes: [u8; TABLE_SIZE]) -> Option<Self> {
        if bytes[..8] != COOKIE {
            return None;
        }
        let version = PythonVersion::from_hex(Fields(&bytes).u64(8))?;
        let groups = match version.minor {
            13 => GROUPS_3_13,
            14 => GROUPS_3_14,
            _ => GROUPS_3_15,
        };
        Some(Self { bytes, groups })
    }

    /// The target's version.
    #[must_use]
    pub fn version(&self) -> PythonVersion {
        PythonVersion::from_hex(Fields(&self.bytes).u64(8)).unwrap_or(PythonVersion::new(0, 0, 0))
    }

    /// True for a build without the GIL.
    #[must_use]
    pub fn free_threaded(&self) -> bool {
        Fields(&self.bytes).u64(16) != 0
    }

    /// The value of a member; 0 when the table has no such member.
    fn get(&self, group: &str, member: &str) -> u64 {
        let found = self.groups.iter().find(|(name, _, _)| *name == group);
        let position = found.and_then(|(_, start, members)| {
            let index = members.iter().position(|name| *name == member)?;
            Some(start + 8 * index as u64)
        });
        position.map_or(0, |position| Fields(&self.bytes).u64(position))
    }

    pub(super) fn override_offsets(&self, layout: &mut Layout) {
        layout.runtime.interpreters_head = self.get("runtime_state", "interpreters_head");
        let interpreter = |member| self.get("interpreter_state", member);
        layout.interpreter.next = interpreter("next");
        layout.interpreter.id = interpreter("id");
        layout.interpreter.threads_head = interpreter("threads_head");
        layout.interpreter.modules = interpreter("imports_modules");
        layout.interpreter.sysdict = interpreter("sysdict");
        let gc = interpreter("gc").wrapping_add(self.get("gc", "collecting"));
        layout.interpreter.gc_collecting = GcCollecting::Interpreter(gc);
        layout.gil = GilLocation::InterpreterPointer(interpreter("ceval_gil"));
        self.override_thread(layout);
        self.override_frame_and_code(layout);
        self.override_objects(layout);
    }

    fn override_thread(&self, layout: &mut Layout) {
        let thread = |member| self.get("thread_state", member);
        layout.thread.next = thread("next");
        layout.thread.frame = FrameEntry::Direct(thread("current_frame"));
        layout.thread.thread_id = thread("thread_id");
        layout.thread.native_id = NativeThreadId::Field(thread("native_thread_id"));
        // 3.13 keeps the running loop directly behind PyThreadState (_PyThreadStateImpl), whose
        // size grew within the 3.13 series. Later versions publish it in `_asyncio`.
        if layout.wants_asyncio_table() {
            layout.tasks = TaskRegistry::UnpublishedLists;
            layout.running_loop = RunningLoop::Unpublished;
        } else {
            layout.running_loop = RunningLoop::Field(thread("size"));
            layout.thread.size = thread("size").saturating_add(8);
        }
    }

    fn override_frame_and_code(&self, layout: &mut Layout) {
        let frame = |member| self.get("interpreter_frame", member);
        layout.frame.previous = frame("previous");
        layout.frame.code = frame("executable");
        layout.frame.instruction = frame("instr_ptr");
        layout.frame.localsplus = frame("localsplus");
        layout.frame.owner = FrameOwner::Byte(frame("owner"));
        layout.frame.size = frame("localsplus");
        if let StackTop::Pointer(_) = layout.frame.stack_top {
            layout.frame.stack_top = StackTop::Pointer(frame("stackpointer"));
        }
        let code = |member| self.get("code_object", member);
        layout.code.firstlineno = code("firstlineno");
        layout.code.bytecode = code("co_code_adaptive");
        layout.code.local_names = code("localsplusnames");
        layout.code.filename = code("filename");
        layout.code.name = code("name");
        layout.code.qualname = Some(code("qualname"));
        layout.code.linetable = code("linetable");
    }

    fn override_objects(&self, layout: &mut Layout) {
        layout.type_.name = self.get("type_object", "tp_name");
        layout.type_.flags = self.get("type_object", "tp_flags");
        layout.tuple_items = self.get("tuple_object", "ob_item");
        layout.str_.ascii_data = self.get("unicode_object", "asciiobject_size");
        if let keys @ 1.. = self.get("heap_type_object", "ht_cached_keys") {
            layout.type_.cached_keys = keys;
        }
        if let frame @ 1.. = self.get("gen_object", "gi_iframe") {
            layout.generator.frame = GeneratorFrame::Embedded(frame);
            layout.generator.name = self.get("gen_object", "gi_name");
            let place = StatePlace::Generator(self.get("gen_object", "gi_frame_state"));
            layout.generator.state = layout.generator.state.at(place);
        }
    }
}

impl GeneratorStates {
    fn at(self, new_place: StatePlace) -> Self {
        match self {
            Self::Frame => self,
            Self::Number {
                created,
                suspended,
                awaiting,
                executing,
                ..
            } => Self::Number {
                place: new_place,
                created,
                suspended,
                awaiting,
                executing,
            },
        }
    }
}

/// How many bytes to read of `_asyncio`'s table.
pub const ASYNCIO_TABLE_SIZE: usize = 13 * 8;

/// `Py_AsyncioModuleDebugOffsets` of one target (Modules/_asynciomodule.c, 3.14 and later).
pub struct AsyncioTable {
    bytes: [u8; ASYNCIO_TABLE_SIZE],
}

impl AsyncioTable {
    /// Understands the bytes of section `.AsyncioDebug`; `None` if sizes are beyond reason.
    #[must_use]
    pub fn parse(bytes: [u8; ASYNCIO_TABLE_SIZE]) -> Option<Self> {
        let table = Self { bytes };
        let plausible =
            (64..4096).contains(&table.entry(0)) && (512..65536).contains(&table.entry(9));
        plausible.then_some(table)
    }

    /// Order of the entries: task size, name, awaited_by, is_task, awaited_by_is_set, coro, node;
    /// interpreter size, tasks head; thread size, running loop, running task, tasks head.
    fn entry(&self, index: u64) -> u64 {
        Fields(&self.bytes).u64(8 * index)
    }

    pub(super) fn override_offsets(&self, layout: &mut Layout) {
        let awaited_by = self.entry(2);
        let coro = self.entry(5);
        layout.task.size = self.entry(0);
        layout.task.name = self.entry(1);
        layout.task.awaited_by = Some(AwaitedByLayout {
            awaited_by,
            is_task: self.entry(3),
            is_set: self.entry(4),
        });
        // Not published, but neighbours in the struct since 3.14.
        layout.task.state = awaited_by.wrapping_add(8);
        layout.task.fut_waiter = coro.wrapping_sub(8);
        layout.task.coro = coro;
        layout.task.node = self.entry(6);
        layout.interpreter.asyncio_tasks_head = self.entry(8);
        layout.thread.size = self.entry(12).saturating_add(16);
        layout.tasks = TaskRegistry::Lists;
        layout.running_loop = RunningLoop::Field(self.entry(10));
        layout.running_task = RunningTask::Field(self.entry(11));
        layout.thread.asyncio_tasks_head = self.entry(12);
    }
}

const GROUPS_3_13: &[Group] = &[
    (
        "runtime_state",
        24,
        &["size", "finalizing", "interpreters_head"],
    ),
    (
        "interpreter_state",
        48,
        &[
            "size",
            "id",
            "next",
            "threads_head",
            "gc",
            "imports_modules",
            "sysdict",
            "builtins",
            "ceval_gil",
        ],
    ),
    (
        "thread_state",
        152,
        &[
            "size",
            "prev",
            "next",
            "interp",
            "current_frame",
            "thread_id",
            "native_thread_id",
            "datastack_chunk",
            "status",
        ],
    ),
    (
        "interpreter_frame",
        224,
        &[
            "size",
            "previous",
            "executable",
            "instr_ptr",
            "localsplus",
            "owner",
        ],
    ),
    (
        "code_object",
        272,
        &[
            "size",
            "filename",
            "name",
            "qualname",
            "linetable",
            "firstlineno",
            "argcount",
            "localsplusnames",
            "localspluskinds",
            "co_code_adaptive",
        ],
    ),
    (
        "type_object",
        368,
        &["size", "tp_name", "tp_repr", "tp_flags"],
    ),
    ("tuple_object", 400, &["size", "ob_item", "ob_size"]),
    (
        "unicode_object",
        536,
        &["size", "state", "length", "asciiobject_size"],
    ),
    ("gc", 568, &["size", "collecting"]),
];

const GROUPS_3_14: &[Group] = &[
    (
        "runtime_state",
        24,
        &["size", "finalizing", "interpreters_head"],
    ),
    (
        "interpreter_state",
        48,
        &[
            "size",
            "id",
            "next",
            "threads_head",
            "threads_main",
            "gc",
            "imports_modules",
            "sysdict",
            "builtins",
            "ceval_gil",
        ],
    ),
    (
        "thread_state",
        176,
        &[
            "size",
            "prev",
            "next",
            "interp",
            "current_frame",
            "thread_id",
            "native_thread_id",
            "datastack_chunk",
            "status",
        ],
    ),
    (
        "interpreter_frame",
        248,
        &[
            "size",
            "previous",
            "executable",
            "instr_ptr",
            "localsplus",
            "owner",
            "stackpointer",
            "tlbc_index",
        ],
    ),
    (
        "code_object",
        312,
        &[
            "size",
            "filename",
            "name",
            "qualname",
            "linetable",
            "firstlineno",
            "argcount",
            "localsplusnames",
            "localspluskinds",
            "co_code_adaptive",
        ],
    ),
    (
        "type_object",
        416,
        &["size", "tp_name", "tp_repr", "tp_flags"],
    ),
    ("tuple_object", 448, &["size", "ob_item", "ob_size"]),
    (
        "unicode_object",
        616,
        &["size", "state", "length", "asciiobject_size"],
    ),
    ("gc", 648, &["size", "collecting"]),
    (
        "gen_object",
        664,
        &["size", "gi_name", "gi_iframe", "gi_frame_state"],
    ),
];

const GROUPS_3_15: &[Group] = &[
    (
        "runtime_state",
        24,
        &["size", "finalizing", "interpreters_head"],
    ),
    (
        "interpreter_state",
        48,
        &[
            "size",
            "id",
            "next",
            "threads_head",
            "threads_main",
            "gc",
            "imports_modules",
            "sysdict",
            "builtins",
            "ceval_gil",
        ],
    ),
    (
        "thread_state",
        176,
        &[
            "size",
            "prev",
            "next",
            "interp",
            "current_frame",
            "base_frame",
            "last_profiled_frame",
            "last_profiled_frame_seq",
            "thread_id",
            "native_thread_id",
            "datastack_chunk",
            "status",
        ],
    ),
    (
        "interpreter_frame",
        312,
        &[
            "size",
            "previous",
            "executable",
            "instr_ptr",
            "localsplus",
            "owner",
            "stackpointer",
            "tlbc_index",
        ],
    ),
    (
        "code_object",
        376,
        &[
            "size",
            "filename",
            "name",
            "qualname",
            "linetable",
            "firstlineno",
            "argcount",
            "localsplusnames",
            "localspluskinds",
            "co_code_adaptive",
        ],
    ),
    (
        "type_object",
        480,
        &[
            "size",
            "tp_name",
            "tp_repr",
            "tp_flags",
            "tp_basicsize",
            "tp_dictoffset",
        ],
    ),
    ("heap_type_object", 528, &["size", "ht_cached_keys"]),
    ("tuple_object", 544, &["size", "ob_item", "ob_size"]),
    (
        "unicode_object",
        712,
        &[
            "size",
            "state",
            "length",
            "asciiobject_size",
            "compactunicodeobject_size",
        ],
    ),
    ("gc", 752, &["size", "collecting"]),
    (
        "gen_object",
        792,
        &["size", "gi_name", "gi_iframe", "gi_frame_state"],
    ),
];
