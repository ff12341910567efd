//! Addresses and identities in the target process.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address in the target's memory. Serialised as a hexadecimal string (`"0x7f…"`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RemoteAddr(pub u64);

impl RemoteAddr {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// True for the null pointer.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further on; wraps, because a hostile base must not panic.
    #[must_use]
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// The address `bytes` before; wraps, because a hostile base must not panic.
    #[must_use]
    pub const fn before(self, bytes: u64) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

impl fmt::Display for RemoteAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for RemoteAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RemoteAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RemoteAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        u64::from_str_radix(digits, 16)
            .map(RemoteAddr)
            .map_err(de::Error::custom)
    }
}

/// A task, named by the address of its Task object: what `id(task)` is in the target.
///
/// Addresses are reused after a task has ended, so an id is an identity only within one
/// snapshot or one [`TaskDefinition`](crate::TaskDefinition).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TaskId(pub RemoteAddr);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An event loop, named by the address of its loop object: what `id(loop)` is in the target.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LoopId(pub RemoteAddr);

impl fmt::Display for LoopId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A distinct stack of one event stream; defined by [`Event::Stack`](crate::Event::Stack) before
/// its first use. Dense, from 0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct StackId(pub u32);

/// A task of one event stream; defined by [`Event::Task`](crate::Event::Task) before its first
/// use. Dense, from 0, never reused, unlike [`TaskId`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TaskIndex(pub u32);
