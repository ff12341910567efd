//! Moments that are known only to lie between two others.

/// A moment that lies between two others; exact if these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Between {
    /// Not before this.
    pub earliest: u64,
    /// Not after this.
    pub latest: u64,
}

impl Between {
    /// A moment that is known exactly.
    pub const fn exact(at: u64) -> Self {
        Self {
            earliest: at,
            latest: at,
        }
    }

    /// A moment between `one` and `other`, in whichever order they come.
    pub fn new(one: u64, other: u64) -> Self {
        Self {
            earliest: one.min(other),
            latest: one.max(other),
        }
    }

    /// The best guess at the moment.
    pub const fn middle(self) -> u64 {
        self.earliest.midpoint(self.latest)
    }

    /// Distance of the two bounds.
    pub const fn width(self) -> u64 {
        self.latest.saturating_sub(self.earliest)
    }
}

/// A length of time that lies between two others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length {
    /// At least this.
    pub shortest: u64,
    /// At most this.
    pub longest: u64,
}

impl Length {
    /// The best guess at the length.
    pub const fn middle(self) -> u64 {
        self.shortest.midpoint(self.longest)
    }

    /// How far the true length can be from [`middle`](Self::middle).
    pub const fn uncertainty(self) -> u64 {
        self.longest.saturating_sub(self.shortest).div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guess_is_never_further_off_than_it_says() {
        for (one, other) in [(0, 0), (3, 8), (8, 3), (u64::MAX, u64::MAX - 1)] {
            let length = Length {
                shortest: one.min(other),
                longest: one.max(other),
            };
            assert!(length.middle() - length.shortest <= length.uncertainty());
            assert!(length.longest - length.middle() <= length.uncertainty());
            let moment = Between::new(one, other);
            assert!(moment.earliest <= moment.middle() && moment.middle() <= moment.latest);
            assert_eq!(moment.width(), length.longest - length.shortest);
        }
    }
}
