//! Strings, numbers, containers and instance attributes.
//!
//! Nothing read is trusted: each length is bounded before it is used, each walk has a limit.

use asyncspy_model::RemoteAddr;

use super::str_heads::StrHeads;
use crate::layout::{AttributeStorage, DictKeySizes, IntFormat, Layout};
use crate::target::memory::{Fields, MemoryError, MemoryView, MemoryViewExt};

/// Longest text that is read, in characters; longer ones are cut.
pub const MAX_TEXT: u64 = 1 << 16;

/// Most items that are read of one container.
pub const MAX_ITEMS: u64 = 1 << 23;

/// How many entries of a dict are read at a time where few are wanted.
const ENTRIES_AT_ONCE: u64 = 16;

/// Most entries of a dict: only those of modules, threads and instances are read.
const MAX_ENTRIES: u64 = 1 << 18;

/// `ob_type` of `PyObject` in builds with the GIL (Include/object.h).
pub const OB_TYPE: u64 = 8;
/// `ob_size` of `PyVarObject`: the size of an object's head.
pub const OB_SIZE: u64 = 16;

/// Where a float has its value (Include/cpython/floatobject.h, `PyFloatObject`, 3.8 – 3.15).
pub const FLOAT_VALUE: u64 = 16;

/// `state` of `PyASCIIObject` (Include/cpython/unicodeobject.h).
pub(super) const STR_STATE: u64 = 32;
/// In it: the characters stand directly behind the head.
pub(super) const COMPACT: u8 = 0x20;
/// In it: all of them are ASCII.
pub(super) const ASCII: u8 = 0x40;

/// Reads Python objects of one layout through one view of memory.
#[derive(Clone, Copy)]
pub struct Objects<'a> {
    /// Where bytes come from.
    pub view: &'a dyn MemoryView,
    /// What they mean.
    pub layout: &'a Layout,
}

/// A text of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text, unescaped, or its first [`MAX_TEXT`] characters.
    pub text: String,
    /// True if it was longer.
    pub cut: bool,
}

/// A set's table, as its head describes it (`PySetObject`, Include/cpython/setobject.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetHead {
    /// Slots that are or were used.
    pub fill: u64,
    /// Items.
    pub used: u64,
    /// Number of slots less one.
    pub mask: u64,
    /// Address of the slots.
    pub table: RemoteAddr,
}

impl SetHead {
    /// Bytes of a set up to the end of its head.
    pub const SIZE: usize = 48;

    /// The head of a set whose first bytes these are; `None` where they cannot be that.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let fields = Fields(bytes);
        let head = Self {
            fill: fields.u64(16),
            used: fields.u64(24),
            mask: fields.u64(32),
            table: fields.ptr(40),
        };
        let is_plausible = head.mask < MAX_ITEMS
            && (head.mask + 1).is_power_of_two()
            && head.used <= head.fill
            && head.fill <= head.mask + 1;
        is_plausible.then_some(head)
    }
}

/// Bytes of a key that are looked at as a rule: a short str.
const KEY_HEAD: u64 = 64;

/// How many keys are looked at together: a few more than lie behind the names that are looked for in
/// asyncio's modules.
const KEYS_AT_ONCE: usize = 32;

impl<'a> Objects<'a> {
    /// The type of the object at `addr`.
    ///
    /// # Errors
    /// As [`MemoryView::read`], like every read below; and [`MemoryError::Implausible`] where a
    /// length or state cannot be right, which may be different at the next attempt.
    pub fn type_of(&self, addr: RemoteAddr) -> Result<RemoteAddr, MemoryError> {
        self.view.read_ptr(addr.offset(OB_TYPE))
    }

