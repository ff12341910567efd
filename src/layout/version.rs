//! A Python version.

use std::fmt;

/// A CPython release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonVersion {
    /// 3 in 3.12.1.
    pub major: u8,
    /// 12 in 3.12.1.
    pub minor: u8,
    /// 1 in 3.12.1.
    pub patch: u8,
    /// Release level and serial of PY_VERSION_HEX's lowest byte: 0xf0 is a final release.
    pub level: u8,
}

impl PythonVersion {
    /// A final release.
    #[must_use]
    pub const fn new(major: u8, minor: u8, patch: u8) -> Self {
        Self {
            major,
            minor,
            patch,
            level: 0xf0,
        }
    }

    /// From PY_VERSION_HEX (Include/patchlevel.h); `None` when no Python ever had it.
    #[must_use]
    pub fn from_hex(hex: u64) -> Option<Self> {
        let [level, patch, minor, major, 0, 0, 0, 0] = hex.to_le_bytes() else {
            return None;
        };
        matches!(major, 2 | 3).then_some(Self {
            major,
            minor,
            patch,
            level,
        })
    }

    /// True below 3.8, the oldest version with a layout.
    #[must_use]
    pub const fn is_too_old(self) -> bool {
        self.major < 3 || (self.major == 3 && self.minor < 8)
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        let serial = self.level & 0xf;
        match self.level >> 4 {
            0xa => write!(f, "a{serial}"),
            0xb => write!(f, "b{serial}"),
            0xc => write!(f, "rc{serial}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_python_prints_them() {
        let text = |hex| PythonVersion::from_hex(hex).map(|version| version.to_string());
        assert_eq!(text(0x030c_01f0).as_deref(), Some("3.12.1"));
        assert_eq!(text(0x030f_00c2).as_deref(), Some("3.15.0rc2"));
        assert_eq!(text(0x0909_0909), None);
        assert_eq!(text(u64::MAX), None);
    }
}
