//! What generators are called: before 3.11 the qualified name is the generator's own, while code
//! objects have the plain one only.

use std::sync::Arc;

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashMap;

use super::chain::ChainInterner;
use crate::layout::{GeneratorFrame, Layout};
use crate::python::code::CodeInfo;
use crate::python::frame::{Owner, RawFrame};
use crate::python::object::Objects;
use crate::target::gather::Gather;
use crate::target::memory::{Fields, MemoryError};

/// Longest name that is read, in characters.
const MAX_NAME: u64 = 4096;

/// Most names kept; beyond, all are read anew.
const MAX_KEPT: usize = 1 << 14;

/// How much of a generator its name takes, in any version that needs it.
const HEAD: usize = 64;

/// Names that were read. One code object may serve several: a decorator gives its wrappers the
/// names of what they wrap.
#[derive(Debug, Default)]
pub struct GeneratorNames {
    known: FxHashMap<Key, (Arc<CodeInfo>, Arc<str>)>,
}

/// Addresses of the code, which is kept with the name, and of the name; null for what all with this
/// code are called.
type Key = (usize, RemoteAddr);

impl GeneratorNames {
    /// The name at `qualname`, which a generator that runs this code has; equal ones share an
    /// allocation.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(
        &mut self,
        objects: Objects<'_>,
        texts: &mut ChainInterner,
        code: &Arc<CodeInfo>,
        qualname: RemoteAddr,
    ) -> Result<Arc<str>, MemoryError> {
        let addr = Arc::as_ptr(code).addr();
        if let Some((_, name)) = self.known.get(&(addr, qualname)) {
            return Ok(name.clone());
        }
        let name = texts.share(objects.read_str_up_to(qualname, MAX_NAME)?.text);
        if self.known.len() >= MAX_KEPT {
            self.known.clear();
        }
        let others = self.only(code).is_some_and(|only| only != name);
        let only = if others { &code.function } else { &name };
        for (key, name) in [((addr, qualname), &name), ((addr, RemoteAddr::NULL), only)] {
            self.known.insert(key, (code.clone(), name.clone()));
        }
        Ok(name)
    }

    /// The name of all generators that were met with this code; the plain name if they had
    /// several.
    #[must_use]
    pub fn only(&self, code: &Arc<CodeInfo>) -> Option<Arc<str>> {
        let known = self
            .known
            .get(&(Arc::as_ptr(code).addr(), RemoteAddr::NULL));
        known.map(|(_, name)| name.clone())
    }
}

/// Adds to a batch what [`qualname`] reads of these frames.
pub fn plan(layout: &Layout, frames: &[RawFrame], gather: &mut Gather) {
    if layout.code.qualname.is_some() {
        return;
    }
    for frame in frames {
        if let Owner::Generator(generator) = frame.owner {
            gather.want(generator, HEAD);
        }
    }
}

/// Where the name of the generator is that runs this frame; null for another frame, and in
/// versions whose code objects have it.
///
/// # Errors
/// When it cannot be read, and when the generator runs this frame no more: what is at its address
/// by now may have another name.
pub fn qualname(objects: Objects<'_>, frame: &RawFrame) -> Result<RemoteAddr, MemoryError> {
    let layout = &objects.layout.generator;
    let (Owner::Generator(generator), None) = (frame.owner, objects.layout.code.qualname) else {
        return Ok(RemoteAddr::NULL);
    };
    let GeneratorFrame::Pointer { frame: at, code } = layout.frame else {
        return Ok(RemoteAddr::NULL);
    };
    let mut head = [0; HEAD];
    objects.view.read(generator, &mut head)?;
    let head = Fields(&head);
    if head.ptr(at) != frame.addr || head.ptr(code) != frame.code {
        return Err(MemoryError::implausible(generator, "a generator's frame"));
    }
    Ok(head.ptr(layout.qualname))
}
