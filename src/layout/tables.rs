//! Offsets of each minor version, for 64-bit Linux builds with the GIL.
//!
//! Sources: the structs named at each group, in the headers of CPython 3.8.18, 3.9.18, 3.10.13,
//! 3.11.7, 3.12.1, 3.13.0, 3.14.10 and 3.15.2, measured from the debug information of real builds
//! and followed on live processes. From 3.13 on most are overridden by what the target publishes.

use super::types::*;
use super::version::PythonVersion;

/// The newest minor version whose layout was tested against a real interpreter.
pub const NEWEST_TESTED_MINOR: u8 = 15;

/// CPython 3.8: Include/cpython/{object,frameobject,code,pystate}.h, Include/genobject.h,
/// Modules/_asynciomodule.c, Include/internal/pycore_pystate.h.
pub const V3_8: Layout = Layout {
    version: PythonVersion::new(3, 8, 0),
    tested: true,
    runtime: RuntimeLayout {
        interpreters_head: 32,
    },
    interpreter: InterpreterLayout {
        next: 0,
        id: 16,
        threads_head: 8,
        modules: 56,
        sysdict: 72,
        gc_collecting: GcCollecting::Runtime(544),
        asyncio_tasks_head: 0,
    },
    gil: GilLocation::Runtime(1152),
    thread: ThreadLayout {
        next: 8,
        frame: FrameEntry::Direct(24),
        dict: 152,
        thread_id: 176,
        context_version: 248,
        native_id: NativeThreadId::Pthread(720),
        asyncio_tasks_head: 0,
        size: 184,
    },
    frame: FrameLayout {
        previous: 24,
        code: 32,
        instruction: 104,
        instruction_is: Instruction::Index(1),
        localsplus: 360,
        stack_top: StackTop::Pointer(72),
        owner: FrameOwner::Generator(96),
        outermost: Outermost::Unmarked,
        tagged: false,
        size: 120,
    },
    code: CodeLayout {
        firstlineno: 40,
        flags: 36,
        bytecode: 48,
        inline: false,
        local_names: 72,
        cell_names: Some((88, 80)),
        filename: 104,
        name: 112,
        qualname: None,
        linetable: 120,
        line_format: LineFormat::Lnotab,
        size: 128,
    },
    generator: GeneratorLayout {
        frame: GeneratorFrame::Pointer {
            frame: 16,
            code: 32,
        },
        name: 48,
        qualname: 56,
        state: GeneratorStates::Frame,
        awaiting: AwaitRule::YieldFrom,
        await_slot: 8,
    },
    task: TaskLayout {
        loop_: 16,
        callback0: 24,
        callbacks: 40,
        state: 72,
        must_cancel: (136, 0xff),
        cancels_requested: None,
        awaited_by: None,
        fut_waiter: 104,
        coro: 112,
        name: 120,
        node: 0,
        size: 144,
        future_size: 104,
    },
    tasks: TaskRegistry::AllTasks,
    running_loop: RunningLoop::DictHolder,
    running_task: RunningTask::CurrentTasks,
    type_: TypeLayout {
        name: 24,
        basicsize: 32,
        flags: 168,
        base: 256,
        dictoffset: 288,
        cached_keys: 872,
        size: 296,
    },
    attributes: AttributeStorage::DictOffset,
    dict_keys: DictKeysLayout {
        sizes: DictKeySizes::Size,
        nentries: 32,
        indices: 40,
    },
    str_: StrLayout {
        ascii_data: 48,
        compact_data: 72,
    },
    int: IntFormat::ObSize,
    small_ints_in_array: false,
    tuple_items: 24,
    handle: HandleLayout {
        args: 16,
        callback: 24,
        when: 88,
    },
    function: FunctionLayout {
        code: 16,
        closure: 48,
        qualname: 104,
    },
    module_state: 32,
    wakeup: WakeupCallback::Wrapper,
};

