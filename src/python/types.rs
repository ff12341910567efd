//! Telling what kind of object lies at an address.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashMap;

use super::object::{OB_TYPE, Objects};
use crate::target::memory::{Fields, MemoryError, MemoryViewExt};

/// Longest chain of base classes that is followed.
const MAX_BASES: usize = 32;

/// How many base classes are fetched together with a type.
const BASES_AHEAD: usize = 4;

/// How much of a type's name is fetched ahead: all of most.
const NAME_PART: u64 = 32;

/// Longest type name that is read.
const MAX_NAME: usize = 256;

/// `Py_TPFLAGS_*` (Include/object.h), the same in every version.
mod flag {
    pub const HEAP: u64 = 1 << 9;
    pub const INT: u64 = 1 << 24;
    pub const LIST: u64 = 1 << 25;
    pub const TUPLE: u64 = 1 << 26;
    pub const BYTES: u64 = 1 << 27;
    pub const STR: u64 = 1 << 28;
    pub const DICT: u64 = 1 << 29;
}

/// What the readers do with an object depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `_asyncio.Task` or a subclass.
    Task,
    /// `_asyncio.Future` or a subclass.
    Future,
    /// A coroutine.
    Coroutine,
    /// A generator.
    Generator,
    /// An async generator.
    AsyncGenerator,
    /// An object that passes an `await` on to the one at 16: `coroutine_wrapper`,
    /// `async_generator_asend`, `async_generator_athrow`, `anext_awaitable`.
    Delegate,
    /// `_asyncio.FutureIter`, the future at 16.
    FutureIter,
    /// `TaskWakeupMethWrapper` or `TaskStepMethWrapper`, the task at 16.
    TaskMethod,
    /// `builtin_function_or_method`.
    Builtin,
    /// `function`.
    Function,
    /// `method`.
    Method,
    /// `functools.partial`.
    Partial,
    /// `str` or a subclass.
    Str,
    /// `int` or a subclass.
    Int,
    /// `float`.
    Float,
    /// `bytes`.
    Bytes,
    /// `list` or a subclass.
    List,
    /// `tuple` or a subclass.
    Tuple,
    /// `dict` or a subclass.
    Dict,
    /// `set`.
    Set,
    /// `NoneType`.
    None,
    /// `cell`.
    Cell,
    /// `weakref`.
    WeakRef,
    /// An object of a class written in Python, or anything else.
    Other,
}

/// A type.
#[derive(Clone, Debug)]
pub struct TypeInfo {
    /// Its name, without a module.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: TypeKind,
    /// Names of its base classes, nearest first.
    pub bases: Arc<[Arc<str>]>,
}

impl TypeInfo {
    /// True if the type or one of its bases has this name.
    #[must_use]
    pub fn descends_from(&self, name: &str) -> bool {
        &*self.name == name || self.bases.iter().any(|base| &**base == name)
    }
}

/// Types by address, as long as nothing says that they may have changed: one census, or one
/// sampling session that begins anew when a type's address shows another name.
#[derive(Debug, Default)]
pub struct TypeCache {
    types: FxHashMap<RemoteAddr, TypeInfo>,
}

impl TypeCache {
    /// Forgets all: type objects may be freed and their addresses reused.
    pub fn clear(&mut self) {
        self.types.clear();
    }

    /// Says that the types of these objects are needed, as few calls as possible for all that are
    /// new. The objects' heads are read one by one.
    ///
    /// # Errors
    /// As [`expect`](crate::target::MemoryView::expect).
    pub fn expect(
        &self,
        objects: Objects<'_>,
        of: impl Iterator<Item = RemoteAddr>,
    ) -> Result<(), MemoryError> {
        let class_of = |object: RemoteAddr| objects.view.read_ptr(object.offset(OB_TYPE)).ok();
        let is_new = |class: &RemoteAddr| !class.is_null() && !self.types.contains_key(class);
        let mut new: Vec<_> = of.filter_map(class_of).filter(is_new).collect();
        let layout = &objects.layout.type_;
        for _ in 0..BASES_AHEAD {
            new.sort_unstable();
            new.dedup();
            if new.is_empty() {
                break;
            }
            let heads = new.iter().map(|class| (*class, layout.size));
            objects
                .view
                .expect(&mut heads.collect::<Vec<_>>().into_iter())?;
            let field =
                |class: RemoteAddr, offset| objects.view.read_ptr(class.offset(offset)).ok();
            let names = new.iter().filter_map(|class| field(*class, layout.name));
            let bases: Vec<_> = new
                .iter()
                .filter_map(|class| field(*class, layout.base))
                .collect();
            let names = names.map(|name| (name, NAME_PART));
            let heads = bases.iter().map(|base| (*base, layout.size));
            objects
                .view
                .expect(&mut names.chain(heads).collect::<Vec<_>>().into_iter())?;
            new = bases.into_iter().filter(is_new).collect();
        }
        Ok(())
    }

    /// The type of the object at `object`.
    ///
    /// # Errors
    /// When the object's head or its type cannot be read.
    pub fn of_object(
        &mut self,
        objects: Objects<'_>,
        object: RemoteAddr,
    ) -> Result<&TypeInfo, MemoryError> {
        let class = objects.view.read_ptr(object.offset(OB_TYPE))?;
        self.get(objects, class)
    }

    /// The kind of the object at `object`.
    ///
    /// # Errors
    /// As [`of_object`](Self::of_object).
    pub fn kind_of(
        &mut self,
        objects: Objects<'_>,
        object: RemoteAddr,
    ) -> Result<TypeKind, MemoryError> {
        self.of_object(objects, object).map(|info| info.kind)
    }