    /// A `str`.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn read_str(&self, addr: RemoteAddr) -> Result<Text, MemoryError> {
        self.read_str_up_to(addr, MAX_TEXT)
    }

    /// A `str`, cut after `limit` characters (PyASCIIObject, Include/cpython/unicodeobject.h).
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn read_str_up_to(&self, addr: RemoteAddr, limit: u64) -> Result<Text, MemoryError> {
        let mut head = [0; 80];
        let head_size = self.layout.str_.ascii_data as usize;
        let head_bytes = head
            .get_mut(..head_size)
            .ok_or(MemoryError::implausible(addr, "a string's head"))?;
        self.view.read(addr, head_bytes)?;
        let head = Fields(head_bytes);
        let length = head.u64(OB_SIZE);
        let state = head.u8(STR_STATE);
        let (kind, compact, ascii) = ((state >> 2) & 7, state & COMPACT != 0, state & ASCII != 0);
        if length > i64::MAX as u64 || !matches!(kind, 1 | 2 | 4) {
            return Err(MemoryError::implausible(addr, "a string"));
        }
        let data = match (compact, ascii) {
            (true, true) => addr.offset(self.layout.str_.ascii_data),
            (true, false) => addr.offset(self.layout.str_.compact_data),
            (false, _) => self
                .view
                .read_ptr(addr.offset(self.layout.str_.compact_data))?,
        };
        let count = length.min(limit);
        let bytes = self
            .view
            .read_vec(data, (count * u64::from(kind)) as usize)?;
        Ok(Text {
            text: decode_text(bytes, kind, ascii),
            cut: length > count,
        })
    }

    /// An `int` that fits 64 bits; `None` for a larger one.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn read_int(&self, addr: RemoteAddr) -> Result<Option<i64>, MemoryError> {
        let size = self.view.read_u64(addr.offset(OB_SIZE))?;
        let (negative, digits) = match self.layout.int {
            IntFormat::ObSize => (size.cast_signed() < 0, size.cast_signed().unsigned_abs()),
            IntFormat::Tag => (size & 3 == 2, if size & 3 == 1 { 0 } else { size >> 3 }),
        };
        if digits > 3 {
            return Ok(None);
        }
        let mut magnitude: u128 = 0;
        for index in 0..digits {
            let digit = self.view.read_u32(addr.offset(24 + 4 * index))?;
            // Digits have 30 bits each, the lowest first (Include/cpython/longintrepr.h).
            magnitude |= u128::from(digit & 0x3fff_ffff) << (30 * index);
        }
        let value = i128::try_from(magnitude).unwrap_or(i128::MAX);
        let signed = if negative { -value } else { value };
        Ok(i64::try_from(signed).ok())
    }

    /// A `float` (`ob_fval`).
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn read_float(&self, addr: RemoteAddr) -> Result<f64, MemoryError> {
        let value = self.view.read_u64(addr.offset(FLOAT_VALUE));
        value.map(f64::from_bits)
    }

    /// `count` pointers at `addr`.
    pub(super) fn read_pointers(
        &self,
        addr: RemoteAddr,
        count: u64,
    ) -> Result<Vec<RemoteAddr>, MemoryError> {
        if count > MAX_ITEMS {
            return Err(MemoryError::implausible(addr, "a container's length"));
        }
        let bytes = self.view.read_vec(addr, 8 * count as usize)?;
        Ok(pointers(&bytes).collect())
    }

    /// The items of a `tuple`.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn tuple_items(&self, addr: RemoteAddr) -> Result<Vec<RemoteAddr>, MemoryError> {
        let count = self.view.read_u64(addr.offset(OB_SIZE))?;
        self.read_pointers(addr.offset(self.layout.tuple_items), count)
    }

    /// The items of a `list`.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn list_items(&self, addr: RemoteAddr) -> Result<Vec<RemoteAddr>, MemoryError> {
        let (items, count) = self.list_head(addr)?;
        self.read_pointers(items, count)
    }

    /// Address of a `list`'s first item, and its length.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn list_head(&self, addr: RemoteAddr) -> Result<(RemoteAddr, u64), MemoryError> {
        let count = self.view.read_u64(addr.offset(OB_SIZE))?;
        let items = self.view.read_ptr(addr.offset(24))?;
        Ok((items, count))
    }

    /// The head of a `set`.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn set_head(&self, addr: RemoteAddr) -> Result<SetHead, MemoryError> {
        let mut bytes = [0; SetHead::SIZE];
        self.view.read(addr, &mut bytes)?;
        SetHead::decode(&bytes).ok_or(MemoryError::implausible(addr, "a set"))
    }

    /// The items of a `set`: slots are {key, hash}; a hash of -1 marks a dummy.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn set_items(&self, addr: RemoteAddr) -> Result<Vec<RemoteAddr>, MemoryError> {
        let head = self.set_head(addr)?;
        let bytes = self
            .view
            .read_vec(head.table, 16 * (head.mask as usize + 1))?;
        Ok(bytes.chunks_exact(16).filter_map(set_slot).collect())
    }

    /// The length of a `collections.deque` (Modules/_collectionsmodule.c).
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn deque_len(&self, addr: RemoteAddr) -> Result<u64, MemoryError> {
        let length = self.view.read_u64(addr.offset(OB_SIZE))?;
        if length > i64::MAX as u64 {
            return Err(MemoryError::implausible(addr, "a deque's length"));
        }
        Ok(length)
    }

    /// The (key, value) pairs of a `dict`, in order of insertion.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn dict_items(
        &self,
        addr: RemoteAddr,
    ) -> Result<Vec<(RemoteAddr, RemoteAddr)>, MemoryError> {
        let items = self.dict_pairs(addr)?;
        self.expect_keys(&items)?;
        Ok(items)
    }

    /// Whoever asks for the items of a dict looks at the keys.
    pub(super) fn expect_keys(
        &self,
        items: &[(RemoteAddr, RemoteAddr)],
    ) -> Result<(), MemoryError> {
        let mut keys = items.iter().map(|(key, _)| (*key, KEY_HEAD));
        self.view.expect(&mut keys)
    }

    fn dict_pairs(&self, addr: RemoteAddr) -> Result<Vec<(RemoteAddr, RemoteAddr)>, MemoryError> {
        let keys = self.view.read_ptr(addr.offset(32))?;
        let values = self.view.read_ptr(addr.offset(40))?;
        let (entries, stride, count) = self.dict_entries(keys)?;
        let bytes = self.view.read_vec(entries, (stride * count) as usize)?;
        let split = if values.is_null() {
            None
        } else {
            let first = values.offset(self.values_start());
            Some(self.read_pointers(first, count)?)
        };
        let mut items = Vec::with_capacity(count as usize);
        for (index, entry) in bytes.chunks_exact(stride as usize).enumerate() {
            // The key is the last word but one, the value the last.
            let entry = Fields(entry);
            let key = entry.ptr(stride - 16);
            let value = split.as_ref().map_or(entry.ptr(stride - 8), |v| v[index]);
            if !key.is_null() && !value.is_null() {
                items.push((key, value));
            }
        }
        Ok(items)
    }

    /// The value of the key that is this very object; `None` when there is none. The newest items
    /// are looked at first.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn dict_value_of(
        &self,
        dict: RemoteAddr,
        key: RemoteAddr,
    ) -> Result<Option<RemoteAddr>, MemoryError> {
        let keys = self.view.read_ptr(dict.offset(32))?;
        let (entries, stride, count) = self.dict_entries(keys)?;
        let mut left = count;
        while left > 0 {
            let first = left.saturating_sub(ENTRIES_AT_ONCE);
            let mut bytes = [0; 24 * ENTRIES_AT_ONCE as usize];
            let bytes = &mut bytes[..(stride * (left - first)) as usize];
            self.view.read(entries.offset(stride * first), bytes)?;
            // The key is the last word but one, the value the last.
            let mut newest = bytes.rchunks_exact(stride as usize).map(Fields);
            if let Some(entry) = newest.find(|entry| entry.ptr(stride - 16) == key) {
                let value = entry.ptr(stride - 8);
                return Ok(Some(value).filter(|value| !value.is_null()));
            }
            left = first;
        }
        Ok(None)
    }

    /// Where a keys object's entries begin, how long one is, and how many there are
    /// (Include/internal/pycore_dict.h).
    pub(super) fn dict_entries(
        &self,
        keys: RemoteAddr,
    ) -> Result<(RemoteAddr, u64, u64), MemoryError> {
        let mut bytes = [0; 40];
        self.view.read(keys, &mut bytes)?;
        let fields = Fields(&bytes);
        let layout = &self.layout.dict_keys;
        let (index_bytes, stride) = match layout.sizes {
            DictKeySizes::Size => {
                let size = fields.u64(8);
                let width = match size {
                    0..=0xff => 1,
                    0x100..=0xffff => 2,
                    0x1_0000..=0xffff_ffff => 4,
                    _ => 8,
                };
                (size.checked_mul(width), 24)
            }
            DictKeySizes::Log2 => {
                let stride = if fields.u8(10) == 0 { 24 } else { 16 };
                (1_u64.checked_shl(u32::from(fields.u8(9))), stride)
            }
        };
        let count = fields.u64(layout.nentries);
        match index_bytes {
            Some(index_bytes) if count <= MAX_ENTRIES && index_bytes <= 8 * MAX_ENTRIES => {
                Ok((keys.offset(layout.indices + index_bytes), stride, count))
            }
            _ => Err(MemoryError::implausible(keys, "a dict's keys")),
        }
    }

    /// Where the pointers begin in a `_dictvalues`.
    pub(super) fn values_start(&self) -> u64 {
        match self.layout.attributes {
            // {capacity, size, embedded, valid}, one byte each, come first.
            AttributeStorage::InlineValues => 8,
            _ => 0,
        }
    }

    /// The value of a `str` key in a dict; `None` when there is none.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn dict_get(
        &self,
        dict: RemoteAddr,
        name: &str,
    ) -> Result<Option<RemoteAddr>, MemoryError> {
        let found = self.dict_find(dict, &[name])?;
        Ok(found.first().copied().flatten())
    }

    /// The values of these `str` keys in a dict; `None` for those that it has not. It is searched
    /// from its newest item on, a part at a time.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn dict_find(
        &self,
        dict: RemoteAddr,
        names: &[&str],
    ) -> Result<Vec<Option<RemoteAddr>>, MemoryError> {
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut keys = StrHeads::new(*self, longest);
        let mut found = vec![None; names.len()];
        for part in self.dict_pairs(dict)?.rchunks(KEYS_AT_ONCE) {
            keys.read(part.iter().map(|(key, _)| *key))?;
            for (nth, (key, value)) in part.iter().enumerate() {
                for (found, name) in found.iter_mut().zip(names) {
                    if found.is_none() && keys.equals(nth, *key, name)? {
                        *found = Some(*value);
                    }
                }
            }
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        Ok(found)
    }

    /// True if the object is a string of ASCII characters that equals `name`; false also for an
    /// object that is no string.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of), but never [`MemoryError::Implausible`].
    pub fn str_equals(&self, addr: RemoteAddr, name: &str) -> Result<bool, MemoryError> {
        if self.view.read_u64(addr.offset(OB_SIZE))? != name.len() as u64 {
            return Ok(false);
        }
        let state = self.view.read_u8(addr.offset(STR_STATE))?;
        let mut text = [0; KEY_HEAD as usize];
        if state & COMPACT != 0
            && let Some(text) = text.get_mut(..name.len())
        {
            let data = addr.offset(self.layout.str_.ascii_data);
            self.view.read(data, text)?;
            return Ok(state & ASCII != 0 && text == name.as_bytes());
        }
        match self.read_str_up_to(addr, name.len() as u64) {
            Ok(text) => Ok(text.text == name),
            Err(MemoryError::Implausible { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Null instead of `None`, which alone has a type of its name.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn not_none(&self, value: RemoteAddr) -> Result<RemoteAddr, MemoryError> {
        if value.is_null() {
            return Ok(value);
        }
        let class = self.type_of(value)?;
        let name = self.view.read_ptr(class.offset(self.layout.type_.name))?;
        let is_none = self.view.read_u64(name)? == u64::from_le_bytes(*b"NoneType");
        Ok(if is_none { RemoteAddr::NULL } else { value })
    }

    /// What a `weakref` refers to (`wr_object`); `None` when it is dead.
    ///
    /// # Errors
    /// As [`type_of`](Self::type_of).
    pub fn weakref_target(&self, addr: RemoteAddr) -> Result<RemoteAddr, MemoryError> {
        self.view.read_ptr(addr.offset(16))
    }
}

/// The pointers in a run of bytes.
pub fn pointers(bytes: &[u8]) -> impl Iterator<Item = RemoteAddr> {
    bytes.chunks_exact(8).map(|chunk| Fields(chunk).ptr(0))
}

/// The key of a set's slot, unless the slot is free or a dummy.
#[must_use]
pub fn set_slot(slot: &[u8]) -> Option<RemoteAddr> {
    let slot = Fields(slot);
    let key = slot.ptr(0);
    (!key.is_null() && slot.u64(8) != u64::MAX).then_some(key)
}

fn decode_text(bytes: Vec<u8>, kind: u8, ascii: bool) -> String {
    if ascii {
        return String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    }
    let code_points: Box<dyn Iterator<Item = u32>> = match kind {
        1 => Box::new(bytes.into_iter().map(u32::from)),
        2 => Box::new(
            bytes
                .chunks_exact(2)
                .map(|c| u32::from(u16::from_le_bytes([c[0], c[1]])))
                .collect::<Vec<_>>()
                .into_iter(),
        ),
        _ => Box::new(
            bytes
                .chunks_exact(4)
                .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
                .collect::<Vec<_>>()
                .into_iter(),
        ),
    };
    code_points
        .map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
