//! Finding the interpreter in a process, and choosing its layout.

use std::path::Path;

use asyncspy_model::RemoteAddr;

use super::object::Objects;
use super::types::TypeCache;
use crate::layout::published::{ASYNCIO_TABLE_SIZE, AsyncioTable, PublishedTable, TABLE_SIZE};
use crate::layout::{Layout, LayoutError, PythonVersion};
use crate::target::PageImage;
use crate::target::elf::{ElfImage, Placed};
use crate::target::maps::{self, Mapping};
use crate::target::memory::{AnyMemory, LiveMemory, MemoryError, MemoryView, MemoryViewExt};
use crate::target::process::{ProcessError, ProcessFacts};

/// Why a process could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such process, or it is none that can be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Nothing of it may be read.
    #[error("the memory of process {0} may not be read by this user")]
    Denied(i32),
    /// It runs no Python.
    #[error("process {pid} ({exe}) runs no CPython")]
    NotPython {
        /// The process.
        pid: i32,
        /// Its executable.
        exe: String,
    },
    /// It runs a Python that cannot be read, by name.
    #[error("process {pid} runs {what}, which is not supported")]
    Unsupported {
        /// The process.
        pid: i32,
        /// What it runs, such as `Python 2.7`.
        what: String,
    },
    /// There is a Python, but its interpreter makes no sense or is not set up yet.
    #[error("the interpreter in process {pid} could not be read: {why}")]
    Unreadable {
        /// The process.
        pid: i32,
        /// What did not work.
        why: String,
    },
}

/// A CPython that was attached to. Holds nothing in the target: to detach is to drop it.
#[derive(Debug)]
pub struct Python {
    /// The process.
    pub facts: ProcessFacts,
    /// Its memory.
    pub memory: AnyMemory,
    /// What its bytes mean.
    pub layout: Layout,
    /// True if `_asyncio` publishes its offsets and they were found: 3.14 and later, once asyncio
    /// is imported.
    pub has_asyncio_table: bool,
    /// Where its interpreter was found.
    pub anchors: Anchors,
}

/// Where to begin in a process's memory: what its files tell of its interpreter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchors {
    /// `_PyRuntime`; null when only an interpreter could be found.
    pub runtime: RemoteAddr,
    /// The main interpreter, when `_PyRuntime` could not be found; else null.
    pub interpreter: RemoteAddr,
    /// Its version, as far as known; not needed where `_PyRuntime` itself tells it (3.13 and
    /// later).
    pub version: Option<PythonVersion>,
    /// The table of offsets that `_asyncio` publishes (3.14 and later); null when there is none.
    pub asyncio_table: RemoteAddr,
}