/// CPython 3.9: as 3.8, with the interpreter state moved to Include/internal/pycore_interp.h.
pub const V3_9: Layout = Layout {
    version: PythonVersion::new(3, 9, 0),
    interpreter: InterpreterLayout {
        id: 24,
        modules: 856,
        sysdict: 872,
        gc_collecting: GcCollecting::Interpreter(816),
        ..V3_8.interpreter
    },
    gil: GilLocation::Runtime(352),
    task: TaskLayout {
        state: 80,
        must_cancel: (176, 0xff),
        fut_waiter: 144,
        coro: 152,
        name: 160,
        size: 184,
        future_size: 144,
        ..V3_8.task
    },
    type_: TypeLayout {
        cached_keys: 864,
        ..V3_8.type_
    },
    ..V3_8
};

/// CPython 3.10: frames record their state and depth (Include/cpython/frameobject.h), line
/// tables follow PEP 626.
pub const V3_10: Layout = Layout {
    version: PythonVersion::new(3, 10, 0),
    frame: FrameLayout {
        instruction: 96,
        instruction_is: Instruction::Index(2),
        localsplus: 352,
        stack_top: StackTop::Depth {
            depth: 80,
            base: 64,
        },
        owner: FrameOwner::Generator(88),
        outermost: Outermost::Unmarked,
        size: 112,
        ..V3_9.frame
    },
    code: CodeLayout {
        line_format: LineFormat::Ranges,
        ..V3_9.code
    },
    generator: GeneratorLayout {
        frame: GeneratorFrame::Pointer {
            frame: 16,
            code: 24,
        },
        name: 40,
        qualname: 48,
        state: GeneratorStates::Number {
            place: StatePlace::FrameObject(108),
            created: -2,
            suspended: -1,
            awaiting: [-1, -1],
            executing: 0,
        },
        ..V3_9.generator
    },
    task: TaskLayout {
        state: 88,
        must_cancel: (184, 0xff),
        fut_waiter: 152,
        coro: 160,
        name: 168,
        size: 192,
        future_size: 152,
        ..V3_9.task
    },
    type_: TypeLayout {
        cached_keys: 872,
        ..V3_9.type_
    },
    function: FunctionLayout {
        code: 48,
        closure: 72,
        qualname: 40,
    },
    wakeup: WakeupCallback::BuiltinMethod,
    ..V3_9
};

/// CPython 3.11: `_PyInterpreterFrame` (Include/internal/pycore_frame.h) on a data stack,
/// embedded in generators; locations follow PEP 657.
pub const V3_11: Layout = Layout {
    version: PythonVersion::new(3, 11, 0),
    runtime: RuntimeLayout {
        interpreters_head: 40,
    },
    interpreter: InterpreterLayout {
        next: 0,
        id: 48,
        threads_head: 16,
        modules: 888,
        sysdict: 904,
        gc_collecting: GcCollecting::Interpreter(848),
        asyncio_tasks_head: 0,
    },
    gil: GilLocation::Runtime(360),
    thread: ThreadLayout {
        next: 8,
        frame: FrameEntry::CFrame {
            offset: 56,
            current: 8,
            root: 336,
        },
        dict: 128,
        thread_id: 152,
        context_version: 232,
        native_id: NativeThreadId::Field(160),
        asyncio_tasks_head: 0,
        size: 168,
    },
    frame: FrameLayout {
        previous: 48,
        code: 32,
        instruction: 56,
        instruction_is: Instruction::Pointer,
        localsplus: 72,
        stack_top: StackTop::Index(64),
        owner: FrameOwner::Byte(69),
        outermost: Outermost::Entry(68),
        tagged: false,
        size: 72,
    },
    code: CodeLayout {
        firstlineno: 72,
        flags: 48,
        bytecode: 184,
        inline: true,
        local_names: 96,
        cell_names: None,
        filename: 112,
        name: 120,
        qualname: Some(128),
        linetable: 136,
        line_format: LineFormat::Locations,
        size: 144,
    },
    generator: GeneratorLayout {
        frame: GeneratorFrame::Embedded(80),
        name: 32,
        qualname: 40,
        state: GeneratorStates::Number {
            place: StatePlace::Generator(75),
            created: -2,
            suspended: -1,
            awaiting: [-1, -1],
            executing: 0,
        },
        awaiting: AwaitRule::ResumeArgument,
        await_slot: 8,
    },
    task: TaskLayout {
        must_cancel: (160, 0xff),
        cancels_requested: Some(168),
        fut_waiter: 128,
        coro: 136,
        name: 144,
        size: 176,
        future_size: 128,
        ..V3_10.task
    },
    attributes: AttributeStorage::ValuesOrDict,
    small_ints_in_array: true,
    dict_keys: DictKeysLayout {
        sizes: DictKeySizes::Log2,
        nentries: 24,
        indices: 32,
    },
    ..V3_10
};

