//! Ascending integers to count in, with a table that says about where to look.

use super::lanes::{Lanes, WIDTH, prefetch};

/// Ascending integers, equal ones allowed, to count in how many are at or below one: see [`View`].
///
/// The integers between the lowest and the highest are cut into buckets of one width, and a table says where each bucket
/// begins (interpolation by one step). One comparison of eight neighbours ends a search where integers are spread about
/// evenly; where many share a bucket, a binary search goes before it.
#[derive(Debug)]
pub(super) struct Column {
    values: Box<[i64]>,
    buckets: Box<[u16]>,
    lowest: i64,
    shift: u8,
}

/// A column as a search uses it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The integers, then `WIDTH` more of the highest there can be.
    values: &'a [i64],
    /// How many integers, 65,535 at most, lie in the buckets before each. Never empty.
    buckets: &'a [u16],
    lowest: i64,
    /// Bits that number the integers within one bucket.
    shift: u8,
}

impl Column {
    /// A column of `values`, at least one, with about `crowd` to a bucket.
    pub(super) fn new(mut values: Vec<i64>, crowd: usize) -> Self {
        debug_assert!(values.is_sorted());
        let len = values.len();
        let (lowest, highest) = (values[0], values[len - 1]);
        let bits = (len / crowd).next_power_of_two().ilog2();
        let span = highest.wrapping_sub(lowest) as u64;
        let shift = (u64::BITS - span.leading_zeros())
            .saturating_sub(bits)
            .min(u64::BITS - 1);
        let mut buckets = Vec::with_capacity(1 << bits);
        for (before, value) in values.iter().enumerate() {
            let bucket = value.wrapping_sub(lowest) as u64 >> shift;
            let before = u16::try_from(before).unwrap_or(u16::MAX);
            while buckets.len() as u64 <= bucket {
                buckets.push(before);
            }
        }
        values.resize(len + WIDTH, i64::MAX);
        Self {
            values: values.into(),
            buckets: buckets.into(),
            lowest,
            shift: shift as u8,
        }
    }

    /// The column as a search uses it.
    #[inline(always)]
    pub(super) fn view(&self) -> View<'_> {
        View {
            values: &self.values,
            buckets: &self.buckets,
            lowest: self.lowest,
            shift: self.shift,
        }
    }

    /// Bytes of memory, without the struct itself.
    pub(super) fn nbytes(&self) -> usize {
        size_of_val(&*self.values) + size_of_val(&*self.buckets)
    }
}

impl View<'_> {
    /// How many integers.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.values.len() - WIDTH
    }

    /// Integer `position`, which has to exist.
    #[inline(always)]
    pub(super) fn get(&self, position: usize) -> i64 {
        self.values[position]
    }

    /// Integer `position`, or the lowest there can be if there are not so many.
    #[inline(always)]
    pub(super) fn get_or_lowest(&self, position: usize) -> i64 {
        self.values.get(position).copied().unwrap_or(i64::MIN)
    }

    /// How many of the integers are at or below `value`.
    #[inline(always)]
    pub(super) fn rank<L: Lanes>(&self, value: i64) -> usize {
        self.rank_from::<L>(self.about(self.bucket(value)), value)
    }

    /// The bucket of `value`.
    #[inline(always)]
    pub(super) fn bucket(&self, value: i64) -> usize {
        let above = value.max(self.lowest).wrapping_sub(self.lowest) as u64;
        ((above >> self.shift) as usize).min(self.buckets.len() - 1)
    }

    /// How many of the integers are in buckets before `bucket`, or fewer.
    #[inline(always)]
    pub(super) fn about(&self, bucket: usize) -> usize {
        usize::from(self.buckets[bucket])
    }

    /// How many of the integers are at or below `value`, given what [`View::about`] says of its bucket.
    #[inline(always)]
    pub(super) fn rank_from<L: Lanes>(&self, about: usize, value: i64) -> usize {
        let rank = match self.values[about..].first_chunk() {
            Some(window) => L::rank(window, value),
            None => 0,
        };
        if rank == WIDTH {
            return self.rank_above(about + WIDTH, value);
        }
        about + rank
    }

    /// Starts to bring near what [`View::about`] reads.
    #[inline(always)]
    pub(super) fn prefetch_bucket(&self, bucket: usize) {
        prefetch(self.buckets.as_ptr().wrapping_add(bucket));
    }

    /// Starts to bring near what [`View::rank_from`] reads first.
    #[inline(always)]
    pub(super) fn prefetch_from(&self, about: usize) {
        let first = self.values.as_ptr().wrapping_add(about);
        prefetch(first);
        prefetch(first.wrapping_add(WIDTH - 1));
    }

    /// The rank of `value`, given that integer number `low - 1` is at or below it: a binary search whose steps are moves,
    /// not jumps.
    #[inline(never)]
    fn rank_above(&self, low: usize, value: i64) -> usize {
        let low = low.min(self.len());
        low + self.values[low..self.len()].partition_point(|each| *each <= value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Plain;
    use super::*;

    fn check(values: &[i64], crowd: usize) {
        let column = Column::new(values.to_vec(), crowd);
        let column = column.view();
        let asked = values
            .iter()
            .step_by(values.len() / 50 + 1)
            .flat_map(|value| [value.saturating_sub(1), *value, value.saturating_add(1)]);
        for value in asked.chain([i64::MIN, 0, i64::MAX - 1, i64::MAX]) {
            let expected = values.partition_point(|each| *each <= value);
            let rank = column.rank::<Plain>(value);
            assert_eq!(rank, expected, "{value} of {} by {crowd}", values.len());
        }
        assert!((0..values.len()).all(|position| column.get(position) == values[position]));
    }

    #[test]
    fn ranks_as_a_count_does_at_every_size_and_spread() {
        for len in [1, 2, 7, 8, 9, 255, 256, 4097, 70_000] {
            let numbers = 0..len as i64;
            let even: Vec<i64> = numbers.clone().map(|i| i * 1_000 - 5_000).collect();
            let wide: Vec<i64> = numbers
                .clone()
                .map(|i| i64::MIN.wrapping_add((u64::MAX / len as u64 * i as u64) as i64))
                .collect();
            let thrice: Vec<i64> = numbers.clone().map(|i| i / 3).collect();
            let skewed: Vec<i64> = numbers.clone().map(|i| i * i * i).collect();
            let mut outlier = numbers.collect::<Vec<_>>();
            outlier[len - 1] = i64::MAX;
            let equal = vec![7; len];
            for values in [even, wide, thrice, skewed, outlier, equal] {
                for crowd in [1, 4] {
                    check(&values, crowd);
                }
            }
        }
    }

    #[test]
    fn the_highest_integer_is_told_from_what_fills_up() {
        check(&[i64::MIN, 1, i64::MAX], 1);
        check(&[i64::MAX; 20], 1);
    }
}
