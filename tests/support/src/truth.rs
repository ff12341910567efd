//! What a program under test says of itself: the JSON of `tests/targets/truth.py`.

use asyncspy_model::{LoopId, TaskId};
use serde::Deserialize;

/// [function, file, line].
pub type Entry = (String, String, u32);

/// Everything that a program knows of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Truth {
    /// Its loops, the first one first.
    #[serde(default)]
    pub loops: Vec<LoopTruth>,
    /// Its threads, as `threading` knows them.
    #[serde(default)]
    pub threads: Vec<ThreadTruth>,
    /// Its tasks that are not done.
    #[serde(default)]
    pub tasks: Vec<TaskTruth>,
    /// The truth of each further interpreter.
    #[serde(default)]
    pub subinterpreters: Vec<Truth>,
}

/// A loop.
#[derive(Clone, Debug, Deserialize)]
pub struct LoopTruth {
    /// Address of the loop object.
    pub id: LoopId,
    /// Class name.
    pub class: String,
    /// Kernel id of the thread that runs it, as that thread sees it.
    pub thread: i32,
    /// Callbacks that are ready; `None` where the class does not tell.
    pub ready: Option<u64>,
    /// Timers, cancelled ones included; `None` where the class does not tell.
    pub timers: Option<u64>,
}

/// A thread.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadTruth {
    /// Its name.
    pub name: String,
    /// Its kernel id, as it sees it.
    pub native_id: i32,
}

/// A task.
#[derive(Clone, Debug, Deserialize)]
pub struct TaskTruth {
    /// Address of the task.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// Its loop.
    #[serde(rename = "loop")]
    pub loop_id: LoopId,
    /// `running`, `runnable` or `waiting`.
    pub state: String,
    /// Class of what it waits for.
    pub leaf: Option<String>,
    /// The chain of coroutines, innermost first; of a running task those on its stack.
    pub stack: Vec<Entry>,
    /// All frames of a running task's step, innermost first.
    pub sync_stack: Option<Vec<Entry>>,
    /// Tasks that wait for it.
    pub awaited_by: Vec<TaskId>,
}
