//! The attributes of instances: in a dict, or in an array of values whose names the class keeps.

use asyncspy_model::RemoteAddr;

use super::object::Objects;
use crate::layout::AttributeStorage;
use crate::target::memory::{Fields, MemoryError, MemoryViewExt};

/// `Py_TPFLAGS_INLINE_VALUES` (Include/object.h, 3.13 and later).
const INLINE_VALUES: u64 = 1 << 2;

/// `Py_TPFLAGS_MANAGED_DICT` (Include/object.h, 3.11 and later).
const MANAGED_DICT: u64 = 1 << 4;

/// `ma_keys` of `PyDictObject`; `ma_values` is behind it (Include/cpython/dictobject.h).
const DICT_KEYS: u64 = 32;

/// An object, and where its attributes are.
struct Located {
    object: RemoteAddr,
    class: RemoteAddr,
    /// `tp_flags` of the class.
    flags: u64,
    attributes: Attributes,
}

/// Where the attributes of an object are.
#[derive(Clone, Copy)]
enum Attributes {
    None,
    Dict(RemoteAddr),
    /// Address of the first value.
    Values(RemoteAddr),
}

/// Negative offsets count from the end of a variable-sized object: none of the classes that
/// matter here has one.
const fn is_dictoffset(offset: u64) -> bool {
    offset != 0 && offset <= i64::MAX as u64
}

impl Objects<'_> {
    /// The instance attributes of an object, as (name, value).
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn attributes(
        &self,
        object: RemoteAddr,
    ) -> Result<Vec<(RemoteAddr, RemoteAddr)>, MemoryError> {
        let located = self.locate(object)?;
        match located.attributes {
            Attributes::None => Ok(Vec::new()),
            Attributes::Dict(dict) => self.dict_items(dict),
            Attributes::Values(first) => {
                let keys = located.class.offset(self.layout.type_.cached_keys);
                let (entries, stride, count) = self.dict_entries(self.view.read_ptr(keys)?)?;
                let bytes = self.view.read_vec(entries, (stride * count) as usize)?;
                let names = bytes
                    .chunks_exact(stride as usize)
                    .map(|entry| Fields(entry).ptr(stride - 16));
                let values = self.read_pointers(first, count)?;
                let mut pairs: Vec<_> = names.zip(values).collect();
                pairs.retain(|(name, value)| !name.is_null() && !value.is_null());
                self.expect_keys(&pairs)?;
                Ok(pairs)
            }
        }
    }

    fn locate(&self, object: RemoteAddr) -> Result<Located, MemoryError> {
        let class = self.type_of(object)?;
        let flags = self.view.read_u64(class.offset(self.layout.type_.flags))?;
        let attributes = self.locate_attributes(object, class, flags)?;
        Ok(Located {
            object,
            class,
            flags,
            attributes,
        })
    }

    fn locate_attributes(
        &self,
        object: RemoteAddr,
        class: RemoteAddr,
        flags: u64,
    ) -> Result<Attributes, MemoryError> {
        let dict_or_none = |dict: RemoteAddr| match dict {
            RemoteAddr::NULL => Attributes::None,
            dict => Attributes::Dict(dict),
        };
        let managed = flags & MANAGED_DICT != 0;
        match self.layout.attributes {
            AttributeStorage::ValuesOrDict if managed => {
                let values = self.view.read_ptr(object.before(32))?;
                if !values.is_null() {
                    return Ok(Attributes::Values(values));
                }
                self.view.read_ptr(object.before(24)).map(dict_or_none)
            }
            AttributeStorage::TaggedWord if managed => {
                let word = self.view.read_ptr(object.before(24))?;
                if word.0 & 1 == 1 {
                    return Ok(Attributes::Values(word.offset(1)));
                }
                Ok(dict_or_none(word))
            }
            AttributeStorage::InlineValues if managed => {
                let dict = self.view.read_ptr(object.before(24))?;
                if !dict.is_null() || flags & INLINE_VALUES == 0 {
                    return Ok(dict_or_none(dict));
                }
                let size = self
                    .view
                    .read_u64(class.offset(self.layout.type_.basicsize))?;
                let values = object.offset(size);
                let valid = self.view.read_u8(values.offset(3))? != 0;
                Ok(if valid {
                    Attributes::Values(values.offset(8))
                } else {
                    Attributes::None
                })
            }
            _ => {
                let offset = self
                    .view
                    .read_u64(class.offset(self.layout.type_.dictoffset))?;
                if !is_dictoffset(offset) {
                    return Ok(Attributes::None);
                }
                self.view.read_ptr(object.offset(offset)).map(dict_or_none)
            }
        }
    }

    /// The range of memory (address, length) that holds the values of an object's attributes;
    /// `None` when it has none.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn attribute_range(
        &self,
        object: RemoteAddr,
    ) -> Result<Option<(RemoteAddr, u64)>, MemoryError> {
        self.values_range(&self.locate(object)?)
    }

    /// The ranges of memory (address, length) that decide what attributes an object has: where
    /// it says that they are, and their values.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn attribute_pieces(
        &self,
        object: RemoteAddr,
    ) -> Result<impl Iterator<Item = (RemoteAddr, u64)>, MemoryError> {
        let located = self.locate(object)?;
        let table = match located.attributes {
            Attributes::Dict(dict) => Some((dict.offset(DICT_KEYS), 16)),
            Attributes::None | Attributes::Values(_) => None,
        };
        let values = self.values_range(&located)?;
        let home = self.attribute_home(&located)?;
        Ok(home.into_iter().chain(table).chain(values))
    }

    fn values_range(&self, located: &Located) -> Result<Option<(RemoteAddr, u64)>, MemoryError> {
        let keys = |at: RemoteAddr| self.dict_entries(self.view.read_ptr(at)?);
        Ok(match located.attributes {
            Attributes::None => None,
            Attributes::Dict(dict) => {
                let (entries, stride, count) = keys(dict.offset(DICT_KEYS))?;
                match self.view.read_ptr(dict.offset(DICT_KEYS + 8))? {
                    RemoteAddr::NULL => Some((entries, stride * count)),
                    values => Some((values.offset(self.values_start()), 8 * count)),
                }
            }
            Attributes::Values(first) => {
                let (_, _, count) = keys(located.class.offset(self.layout.type_.cached_keys))?;
                Some((first, 8 * count))
            }
        })
    }

    /// The words in which an object says where its attributes are; `None` when its class gives it
    /// none.
    fn attribute_home(&self, located: &Located) -> Result<Option<(RemoteAddr, u64)>, MemoryError> {
        let &Located {
            object,
            class,
            flags,
            ..
        } = located;
        let managed = flags & MANAGED_DICT != 0;
        Ok(match self.layout.attributes {
            AttributeStorage::ValuesOrDict if managed => Some((object.before(32), 16)),
            AttributeStorage::TaggedWord | AttributeStorage::InlineValues if managed => {
                Some((object.before(24), 8))
            }
            _ => {
                let offset = class.offset(self.layout.type_.dictoffset);
                let offset = self.view.read_u64(offset)?;
                is_dictoffset(offset).then_some((object.offset(offset), 8))
            }
        })
    }

    /// One instance attribute; `None` when the object has none of that name.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn attribute(
        &self,
        object: RemoteAddr,
        name: &str,
    ) -> Result<Option<RemoteAddr>, MemoryError> {
        for (key, value) in self.attributes(object)? {
            if self.str_equals(key, name)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}