impl Python {
    /// Attaches to a process, or to that of a thread: finds its interpreter, chooses and checks the
    /// layout. The target is only read.
    ///
    /// # Errors
    /// Each variant of [`AttachError`], as it says. [`AttachError::Unreadable`] may succeed a
    /// moment later, when the process is just starting.
    pub fn attach(id: i32) -> Result<Self, AttachError> {
        let facts = ProcessFacts::read(id)?;
        let pid = facts.pid;
        let mappings = maps::read_mappings(pid).map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => AttachError::Denied(pid),
            _ => ProcessError::NoSuchProcess(pid).into(),
        })?;
        let memory = LiveMemory::new(pid);
        let mappings = maps::first_of_each_file(&mappings);
        check_readable(&memory, &mappings)?;
        refuse_by_name(&facts, &mappings)?;
        let files = ranked(&facts, &mappings);
        let anchors = find_anchors(&memory, &files)
            .or_else(|| find_with_py_spy(&memory, &files))
            .ok_or_else(|| AttachError::NotPython {
                pid,
                exe: facts.exe.display().to_string(),
            })?;
        Self::open(facts, Box::new(memory), anchors)
    }

    /// Takes the interpreter for one that lies at these places of a memory: chooses and checks
    /// the layout.
    ///
    /// # Errors
    /// Each variant of [`AttachError`] but [`AttachError::NotPython`].
    pub fn open(
        facts: ProcessFacts,
        memory: AnyMemory,
        anchors: Anchors,
    ) -> Result<Self, AttachError> {
        let pid = facts.pid;
        let found = anchors.layout(&memory);
        let mut layout = found.map_err(|error| explain(pid, &error))?;
        let table = if layout.wants_asyncio_table() {
            read_asyncio_table(&memory, anchors.asyncio_table)
        } else {
            None
        };
        if let Some(table) = &table {
            layout = layout
                .with_asyncio_table(table)
                .map_err(|error| explain(pid, &error))?;
        }
        let mut python = Self {
            facts,
            memory,
            layout,
            has_asyncio_table: table.is_some(),
            anchors,
        };
        python.validate()?;
        Ok(python)
    }

    /// The newest interpreter.
    ///
    /// # Errors
    /// As [`MemoryView::read`].
    pub fn interpreters_head(&self, view: &dyn MemoryView) -> Result<RemoteAddr, MemoryError> {
        if self.anchors.runtime.is_null() {
            return Ok(self.anchors.interpreter);
        }
        view.read_ptr(
            self.anchors
                .runtime
                .offset(self.layout.runtime.interpreters_head),
        )
    }

    /// Reads back what must be true of any interpreter: the modules are a dict, and `sys` says
    /// the version that the layout is for, unless the interpreter has told it. The exact patch
    /// level comes from there.
    fn validate(&mut self) -> Result<(), AttachError> {
        let pid = self.facts.pid;
        let unreadable = |why: String| AttachError::Unreadable { pid, why };
        let hex = match self.read_back() {
            Ok(hex) => hex,
            Err(MemoryError::Denied) => return Err(AttachError::Denied(pid)),
            Err(MemoryError::Gone) => return Err(ProcessError::NoSuchProcess(pid).into()),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        if self.anchors.version.is_none() {
            return Ok(());
        }
        let said = hex.and_then(|hex| PythonVersion::from_hex(hex.cast_unsigned()));
        match said {
            Some(said) if said.minor == self.layout.version.minor => {
                self.layout.version = said;
                Ok(())
            }
            Some(said) => Err(unreadable(format!("it says that it is Python {said}"))),
            None => Err(unreadable("sys.hexversion is missing".to_owned())),
        }
    }

    /// `sys.hexversion`, where the version is not known for certain, if it is there.
    fn read_back(&self) -> Result<Option<i64>, MemoryError> {
        let image = PageImage::new(&self.memory);
        let objects = Objects {
            view: &image,
            layout: &self.layout,
        };
        let head = self.interpreters_head(&image)?;
        let modules = image.read_ptr(head.offset(self.layout.interpreter.modules))?;
        let class = TypeCache::default().of_object(objects, modules)?.clone();
        if &*class.name != "dict" {
            return Err(MemoryError::implausible(modules, "the dict of modules"));
        }
        if self.anchors.version.is_none() {
            return Ok(None);
        }
        let sys = image.read_ptr(head.offset(self.layout.interpreter.sysdict))?;
        match objects.dict_get(sys, "hexversion")? {
            Some(value) => objects.read_int(value),
            None => Ok(None),
        }
    }
}

fn explain(pid: i32, error: &LayoutError) -> AttachError {
    let what = match error {
        LayoutError::UnsupportedVersion(version) => format!("Python {version}"),
        LayoutError::FreeThreaded(version) => format!("a free-threaded Python {version}"),
        LayoutError::Damaged(..) => {
            return AttachError::Unreadable {
                pid,
                why: error.to_string(),
            };
        }
    };
    AttachError::Unsupported { pid, what }
}

/// One read of a mapped file tells whether reading is permitted.
fn check_readable(memory: &LiveMemory, mappings: &[&Mapping]) -> Result<(), AttachError> {
    let pid = memory.pid();
    let Some(first) = mappings.first() else {
        return Err(ProcessError::NoSuchProcess(pid).into());
    };
    match memory.read_u8(RemoteAddr(first.start)) {
        Err(MemoryError::Denied) => Err(AttachError::Denied(pid)),
        Err(MemoryError::Gone) => Err(ProcessError::NoSuchProcess(pid).into()),
        _ => Ok(()),
    }
}

