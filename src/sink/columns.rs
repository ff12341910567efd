//! How wide the columns of a table are, so that a line fits the terminal.

/// Blanks between two columns.
pub(super) const GAP: usize = 2;

/// What a column would like to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Below this it is not legible; less only if its content is shorter.
    pub(super) min: usize,
    /// Its content in full; 0 for a column that has none and is left out.
    pub(super) natural: usize,
    /// So many columns it keeps more than the others when all shrink.
    pub(super) head_start: usize,
    /// Which column goes first when not even the minima fit; 0 stays.
    pub(super) drop_rank: u8,
}

impl Wish {
    fn floor(self) -> usize {
        self.min.min(self.natural)
    }
}

/// The width of each column; `None` for one that is left out.
///
/// Columns shrink from the widest on, so that short ones stay whole.
pub(super) fn fit(wishes: &[Wish], width: usize) -> Vec<Option<usize>> {
    let mut widths: Vec<Option<usize>> = wishes
        .iter()
        .map(|wish| (wish.natural > 0).then_some(wish.natural))
        .collect();
    while total(wishes, &widths, Wish::floor) > width {
        let Some(index) = first_to_drop(wishes, &widths) else {
            break;
        };
        widths[index] = None;
    }
    while taken(&widths) > width {
        let Some(index) = widest_above_floor(wishes, &widths) else {
            break;
        };
        widths[index] = widths[index].map(|columns| columns - 1);
    }
    widths
}

fn first_to_drop(wishes: &[Wish], widths: &[Option<usize>]) -> Option<usize> {
    (0..wishes.len())
        .filter(|&index| widths[index].is_some() && wishes[index].drop_rank > 0)
        .max_by_key(|&index| wishes[index].drop_rank)
}

fn widest_above_floor(wishes: &[Wish], widths: &[Option<usize>]) -> Option<usize> {
    (0..wishes.len())
        .filter(|&index| widths[index].is_some_and(|columns| columns > wishes[index].floor()))
        .max_by_key(|&index| {
            widths[index].map(|columns| columns.saturating_sub(wishes[index].head_start))
        })
}

fn taken(widths: &[Option<usize>]) -> usize {
    let kept = widths.iter().flatten();
    kept.clone().sum::<usize>() + GAP * kept.count().saturating_sub(1)
}

fn total(wishes: &[Wish], widths: &[Option<usize>], size: impl Fn(Wish) -> usize) -> usize {
    let kept: Vec<Option<usize>> = wishes
        .iter()
        .zip(widths)
        .map(|(wish, kept)| kept.map(|_| size(*wish)))
        .collect();
    taken(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn wish(min: usize, natural: usize, drop_rank: u8) -> Wish {
        Wish {
            min,
            natural,
            head_start: 0,
            drop_rank,
        }
    }

    #[test]
    fn columns_shrink_from_the_widest_then_go() {
        let wishes = [
            wish(4, 4, 2),
            wish(8, 9, 0),
            wish(10, 30, 0),
            wish(6, 60, 1),
        ];
        let cases = [
            (200, vec![Some(4), Some(9), Some(30), Some(60)]),
            (80, vec![Some(4), Some(9), Some(30), Some(31)]),
            (60, vec![Some(4), Some(9), Some(21), Some(20)]),
            (34, vec![Some(4), Some(8), Some(10), Some(6)]),
            (33, vec![None, Some(9), Some(10), Some(10)]),
            (24, vec![None, Some(9), Some(13), None]),
            (5, vec![None, Some(8), Some(10), None]),
        ];
        for (width, expected) in cases {
            let widths = fit(&wishes, width);
            if width >= 24 {
                assert!(taken(&widths) <= width, "{width} {widths:?}");
            }
            assert_eq!(widths, expected, "{width}");
        }
    }

    #[test]
    fn a_head_start_is_kept() {
        let important = Wish {
            head_start: 6,
            ..wish(4, 30, 0)
        };
        assert_eq!(fit(&[wish(4, 30, 0), important], 30), [Some(11), Some(17)]);
    }

    #[test]
    fn an_empty_column_takes_no_room() {
        assert_eq!(fit(&[wish(4, 0, 0), wish(4, 10, 0)], 10), [None, Some(10)]);
        assert_eq!(fit(&[], 10), []);
    }
}