/// CPython 3.12: per-interpreter GIL, heap types in `_asyncio`, entry shims among the frames.
pub const V3_12: Layout = Layout {
    version: PythonVersion::new(3, 12, 0),
    interpreter: InterpreterLayout {
        next: 0,
        id: 8,
        threads_head: 72,
        modules: 944,
        sysdict: 352,
        gc_collecting: GcCollecting::Interpreter(312),
        asyncio_tasks_head: 0,
    },
    gil: GilLocation::InterpreterPointer(384),
    thread: ThreadLayout {
        frame: FrameEntry::CFrame {
            offset: 56,
            current: 0,
            root: 272,
        },
        dict: 112,
        thread_id: 136,
        context_version: 216,
        native_id: NativeThreadId::Field(144),
        size: 152,
        ..V3_11.thread
    },
    frame: FrameLayout {
        previous: 8,
        code: 0,
        owner: FrameOwner::Byte(70),
        outermost: Outermost::Shim,
        ..V3_11.frame
    },
    code: CodeLayout {
        firstlineno: 68,
        bytecode: 192,
        ..V3_11.code
    },
    generator: GeneratorLayout {
        frame: GeneratorFrame::Embedded(72),
        name: 24,
        qualname: 32,
        state: GeneratorStates::Number {
            place: StatePlace::Generator(67),
            created: -2,
            suspended: -1,
            awaiting: [-1, -1],
            executing: 0,
        },
        ..V3_11.generator
    },
    tasks: TaskRegistry::ScheduledAndEager,
    running_loop: RunningLoop::Dict,
    type_: TypeLayout {
        cached_keys: 880,
        ..V3_11.type_
    },
    attributes: AttributeStorage::TaggedWord,
    str_: StrLayout {
        ascii_data: 40,
        compact_data: 56,
    },
    int: IntFormat::Tag,
    handle: HandleLayout {
        when: 80,
        ..V3_11.handle
    },
    ..V3_11
};

/// CPython 3.13: publishes `_Py_DebugOffsets` (Include/internal/pycore_debug_offsets.h).
pub const V3_13: Layout = Layout {
    version: PythonVersion::new(3, 13, 0),
    runtime: RuntimeLayout {
        interpreters_head: 632,
    },
    interpreter: InterpreterLayout {
        next: 7264,
        id: 7272,
        threads_head: 7344,
        modules: 7656,
        sysdict: 7640,
        gc_collecting: GcCollecting::Interpreter(7600),
        asyncio_tasks_head: 0,
    },
    gil: GilLocation::InterpreterPointer(16),
    thread: ThreadLayout {
        frame: FrameEntry::Direct(72),
        dict: 128,
        thread_id: 152,
        native_id: NativeThreadId::Field(160),
        size: 320,
        ..V3_12.thread
    },
    code: CodeLayout {
        bytecode: 200,
        ..V3_12.code
    },
    generator: GeneratorLayout {
        state: GeneratorStates::Number {
            place: StatePlace::Generator(67),
            created: -3,
            suspended: -2,
            awaiting: [-1, -1],
            executing: 0,
        },
        awaiting: AwaitRule::State,
        ..V3_12.generator
    },
    task: TaskLayout {
        state: 96,
        must_cancel: (100, 0b100),
        cancels_requested: Some(104),
        fut_waiter: 112,
        coro: 120,
        name: 128,
        size: 144,
        future_size: 104,
        ..V3_12.task
    },
    // Behind the published size of the thread state, which overrides this.
    running_loop: RunningLoop::Field(304),
    attributes: AttributeStorage::InlineValues,
    ..V3_12
};

