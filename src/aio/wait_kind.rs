//! Names what a task waits in: the asyncio call that the user's code made.

use std::sync::Arc;

use asyncspy_model::{Location, WaitsOn};

use super::Caches;
use super::awaits::callbacks;
use super::task::TaskRecord;
use crate::python::frame::{RawFrame, read_local};
use crate::python::object::Objects;
use crate::python::types::TypeKind;
use crate::target::memory::{MemoryError, MemoryViewExt};

/// True for a file of the asyncio package.
#[must_use]
pub fn is_asyncio_file(file: &str) -> bool {
    let mut parts = file.rsplit('/');
    let _name = parts.next();
    parts.next() == Some("asyncio")
}

/// What a waiting task waits on, without the tasks; `None` when it does not wait. `frames` are
/// those of its chain, innermost first.
///
/// # Errors
/// When what tells it cannot be read.
pub fn waits_on(
    objects: Objects<'_>,
    caches: &mut Caches,
    record: &TaskRecord,
    frames: &[RawFrame],
) -> Result<Option<WaitsOn>, MemoryError> {
    let Some(leaf) = record.leaf.as_ref().filter(|leaf| !leaf.done) else {
        return Ok(None);
    };
    let kind = match asyncio_call(&record.chain) {
        Some(call) => caches.chains.share(call.to_owned()),
        None => match (leaf.kind, &*leaf.class) {
            (TypeKind::Task, _) => Arc::from("task"),
            (_, "_GatheringFuture") => Arc::from("gather"),
            (TypeKind::Future, _) => by_callbacks(objects, caches, record)?,
            _ => Arc::from("future"),
        },
    };
    let detail = match &*kind {
        "sleep" => sleep_delay(objects, caches, frames)?,
        _ => None,
    };
    Ok(Some(WaitsOn {
        kind,
        leaf: leaf.class.clone(),
        tasks: Vec::new(),
        detail,
    }))
}

/// The asyncio function that the user's code called: the outermost of the asyncio frames at the
/// end of the chain, but the one inside a `wait_for`, which only adds a time limit, and inside an
/// `async with`, which locks and semaphores share.
fn asyncio_call(chain: &[Location]) -> Option<&str> {
    let frames = chain
        .iter()
        .take_while(|location| is_asyncio_file(&location.file));
    let names: Vec<&str> = frames.map(|location| &*location.function).collect();
    let outermost = names
        .iter()
        .rev()
        .find(|name| **name != "wait_for" && !name.ends_with("__aenter__"))
        .or_else(|| names.last())?;
    Some(plain_name(outermost))
}

/// The name that a person knows the call by.
fn plain_name(function: &str) -> &str {
    match function {
        "TaskGroup.__aexit__" | "TaskGroup._aexit" => "TaskGroup",
        "_wait" => "wait",
        "FlowControlMixin._drain_helper" => "StreamWriter.drain",
        "StreamReader._wait_for_data" => "StreamReader.read",
        name if name.ends_with("_wait_for_one") => "as_completed",
        name => name,
    }
}

/// A bare future says by its callbacks who will set it.
fn by_callbacks(
    objects: Objects<'_>,
    caches: &mut Caches,
    record: &TaskRecord,
) -> Result<Arc<str>, MemoryError> {
    for callback in callbacks(objects, record.fields.fut_waiter, &mut Vec::new())? {
        if caches.types.kind_of(objects, callback)? != TypeKind::Function {
            continue;
        }
        let code = callback.offset(objects.layout.function.code);
        let code = objects.view.read_ptr(code)?;
        match &*caches.codes.get(objects, code)?.name {
            "_call_check_cancel" => return Ok(Arc::from("executor")),
            "_outer_done_callback" => return Ok(Arc::from("shield")),
            _ => {}
        }
    }
    Ok(Arc::from("future"))
}

/// The delay of a `sleep`, as text.
fn sleep_delay(
    objects: Objects<'_>,
    caches: &mut Caches,
    frames: &[RawFrame],
) -> Result<Option<Arc<str>>, MemoryError> {
    let Some(frame) = frames.first() else {
        return Ok(None);
    };
    let code = caches.codes.get(objects, frame.code)?;
    let Some(slot) = code.local_names(objects)?.slot("delay") else {
        return Ok(None);
    };
    let value = read_local(objects, frame.addr, slot)?;
    if value.is_null() {
        return Ok(None);
    }
    let seconds = match caches.types.of_object(objects, value)?.kind {
        TypeKind::Float => Some(objects.read_float(value)?),
        #[expect(clippy::cast_precision_loss, reason = "a delay of 2^53 s is rounded")]
        TypeKind::Int => objects.read_int(value)?.map(|seconds| seconds as f64),
        _ => None,
    };
    Ok(seconds.map(|seconds| format!("{seconds} s").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(functions: &[&str]) -> Option<String> {
        let file: Arc<str> = Arc::from("/usr/lib/python3.12/asyncio/locks.py");
        let mut chain: Vec<Location> = Vec::new();
        for (line, function) in (1..).zip(functions) {
            chain.push(Location {
                function: Arc::from(*function),
                file: file.clone(),
                line,
            });
        }
        asyncio_call(&chain).map(str::to_owned)
    }

    #[test]
    fn the_call_that_the_user_made_is_named() {
        let mixin = "_ContextManagerMixin.__aenter__";
        let cases: [(&[&str], Option<&str>); 5] = [
            (&["Lock.acquire", mixin], Some("Lock.acquire")),
            (
                &["Semaphore.acquire", mixin, "wait_for"],
                Some("Semaphore.acquire"),
            ),
            (&["Queue.get", "wait_for"], Some("Queue.get")),
            (&["wait_for"], Some("wait_for")),
            (&[], None),
        ];
        for (functions, expected) in cases {
            assert_eq!(call(functions).as_deref(), expected, "{functions:?}");
        }
    }
}