    /// The type at `class`.
    ///
    /// # Errors
    /// When it cannot be read or its name makes no sense.
    pub fn get(
        &mut self,
        objects: Objects<'_>,
        class: RemoteAddr,
    ) -> Result<&TypeInfo, MemoryError> {
        match self.types.entry(class) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(free) => Ok(free.insert(read_type(objects, class)?)),
        }
    }
}

fn read_type(objects: Objects<'_>, class: RemoteAddr) -> Result<TypeInfo, MemoryError> {
    let (full_name, flags, mut base) = read_head(objects, class)?;
    let mut kind = classify(&full_name, flags);
    let mut bases = Vec::new();
    while !base.is_null() && bases.len() < MAX_BASES {
        let (name, base_flags, next) = read_head(objects, base)?;
        if kind == TypeKind::Other {
            kind = inherited(classify(&name, base_flags));
        }
        bases.push(Arc::from(name));
        base = next;
    }
    let name = full_name.rsplit('.').next().unwrap_or(&full_name);
    Ok(TypeInfo {
        name: Arc::from(name),
        kind,
        bases: bases.into(),
    })
}

/// Name, flags and base of a type.
fn read_head(
    objects: Objects<'_>,
    class: RemoteAddr,
) -> Result<(String, u64, RemoteAddr), MemoryError> {
    let layout = &objects.layout.type_;
    let head = objects.view.read_vec(class, layout.size as usize)?;
    let head = Fields(&head);
    let (name, base) = (head.ptr(layout.name), head.ptr(layout.base));
    // The base is looked at next.
    let next = [(name, NAME_PART), (base, layout.size)];
    objects.view.expect(&mut next.into_iter())?;
    let name = read_c_string(objects, name)?;
    Ok((name, head.u64(layout.flags), base))
}

/// A C string of printable characters; a type's name never holds others.
///
/// # Errors
/// When it cannot be read, is too long or holds other characters.
pub fn read_c_string(objects: Objects<'_>, addr: RemoteAddr) -> Result<String, MemoryError> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_NAME {
        // Up to the end of an aligned block, which cannot cross into an unmapped page.
        let at = addr.offset(bytes.len() as u64);
        let mut block = [0; 32];
        let count = 32 - (at.0 % 32) as usize;
        objects.view.read(at, &mut block[..count])?;
        let end = block[..count].iter().position(|byte| *byte == 0);
        bytes.extend_from_slice(&block[..end.unwrap_or(count)]);
        if end.is_some() {
            return match String::from_utf8(bytes) {
                Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(text),
                _ => Err(MemoryError::implausible(addr, "a name")),
            };
        }
    }
    Err(MemoryError::implausible(addr, "a name"))
}

/// A kind that subclasses share; the others need the exact type.
fn inherited(kind: TypeKind) -> TypeKind {
    match kind {
        TypeKind::Task
        | TypeKind::Future
        | TypeKind::Str
        | TypeKind::Int
        | TypeKind::List
        | TypeKind::Tuple
        | TypeKind::Dict
        | TypeKind::Float
        | TypeKind::Set
        | TypeKind::WeakRef => kind,
        _ => TypeKind::Other,
    }
}

fn classify(name: &str, flags: u64) -> TypeKind {
    let by_flag = [
        (flag::STR, TypeKind::Str),
        (flag::INT, TypeKind::Int),
        (flag::TUPLE, TypeKind::Tuple),
        (flag::LIST, TypeKind::List),
        (flag::DICT, TypeKind::Dict),
        (flag::BYTES, TypeKind::Bytes),
    ];
    if let Some((_, kind)) = by_flag.iter().find(|(bit, _)| flags & bit != 0) {
        return *kind;
    }
    // The C module's names hold a dot, which a class statement cannot give.
    match name {
        "_asyncio.Task" => return TypeKind::Task,
        "_asyncio.Future" => return TypeKind::Future,
        "_asyncio.FutureIter" => return TypeKind::FutureIter,
        "_asyncio.TaskStepMethWrapper" => return TypeKind::TaskMethod,
        "functools.partial" => return TypeKind::Partial,
        _ => {}
    }
    if flags & flag::HEAP != 0 {
        return TypeKind::Other;
    }
    match name {
        "coroutine" => TypeKind::Coroutine,
        "generator" => TypeKind::Generator,
        "async_generator" => TypeKind::AsyncGenerator,
        "coroutine_wrapper"
        | "async_generator_asend"
        | "async_generator_athrow"
        | "anext_awaitable" => TypeKind::Delegate,
        "FutureIter" => TypeKind::FutureIter,
        "TaskWakeupMethWrapper" | "TaskStepMethWrapper" => TypeKind::TaskMethod,
        "builtin_function_or_method" => TypeKind::Builtin,
        "function" => TypeKind::Function,
        "method" => TypeKind::Method,
        "float" => TypeKind::Float,
        "set" => TypeKind::Set,
        "NoneType" => TypeKind::None,
        "cell" => TypeKind::Cell,
        "weakref" | "weakref.ReferenceType" | "weakref.weakref" => TypeKind::WeakRef,
        _ => TypeKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_calls_itself_coroutine_is_not_taken_for_one() {
        assert_eq!(classify("coroutine", 0), TypeKind::Coroutine);
        assert_eq!(classify("coroutine", flag::HEAP), TypeKind::Other);
        assert_eq!(classify("_asyncio.Task", flag::HEAP), TypeKind::Task);
        assert_eq!(classify("Anything", flag::STR | flag::HEAP), TypeKind::Str);
    }
}