/// CPython 3.14: tasks in linked lists, futures record who awaits them, tagged frame slots.
pub const V3_14: Layout = Layout {
    version: PythonVersion::new(3, 14, 0),
    runtime: RuntimeLayout {
        interpreters_head: 808,
    },
    interpreter: InterpreterLayout {
        next: 7272,
        id: 7280,
        threads_head: 7344,
        modules: 7688,
        sysdict: 7672,
        gc_collecting: GcCollecting::Interpreter(7632),
        asyncio_tasks_head: 10880,
    },
    thread: ThreadLayout {
        asyncio_tasks_head: 880,
        size: 936,
        ..V3_13.thread
    },
    frame: FrameLayout {
        localsplus: 80,
        stack_top: StackTop::Pointer(64),
        owner: FrameOwner::Byte(74),
        outermost: Outermost::Shim,
        tagged: true,
        size: 80,
        ..V3_13.frame
    },
    code: CodeLayout {
        bytecode: 208,
        ..V3_13.code
    },
    task: TaskLayout {
        state: 104,
        must_cancel: (110, 0b100),
        cancels_requested: Some(112),
        awaited_by: Some(AwaitedByLayout {
            awaited_by: 96,
            is_set: 109,
            is_task: 108,
        }),
        fut_waiter: 120,
        coro: 128,
        name: 136,
        node: 152,
        size: 168,
        future_size: 112,
        ..V3_13.task
    },
    tasks: TaskRegistry::Lists,
    running_loop: RunningLoop::Field(864),
    running_task: RunningTask::Field(872),
    tuple_items: 32,
    ..V3_13
};

/// CPython 3.15: renumbered frame states, the awaited object one slot further down.
pub const V3_15: Layout = Layout {
    version: PythonVersion::new(3, 15, 0),
    runtime: RuntimeLayout {
        interpreters_head: 936,
    },
    interpreter: InterpreterLayout {
        next: 7264,
        id: 7272,
        threads_head: 7336,
        modules: 7592,
        sysdict: 7576,
        gc_collecting: GcCollecting::Interpreter(7536),
        asyncio_tasks_head: 10856,
    },
    thread: ThreadLayout {
        dict: 152,
        thread_id: 176,
        context_version: 240,
        native_id: NativeThreadId::Field(184),
        asyncio_tasks_head: 1048,
        size: 1104,
        ..V3_14.thread
    },
    generator: GeneratorLayout {
        state: GeneratorStates::Number {
            place: StatePlace::Generator(67),
            created: 0,
            suspended: 1,
            awaiting: [2, 3],
            executing: 4,
        },
        await_slot: 16,
        ..V3_14.generator
    },
    running_loop: RunningLoop::Field(1024),
    running_task: RunningTask::Field(1032),
    type_: TypeLayout {
        cached_keys: 888,
        ..V3_14.type_
    },
    module_state: 24,
    ..V3_14
};

/// Size of the symbol `_PyRuntime` and the minor version that has it, for interpreters whose
/// file names do not tell and that export no `Py_Version`: before 3.11.
pub const RUNTIME_SIZES: &[(u64, u8)] = &[(1464, 8), (656, 9), (672, 10)];
