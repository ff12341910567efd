//! `dump`: every thread with its frames, every loop with what holds it now.

use std::io;

use asyncspy_model::{Location, LoopInfo, Snapshot, TaskInfo, ThreadInfo};

use super::escape::{escape, escape_to};
use super::loop_text::{build, holder, thread_of, write_heading, write_state};
use super::place::frame;
use super::process_text::{TasksById, write_incomplete, write_process};
use super::style::{LineWriter, Role, Style};
use super::units::counted;

/// How the dump is made.
#[derive(Clone, Debug)]
pub struct ThreadDumpOptions {
    /// The target's command line, unescaped; empty when unknown.
    pub command: String,
    /// Columns of the terminal; no line of the dump is wider.
    pub width: usize,
    /// How it looks.
    pub style: Style,
}

/// Writes the threads, innermost frame first, each with the loop that it runs; local variables
/// where the snapshot has them. Suspended tasks are counted, not listed.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_thread_dump(
    out: &mut dyn io::Write,
    snapshot: &Snapshot,
    options: &ThreadDumpOptions,
) -> io::Result<()> {
    let lines = &mut LineWriter::new(out, options.style, options.width);
    let tasks = TasksById::new(snapshot);
    write_process(lines, snapshot, &options.command)?;
    if snapshot.threads.is_empty() {
        lines.plain("no Python thread was found")?;
    }
    let mut shown = vec![false; snapshot.loops.len()];
    for thread in &snapshot.threads {
        lines.line("")?;
        lines.painted(Role::Heading, &title(thread))?;
        let own = loop_of(snapshot, thread);
        if let Some((index, loop_info)) = own {
            shown[index] = true;
            write_loop(lines, snapshot, &tasks, loop_info, thread)?;
        }
        let running = own.and_then(|(_, info)| info.running);
        write_frames(lines, thread, running.and_then(|id| tasks.get(id)))?;
    }
    for (loop_info, _) in snapshot
        .loops
        .iter()
        .zip(&shown)
        .filter(|(_, shown)| !**shown)
    {
        lines.line("")?;
        write_heading(lines, snapshot, &tasks, loop_info)?;
    }
    write_incomplete(lines, snapshot)
}

/// The loop that a thread runs, with its position.
fn loop_of<'a>(snapshot: &'a Snapshot, thread: &ThreadInfo) -> Option<(usize, &'a LoopInfo)> {
    let mut loops = snapshot.loops.iter().enumerate();
    loops.find(|(_, info)| {
        thread_of(snapshot, info).is_some_and(|found| std::ptr::eq(found, thread))
    })
}

/// `Thread 4242 "MainThread" (holds the GIL, running)`.
fn title(thread: &ThreadInfo) -> String {
    let tid = match thread.tid {
        0 => "?".to_owned(),
        tid => tid.to_string(),
    };
    let mut marks = Vec::new();
    if thread.holds_gil {
        marks.push("holds the GIL".to_owned());
    }
    if thread.collects_garbage {
        marks.push("collects garbage".to_owned());
    }
    marks.push(os_state(thread.os_state).to_owned());
    if thread.interpreter != 0 {
        marks.push(format!("interpreter {}", thread.interpreter));
    }
    let name = escape_to(&thread.name, 60);
    format!("Thread {tid} \"{name}\" ({})", marks.join(", "))
}

/// The kernel's letter in words (proc_pid_stat(5), field 3).
const fn os_state(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'S' => "asleep in the kernel",
        'D' => "uninterruptible in the kernel",
        'T' => "stopped by a signal",
        't' => "stopped by a debugger",
        'Z' | 'X' => "dead",
        'I' => "idle in the kernel",
        _ => "state unknown",
    }
}

fn write_loop(
    lines: &mut LineWriter<'_>,
    snapshot: &Snapshot,
    tasks: &TasksById<'_>,
    loop_info: &LoopInfo,
    thread: &ThreadInfo,
) -> io::Result<()> {
    let holder = holder(tasks, loop_info, Some(thread));
    write_state(lines, "  ", loop_info, &build(loop_info), holder.as_ref())?;
    let running = u64::from(loop_info.running.is_some());
    match loop_info.tasks.saturating_sub(running) {
        0 => Ok(()),
        suspended => {
            let tasks = counted(suspended, "suspended task");
            let hint = format!("    {tasks}, listed by: asyncspy ps {}", snapshot.pid);
            lines.painted(Role::Faint, &hint)
        }
    }
}

fn write_frames(
    lines: &mut LineWriter<'_>,
    thread: &ThreadInfo,
    running: Option<&TaskInfo>,
) -> io::Result<()> {
    if thread.torn {
        let text = "  inner frames changed while they were read and are left out";
        lines.painted(Role::Warning, text)?;
    }
    let Some(task) = running else {
        return match &*thread.stack {
            [] => lines.plain("    no Python frame"),
            stack => write_run(lines, stack, &thread.locals),
        };
    };
    let sync = task.sync_stack.len();
    let coroutines = sync + task.coroutine_stack.len();
    let stack = &*thread.stack;
    if !has_task_on_top(stack, task) {
        write_run(lines, stack, &thread.locals)?;
        write_section(
            lines,
            &format!("task {}, read by itself", escape(&task.name)),
        )?;
        write_run(lines, &task.sync_stack, &[])?;
        return write_run(lines, &task.coroutine_stack, &[]);
    }
    let locals = |from: usize| thread.locals.get(from..).unwrap_or_default();
    write_run(lines, &stack[..sync], &thread.locals)?;
    write_section(
        lines,
        &format!("coroutines of {}, innermost first", escape(&task.name)),
    )?;
    write_run(lines, &stack[sync..coroutines], locals(sync))?;
    write_section(lines, "event loop and what started it")?;
    write_run(lines, &stack[coroutines..], locals(coroutines))
}