/// Interpreters that no reader here understands give themselves away by their files' names.
fn refuse_by_name(facts: &ProcessFacts, mappings: &[&Mapping]) -> Result<(), AttachError> {
    let names = mappings.iter().map(|mapping| mapping.path.as_path());
    let mut names = names.chain([facts.exe.as_path()]);
    let what = names.find_map(|path| {
        let name = path.file_name()?.to_str()?;
        let stem = ["libpypy", "pypy"];
        if stem.iter().any(|stem| name.starts_with(stem)) {
            return Some("PyPy".to_owned());
        }
        let (major, minor) = version_in_name(name)?;
        let is_too_old = PythonVersion::new(major, minor, 0).is_too_old();
        is_too_old.then(|| format!("Python {major}.{minor}"))
    });
    match what {
        Some(what) => Err(AttachError::Unsupported {
            pid: facts.pid,
            what,
        }),
        None => Ok(()),
    }
}

/// `python3.8`, `libpython3.8.so.1.0`, `libpython2.7d.so`: the version in the name.
fn version_in_name(name: &str) -> Option<(u8, u8)> {
    let rest = name
        .strip_prefix("libpython")
        .or_else(|| name.strip_prefix("python"))?;
    let (major, rest) = rest.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit());
    let minor = rest.get(..digits.unwrap_or(rest.len()))?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The files that may hold the interpreter, the executable first, then libpython, then
/// `_asyncio`.
fn ranked<'m>(facts: &ProcessFacts, mappings: &[&'m Mapping]) -> Vec<&'m Mapping> {
    let rank = |mapping: &&'m Mapping| Some((rank(facts, &mapping.path)?, *mapping));
    let mut files: Vec<_> = mappings.iter().filter_map(rank).collect();
    files.sort_by_key(|(rank, _)| *rank);
    files.into_iter().map(|(_, mapping)| mapping).collect()
}

fn rank(facts: &ProcessFacts, path: &Path) -> Option<u8> {
    let exe = facts.exe.to_string_lossy();
    let name = path.file_name()?.to_string_lossy();
    if path == Path::new(exe.trim_end_matches(" (deleted)")) {
        Some(0)
    } else if name.starts_with("libpython") {
        Some(1)
    } else if name.starts_with("python") {
        // Started through the dynamic loader, the executable is the loader.
        Some(2)
    } else if name.starts_with("_asyncio.") {
        Some(3)
    } else {
        None
    }
}

impl Anchors {
    fn layout(&self, memory: &dyn MemoryView) -> Result<Layout, LayoutError> {
        let mut bytes = [0; TABLE_SIZE];
        if !self.runtime.is_null()
            && memory.read(self.runtime, &mut bytes).is_ok()
            && let Some(table) = PublishedTable::parse(bytes)
        {
            return Layout::from_published(&table);
        }
        let unknown = PythonVersion::new(0, 0, 0);
        Layout::from_version(self.version.unwrap_or(unknown))
    }
}

fn find_anchors(memory: &LiveMemory, files: &[&Mapping]) -> Option<Anchors> {
    for mapping in files {
        let Some(elf) = open_elf(memory.pid(), mapping) else {
            continue;
        };
        let section = elf.section(".PyRuntime");
        if let Some(runtime) = section
            && publishes_table(memory, RemoteAddr(runtime.addr))
        {
            return Some(Anchors {
                runtime: RemoteAddr(runtime.addr),
                asyncio_table: find_asyncio_table(memory, files, Some((mapping, &elf))),
                ..Anchors::default()
            });
        }
        let [symbol, version] = elf.dynamic_symbols(["_PyRuntime", "Py_Version"]);
        let Some(runtime) = section.or(symbol) else {
            continue;
        };
        let version = version
            .and_then(|placed| memory.read_u64(RemoteAddr(placed.addr)).ok())
            .and_then(PythonVersion::from_hex)
            .or_else(|| version_by_name(mapping))
            .or_else(|| version_by_size(symbol.or(section)));
        if version.is_none() {
            continue;
        }
        return Some(Anchors {
            runtime: RemoteAddr(runtime.addr),
            version,
            ..Anchors::default()
        });
    }
    None
}

