//! Names of threads, as Python's `threading` knows them.

use std::sync::Arc;

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashMap;

use super::object::Objects;
use crate::target::memory::{MemoryError, MemoryViewExt};

/// `md_dict` of a module.
const MODULE_DICT: u64 = 16;

/// Bytes before an object that belong to it: the collector's head and the managed dict.
const BEFORE: u64 = 32;

/// What is fetched of a `Thread` and what is before it: where its attributes are, and where they
/// are part of it, most of them.
const AROUND: u64 = BEFORE + 160;

/// Longest name that is read, in characters.
const MAX_NAME: u64 = 1024;

/// Names of threads by pthread_self, from `threading._active`. Where that is, is remembered: the
/// table of modules is long.
#[derive(Debug, Default)]
pub struct ThreadNames {
    /// By the dict of modules: the module and its dict.
    modules: FxHashMap<RemoteAddr, (RemoteAddr, RemoteAddr)>,
}

impl ThreadNames {
    /// The names of an interpreter's threads; empty when `threading` is not imported or cannot
    /// be read. `met` is where that and its dict are, for who knows it already.
    pub fn read(
        &mut self,
        objects: Objects<'_>,
        modules: RemoteAddr,
        met: Option<(RemoteAddr, RemoteAddr)>,
    ) -> FxHashMap<u64, Arc<str>> {
        self.try_read(objects, modules, met).unwrap_or_default()
    }

    fn try_read(
        &mut self,
        objects: Objects<'_>,
        modules: RemoteAddr,
        met: Option<(RemoteAddr, RemoteAddr)>,
    ) -> Result<FxHashMap<u64, Arc<str>>, MemoryError> {
        let mut names = FxHashMap::default();
        let Some(dict) = self.module_dict(objects, modules, met)? else {
            return Ok(names);
        };
        let Some(active) = objects.dict_get(dict, "_active")? else {
            return Ok(names);
        };
        let threads = objects.dict_items(active)?;
        let mut around = threads
            .iter()
            .map(|(_, thread)| (thread.before(BEFORE), AROUND));
        objects.view.expect(&mut around)?;
        for (ident, thread) in threads {
            let ident = objects.read_int(ident).ok().flatten();
            let name = objects.attribute(thread, "_name");
            if let (Some(ident), Ok(Some(name))) = (ident, name)
                && let Ok(text) = objects.read_str_up_to(name, MAX_NAME)
            {
                names.insert(ident.cast_unsigned(), text.text.into());
            }
        }
        Ok(names)
    }

    fn module_dict(
        &mut self,
        objects: Objects<'_>,
        modules: RemoteAddr,
        met: Option<(RemoteAddr, RemoteAddr)>,
    ) -> Result<Option<RemoteAddr>, MemoryError> {
        if let Some((module, dict)) = met.or(self.modules.get(&modules).copied())
            && objects.view.read_ptr(module.offset(MODULE_DICT)) == Ok(dict)
        {
            return Ok(Some(dict));
        }
        let Some(module) = objects.dict_get(modules, "threading")? else {
            return Ok(None);
        };
        let dict = objects.view.read_ptr(module.offset(MODULE_DICT))?;
        self.modules.insert(modules, (module, dict));
        Ok(Some(dict))
    }
}
