//! How well the sampling went, in words.

use asyncspy_model::SamplingQuality;

use super::units::counted;

/// `6150 samples, 6100 by the kernel, 3 late, 2 torn`: what is zero is left out, the number of
/// samples never.
pub(super) fn sampling(quality: &SamplingQuality) -> String {
    let mut parts = vec![counted(quality.samples, "sample")];
    let notes = [
        (quality.in_kernel, "by the kernel"),
        (quality.late, "late"),
        (quality.skipped, "skipped"),
        (quality.torn, "torn"),
        (quality.failed, "failed"),
        (quality.dropped, "dropped"),
    ];
    for (count, note) in notes {
        if count > 0 {
            parts.push(format!("{count} {note}"));
        }
    }
    parts.join(", ")
}

/// True if so much was lost that the figures may mislead: more than a twentieth of the ticks gave
/// nothing, or events were dropped.
pub(super) fn is_poor(quality: &SamplingQuality) -> bool {
    let ticks = quality.samples.saturating_add(quality.failed);
    let ticks = ticks.saturating_add(quality.skipped);
    let lost = quality
        .failed
        .saturating_add(quality.skipped)
        .saturating_add(quality.torn);
    quality.samples == 0 || quality.dropped > 0 || lost > ticks / 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_is_named() {
        let mut quality = SamplingQuality {
            samples: 100,
            ..SamplingQuality::default()
        };
        assert_eq!(sampling(&quality), "100 samples");
        assert!(!is_poor(&quality));
        quality.late = 7;
        quality.torn = 6;
        assert_eq!(sampling(&quality), "100 samples, 7 late, 6 torn");
        assert!(is_poor(&quality));
        assert!(is_poor(&SamplingQuality::default()));
        quality.in_kernel = 90;
        let text = "100 samples, 90 by the kernel, 7 late, 6 torn";
        assert_eq!(sampling(&quality), text);
    }
}