/// True if the thread's innermost frames are those of the task: its synchronous frames, then its
/// coroutines. They are not when the two were read at different moments.
fn has_task_on_top(stack: &[Location], task: &TaskInfo) -> bool {
    let own = || task.sync_stack.iter().chain(task.coroutine_stack.iter());
    own().count() <= stack.len() && own().zip(stack).all(|(own, frame)| own == frame)
}

fn write_section(lines: &mut LineWriter<'_>, text: &str) -> io::Result<()> {
    lines.painted(Role::Faint, &format!("  {text}"))
}

/// Writes frames with their local variables. Recursion of one line is written as a count.
fn write_run(
    lines: &mut LineWriter<'_>,
    frames: &[Location],
    locals: &[Vec<(std::sync::Arc<str>, std::sync::Arc<str>)>],
) -> io::Result<()> {
    let room = lines.width.saturating_sub(4);
    let mut index = 0;
    while let Some(location) = frames.get(index) {
        lines.plain(&format!("    {}", frame(location, room)))?;
        for (name, value) in locals.get(index).into_iter().flatten() {
            let name = escape_to(name, 60);
            // Not cut to the width: whoever asks for values wants to see them.
            lines.line(&format!("        {name} = {}", escape(value)))?;
        }
        let same = frames[index..]
            .iter()
            .take_while(|other| *other == location)
            .count();
        index += 1;
        if same > FOLD_RECURSION && locals.is_empty() {
            lines.painted(
                Role::Faint,
                &format!("    … {} more of this frame", same - 1),
            )?;
            index += same - 1;
        }
    }
    Ok(())
}

/// Equal frames in a row that are still written one by one.
const FOLD_RECURSION: usize = 3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use asyncspy_model::FaultKind;

    use super::super::escape::MAX_COLUMNS;
    use super::super::fixtures::*;
    use super::*;

    fn dump(snapshot: &Snapshot, width: usize) -> String {
        let options = ThreadDumpOptions {
            command: "/usr/bin/python3 -m shop --port 8000".to_owned(),
            width,
            style: Style::default(),
        };
        let text = text(|out| write_thread_dump(out, snapshot, &options));
        let has_locals = snapshot
            .threads
            .iter()
            .any(|thread| !thread.locals.is_empty());
        assert_fits(&text, if has_locals { MAX_COLUMNS } else { width });
        text
    }

    #[test]
    fn shop_at_80_columns() {
        insta::assert_snapshot!(dump(&shop(), 80));
    }

    #[test]
    fn shop_at_140_columns() {
        insta::assert_snapshot!(dump(&shop(), 140));
    }

    #[test]
    fn marks_locals_and_loops_without_a_thread() {
        let mut target = shop();
        target.threads.truncate(1);
        let first = &mut target.threads[0];
        first.holds_gil = true;
        first.collects_garbage = true;
        first.os_state = 'R';
        first.locals = vec![vec![
            ("self".into(), "<SSLSocket fd=7>".into()),
            (HOSTILE.into(), HOSTILE.into()),
        ]];
        let mut stopped = idle_loop(9, 0);
        stopped.tid = None;
        stopped.state = asyncspy_model::LoopState::Stopped;
        target.loops.push(stopped);
        insta::assert_snapshot!(dump(&target, 80));
    }

    #[test]
    fn a_torn_stack_is_marked_and_the_task_shown_by_itself() {
        let mut target = shop();
        target.threads.truncate(1);
        let first = &mut target.threads[0];
        first.stack = first.stack.iter().skip(3).cloned().collect();
        first.torn = true;
        target.complete = false;
        target.faults.add(FaultKind::StackTorn);
        insta::assert_snapshot!(dump(&target, 80));
    }

    #[test]
    fn deep_recursion_is_a_count() {
        let mut target = snapshot(vec![], vec![]);
        let frames = std::iter::repeat_n(at("fib", "/srv/fib.py", 3), 100_000);
        let outermost = at("<module>", "/srv/fib.py", 9);
        target.threads = vec![thread(7, "MainThread")];
        target.threads[0].stack = frames.chain([outermost]).collect();
        insta::assert_snapshot!(dump(&target, 80), @r#"
        pid 4242, Python 3.12.1, 0 tasks on 0 loops, read in 1.2 ms
        /usr/bin/python3 -m shop --port 8000

        Thread 7 "MainThread" (asleep in the kernel)
            fib (/srv/fib.py:3)
            … 99999 more of this frame
            <module> (/srv/fib.py:9)
        "#);
    }

    #[test]
    fn hostile_and_empty_data_stay_in_bounds() {
        let mut target = snapshot(vec![idle_loop(0, 7)], vec![]);
        target.threads = vec![thread(0, HOSTILE), thread(7, &"\u{301}".repeat(1_000_000))];
        target.threads[0].stack = Arc::from([at(HOSTILE, HOSTILE, 1), at("", "", 0)]);
        for width in [0, 1, 9, 40, 200] {
            dump(&target, width);
        }
        assert!(dump(&snapshot(vec![], vec![]), 80).contains("no Python thread was found"));
    }

    #[test]
    fn a_closed_pipe_is_an_error_not_a_panic() {
        let options = ThreadDumpOptions {
            command: String::new(),
            width: 80,
            style: Style::default(),
        };
        for bytes in (0..1200).step_by(101) {
            assert!(write_thread_dump(&mut ClosedPipe(bytes), &shop(), &options).is_err());
        }
    }
}
