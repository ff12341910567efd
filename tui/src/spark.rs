//! A sparkline of the worst turn of each second.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::table::put;
use crate::theme::Theme;
use crate::views::Thresholds;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The bar grows with the logarithm of the time: a step each time it grows by about three, from
/// 1 ms on, so that one huge stall does not flatten all else. Kept with [`LEGEND`].
const STEPS_NS: [u64; 7] = [
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
];

/// What the help says about the bars.
pub(crate) const LEGEND: &str =
    "worst turn of each second, newest right: ▁ under 1 ms  ▃ 3 ms  ▄ 10 ms  ▆ 100 ms  █ 1 s";

/// Draws the seconds, newest at the right. Where they are more than there are cells, a cell shows
/// the worst of its seconds, so that no stall gets lost.
pub(crate) fn draw_sparkline(
    buffer: &mut Buffer,
    area: Rect,
    seconds_ns: &[u64],
    thresholds: Thresholds,
    theme: Theme,
) {
    let bars = condense(seconds_ns, usize::from(area.width));
    let first = usize::from(area.width) - bars.len();
    for (x, worst_ns) in (first..).zip(bars) {
        let Ok(x) = u16::try_from(x) else { return };
        let mut bytes = [0; 4];
        let bar = if worst_ns == 0 {
            " "
        } else {
            bar(worst_ns).encode_utf8(&mut bytes)
        };
        put(
            buffer,
            area,
            (area.x + x, area.y),
            bar,
            theme.style(thresholds.tone(worst_ns)),
        );
    }
}

/// The bar for a time.
fn bar(ns: u64) -> char {
    LEVELS[STEPS_NS.iter().take_while(|step| ns >= **step).count()]
}

/// At most `cells` values, each the worst of as many seconds, counted from the newest.
fn condense(seconds_ns: &[u64], cells: usize) -> Vec<u64> {
    if cells == 0 {
        return Vec::new();
    }
    let each = seconds_ns.len().div_ceil(cells).max(1);
    let worst = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let mut bars: Vec<u64> = seconds_ns.rchunks(each).map(worst).collect();
    bars.reverse();
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spike_gets_lost() {
        let mut seconds = vec![1; 60];
        seconds[0] = 900;
        seconds[31] = 500;
        assert_eq!(condense(&seconds, 7), [900, 1, 1, 500, 1, 1, 1]);
        assert_eq!(condense(&seconds, 60), seconds);
        assert_eq!(condense(&[1, 2], 60), [1, 2]);
        assert_eq!(condense(&[], 5), [0; 0]);
    }

    #[test]
    fn bars_grow_with_the_logarithm() {
        let bars: Vec<char> = [
            1,
            999_999,
            1_000_000,
            10_000_000,
            99_999_999,
            100_000_000,
            u64::MAX,
        ]
        .map(bar)
        .to_vec();
        assert_eq!(bars, ['▁', '▁', '▂', '▄', '▅', '▆', '█']);
    }
}