fn publishes_table(memory: &LiveMemory, runtime: RemoteAddr) -> bool {
    let cookie = memory.read_array::<8>(runtime);
    cookie == Ok(crate::layout::published::COOKIE)
}

fn open_elf(pid: i32, mapping: &Mapping) -> Option<ElfImage> {
    let file = maps::open_mapped(pid, mapping).ok()?;
    ElfImage::new(file, mapping)
}

fn version_by_name(mapping: &Mapping) -> Option<PythonVersion> {
    let (major, minor) = version_in_name(mapping.path.file_name()?.to_str()?)?;
    Some(PythonVersion::new(major, minor, 0))
}

/// `_PyRuntime` grows with each version, and tells it where file names do not.
fn version_by_size(runtime: Option<Placed>) -> Option<PythonVersion> {
    let minor = crate::layout::tables::RUNTIME_SIZES
        .iter()
        .find(|(size, _)| Some(*size) == runtime.map(|placed| placed.size))?
        .1;
    Some(PythonVersion::new(3, minor, 0))
}

/// The py-spy library knows odd builds: stripped, embedded, without symbols. It is slow, so it
/// is asked only when our own way has found nothing.
fn find_with_py_spy(memory: &LiveMemory, files: &[&Mapping]) -> Option<Anchors> {
    use py_spy::python_process_info::{PythonProcessInfo, PythonProcessLayout, get_python_version};
    let process = remoteprocess::Process::new(memory.pid()).ok()?;
    let info = PythonProcessInfo::new(&process).ok()?;
    let version = get_python_version(&info, &process).ok()?;
    let known = PythonVersion::new(
        u8::try_from(version.major).ok()?,
        u8::try_from(version.minor).ok()?,
        u8::try_from(version.patch).ok()?,
    );
    let mut anchors = Anchors {
        version: Some(known),
        ..Anchors::default()
    };
    if let Some(runtime) = info.get_symbol("_PyRuntime") {
        anchors.runtime = RemoteAddr(*runtime);
        anchors.asyncio_table = find_asyncio_table(memory, files, None);
    } else {
        let config = py_spy::Config::default();
        let layout = PythonProcessLayout::new(&info, &process, &version, &config).ok()?;
        anchors.interpreter = RemoteAddr(layout.interpreter_address as u64);
    }
    Some(anchors)
}

/// Where `_asyncio` publishes its table; null when it does not, or is not loaded. `open` is a file
/// that is open already.
fn find_asyncio_table(
    memory: &LiveMemory,
    files: &[&Mapping],
    open: Option<(&Mapping, &ElfImage)>,
) -> RemoteAddr {
    // A module of its own stands last; it is part of the executable where that is static.
    let found = files.iter().rev().find_map(|mapping| match open {
        Some((known, elf)) if known == *mapping => elf.section(".AsyncioDebug"),
        _ => open_elf(memory.pid(), mapping)?.section(".AsyncioDebug"),
    });
    let found = found.map(|section| RemoteAddr(section.addr));
    found.unwrap_or(RemoteAddr::NULL)
}

fn read_asyncio_table(memory: &dyn MemoryView, addr: RemoteAddr) -> Option<AsyncioTable> {
    let mut bytes = [0; ASYNCIO_TABLE_SIZE];
    memory.read(addr, &mut bytes).ok()?;
    AsyncioTable::parse(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_file_names() {
        for (name, expected) in [
            ("python3.8", Some((3, 8))),
            ("libpython3.10.so.1.0", Some((3, 10))),
            ("libpython2.7d.so.1.0", Some((2, 7))),
            ("python3.14t", Some((3, 14))),
            ("python3", None),
            ("python", None),
            ("pythonic.txt", None),
        ] {
            assert_eq!(version_in_name(name), expected, "{name}");
        }
    }
}
