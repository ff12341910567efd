//! A small histogram over many orders of magnitude.

/// Buckets of each power of two: a value is off by at most 1 part in 32.
const SUB_BUCKETS_LOG2: u32 = 4;
const SUB_BUCKETS: u64 = 1 << SUB_BUCKETS_LOG2;

/// A weighted histogram with buckets that grow with the value.
///
/// Only buckets in use take room: most places in a program hold a loop for a few distinct
/// lengths, and there are thousands of places.
#[derive(Clone, Debug, Default)]
pub(super) struct LogHistogram {
    /// (bucket, weight), by bucket.
    buckets: Vec<(u16, f64)>,
}

impl LogHistogram {
    /// Counts `value` with `weight`.
    pub fn add(&mut self, value: u64, weight: f64) {
        self.add_bucket(bucket_of(value), weight);
    }

    /// Counts everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, weight) in &other.buckets {
            self.add_bucket(bucket, weight);
        }
    }

    /// The same values with other weights: each bucket's times what `factor` says of its value.
    pub fn reweighed(&self, factor: impl Fn(u64) -> f64) -> Self {
        let buckets = self.buckets.iter();
        Self {
            buckets: buckets
                .map(|&(bucket, weight)| (bucket, weight * factor(middle_of(bucket))))
                .collect(),
        }
    }

    /// Forgets everything and keeps its memory.
    pub fn clear(&mut self) {
        self.buckets.clear();
    }

    /// The value below which the share `quantile` of the weight lies; 0 when empty.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let total: f64 = self.buckets.iter().map(|&(_, weight)| weight).sum();
        let mut remaining = total * quantile;
        for &(bucket, weight) in &self.buckets {
            remaining -= weight;
            if remaining <= 0.0 {
                return middle_of(bucket);
            }
        }
        self.buckets
            .last()
            .map_or(0, |&(bucket, _)| middle_of(bucket))
    }

    fn add_bucket(&mut self, bucket: u16, weight: f64) {
        match self
            .buckets
            .binary_search_by_key(&bucket, |&(known, _)| known)
        {
            Ok(position) => {
                if let Some((_, known)) = self.buckets.get_mut(position) {
                    *known += weight;
                }
            }
            Err(position) => self.buckets.insert(position, (bucket, weight)),
        }
    }
}

/// The bucket that holds `value`: values below 16 have one each, then 16 a power of two.
fn bucket_of(value: u64) -> u16 {
    if value < SUB_BUCKETS {
        return u16::try_from(value).unwrap_or(u16::MAX);
    }
    let exponent = value.ilog2() - SUB_BUCKETS_LOG2;
    let position = u64::from(exponent) * SUB_BUCKETS + (value >> exponent);
    u16::try_from(position).unwrap_or(u16::MAX)
}

/// The value in the middle of a bucket.
fn middle_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < 2 * SUB_BUCKETS {
        return bucket;
    }
    let exponent = bucket / SUB_BUCKETS - 1;
    let lowest = (SUB_BUCKETS + bucket % SUB_BUCKETS) << exponent;
    lowest + (1 << exponent) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_within_three_percent() {
        let mut value = 1_u64;
        while value < u64::MAX / 3 {
            let back = middle_of(bucket_of(value));
            assert!(
                back.abs_diff(value) <= value / 32,
                "{value} came back as {back}"
            );
            value += value / 20 + 1;
        }
        assert!(middle_of(bucket_of(u64::MAX)) > u64::MAX / 32 * 31);
    }

    #[test]
    fn quantiles_follow_the_weights() {
        let mut histogram = LogHistogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        histogram.add(1, 98.0);
        histogram.add(10, 1.5);
        histogram.add(100, 0.5);
        for (quantile, expected) in [(0.0, 1), (0.5, 1), (0.99, 10), (1.0, 102)] {
            assert_eq!(histogram.quantile(quantile), expected, "at {quantile}");
        }
        let heavy_tail = histogram.reweighed(|value| if value > 50 { 1_000.0 } else { 1.0 });
        assert_eq!(heavy_tail.quantile(0.5), 102);
        let mut merged = LogHistogram::default();
        merged.merge(&histogram);
        assert_eq!(merged.quantile(0.99), 10);
        merged.clear();
        assert_eq!(merged.quantile(0.99), 0);
    }
}
