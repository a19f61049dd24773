//! How much a source did within several windows, from cumulative counts, in bounded memory.
//!
//! All windows share one past. The newest part of it, as far back as the shortest window reaches,
//! is kept in slots of a [`PARTS`]th of that window; what the shortest window leaves behind moves on
//! to the slots of the next longer one, which are coarser, and so forth. Every slot holds the counts
//! as they stood at its end, and for each window there are the counts from before its oldest slot:
//! the growth within a window is one subtraction.
//!
//! # Memory
//!
//! A window adds at most [`PARTS`] slots and two, of four bytes for the time and four for each
//! counter that a rule of the class asks for, and only while the source does something.

use std::collections::VecDeque;

use super::{clock::Tenths, measure::Counter};

/// Parts a window is divided into. A slot is forgotten when its oldest part leaves the window, so a
/// window sees all that happened within the latest fifteen sixteenths of it, and nothing from before
/// it.
pub(super) const PARTS: u32 = 16;

/// Most values of a slot: its time and every counter.
const MAX_SLOT: usize = 1 + Counter::ALL.len();

/// Which windows a class has, and how many counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Lengths of the windows, ascending.
    pub(super) lengths: Vec<Tenths>,
    /// Counters in a slot.
    pub(super) columns: usize,
}

impl Shape {
    /// How far back it reaches.
    pub(super) fn longest(&self) -> Tenths {
        self.lengths.last().copied().unwrap_or(0)
    }

    /// How much time one slot of a window may take together. A slot that moves on from a shorter
    /// window is as long as that one's slots may be, so the next window adds only what is left.
    fn slot_length(&self, level: usize) -> Tenths {
        let shorter = level.checked_sub(1).map_or(0, |level| self.lengths[level]);
        ((self.lengths[level] - shorter) / PARTS).max(1)
    }

    const fn slot(&self) -> usize {
        1 + self.columns
    }
}

/// The past of one source in one class. All methods are to be given the same [`Shape`], and the
/// counts as they stand.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// When the slot began that is still growing; its counts are those that stand.
    open: Option<Tenths>,
    /// Before this time nothing leaves a window.
    due: Tenths,
    /// For each window the slots that no shorter one holds, oldest first, each its beginning and
    /// the counts at its end.
    levels: Vec<VecDeque<u32>>,
    /// For each window the counts when it opened. Empty: nothing happened within the longest.
    bases: Vec<u32>,
}

impl History {
    /// Whether nothing is known of the past.
    pub(super) fn is_empty(&self) -> bool {
        self.bases.is_empty()
    }

    /// Notes that the counts, which stood at `before`, have grown between the last tick and now.
    pub(super) fn record(&mut self, shape: &Shape, now: Tenths, before: &[u32]) {
        let Some(length) = shape.lengths.first() else {
            return;
        };
        if self.is_empty() {
            self.levels = vec![VecDeque::new(); shape.lengths.len()];
            self.bases = before.repeat(shape.lengths.len());
            self.due = Tenths::MAX;
        }
        match self.open {
            // The slot keeps its beginning: all of it will be forgotten when its oldest part
            // leaves the window, never later.
            Some(since) if now.saturating_sub(since) < shape.slot_length(0) => return,
            Some(since) => self.push(shape, 0, since, before),
            None => {}
        }
        self.open = Some(now);
        self.due = self.due.min(now.saturating_add(*length));
    }

    /// Adds to a window what began at `since`, and left the counts at `counts`.
    fn push(&mut self, shape: &Shape, level: usize, since: Tenths, counts: &[u32]) {
        let Some(slots) = self.levels.get_mut(level) else {
            return;
        };
        self.due = self.due.min(since.saturating_add(shape.lengths[level]));
        let last = slots.len().checked_sub(shape.slot());
        match last {
            Some(last) if since.saturating_sub(slots[last]) < shape.slot_length(level) => {
                for (value, count) in slots.range_mut(last + 1..).zip(counts) {
                    *value = *count;
                }
            }
            _ => {
                slots.push_back(since);
                slots.extend(counts);
            }
        }
    }

    /// Forgets what the windows have left behind.
    pub(super) fn advance(&mut self, shape: &Shape, now: Tenths, counts: &[u32]) {
        if self.is_empty() || now < self.due {
            return;
        }
        let mut slot = [0; MAX_SLOT];
        let slot = &mut slot[..shape.slot()];
        for (level, length) in shape.lengths.iter().enumerate() {
            let Some(opened) = now.checked_sub(*length) else {
                break;
            };
            while self.levels[level]
                .front()
                .is_some_and(|since| *since <= opened)
            {
                let values = self.levels[level].drain(..slot.len());
                for (value, kept) in values.zip(&mut *slot) {
                    *kept = value;
                }
                self.leave(shape, level, slot[0], &slot[1..]);
            }
            if level == 0
                && let Some(since) = self.open.take_if(|since| *since <= opened)
            {
                self.leave(shape, level, since, counts);
            }
        }
        let oldest = self.levels.iter().zip(&shape.lengths);
        let oldest = oldest.filter_map(|(slots, length)| Some((*slots.front()?, *length)));
        let open = self.open.zip(shape.lengths.first().copied());
        let due = oldest.chain(open);
        match due
            .map(|(since, length)| since.saturating_add(length))
            .min()
        {
            Some(due) => self.due = due,
            None => *self = Self::default(),
        }
    }

    /// A slot leaves a window for the next longer one.
    fn leave(&mut self, shape: &Shape, level: usize, since: Tenths, counts: &[u32]) {
        let base = level * shape.columns;
        self.bases[base..base + shape.columns].copy_from_slice(counts);
        self.push(shape, level + 1, since, counts);
    }

    /// Growth of a counter within a window: never more than there was.
    pub(super) fn growth(&self, shape: &Shape, level: usize, column: usize, count: u32) -> u32 {
        self.bases
            .get(level * shape.columns + column)
            .map_or(0, |base| count.wrapping_sub(*base))
    }

    /// The same past for other windows and counters: `columns` tells for each new column which old
    /// one it was. What was not counted has not grown, and what no window reached is lost.
    pub(super) fn reshaped(
        &self,
        (old, new): (&Shape, &Shape),
        columns: &[Option<usize>],
        counts: &[u32],
    ) -> Self {
        let mut history = Self::default();
        let Some(oldest) = self.bases.len().checked_sub(old.columns) else {
            return history;
        };
        let mut slots: Vec<(Tenths, Vec<u32>)> = Vec::new();
        for level in self.levels.iter().rev() {
            let mut values = level.iter().copied();
            while let Some(since) = values.next() {
                slots.push((since, values.by_ref().take(old.columns).collect()));
            }
        }
        slots.extend(self.open.map(|since| (since, counts.to_vec())));
        let mut before = rearranged(&self.bases[oldest..], columns);
        for (since, counts) in slots {
            history.advance(new, since, &before);
            history.record(new, since, &before);
            before = rearranged(&counts, columns);
        }
        history
    }

    /// When something happened last, or the slot began in which it did.
    #[cfg(test)]
    pub(super) fn latest(&self) -> Option<Tenths> {
        let newest = |slots: &VecDeque<u32>| {
            let columns = self.bases.len() / self.levels.len();
            slots.get(slots.len().checked_sub(columns + 1)?).copied()
        };
        self.open.or_else(|| self.levels.iter().find_map(newest))
    }

    /// Bytes it takes beyond its own size.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let slots: usize = self.levels.iter().map(VecDeque::len).sum();
        self.levels.len() * size_of::<VecDeque<u32>>() + (slots + self.bases.len()) * 4
    }
}

/// Counts in the order of other columns; what was not counted is 0.
pub(super) fn rearranged(counts: &[u32], columns: &[Option<usize>]) -> Vec<u32> {
    let value = |column: &Option<usize>| column.map_or(0, |column| counts[column]);
    columns.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(lengths: &[Tenths], columns: usize) -> Shape {
        Shape {
            lengths: lengths.to_vec(),
            columns,
        }
    }

    /// Growth within `length` before `now`, from all points.
    fn naive(points: &[(Tenths, u32)], now: Tenths, length: Tenths) -> u32 {
        let value_at = |time| points.iter().rev().find(|(at, _)| *at <= time);
        let last = points.last().map_or(0, |(_, value)| *value);
        let base = now
            .checked_sub(length)
            .and_then(value_at)
            .map_or(0, |(_, value)| *value);
        last - base
    }

    #[test]
    fn a_burst_is_seen_for_a_whole_window() {
        let shape = shape(&[640, 6400], 1);
        let mut history = History::default();
        history.record(&shape, 100, &[100]);
        history.advance(&shape, 739, &[130]);
        assert_eq!(history.growth(&shape, 0, 0, 130), 30);
        history.advance(&shape, 740, &[130]);
        assert_eq!(history.growth(&shape, 0, 0, 130), 0);
        assert_eq!(history.growth(&shape, 1, 0, 130), 30);
        history.advance(&shape, 6500, &[130]);
        assert!(history.is_empty());
    }

    #[test]
    fn a_source_that_never_rests_takes_bounded_memory() {
        // 10 minutes, an hour, a day, a week; ten counters; every ten seconds for eight days.
        let shape = shape(&[6_000, 36_000, 864_000, 6_048_000], 10);
        let mut history = History::default();
        let mut counts = [0_u32; 10];
        let mut most = 0;
        for second in (0..8 * 86_400).step_by(10) {
            let before = counts;
            counts.iter_mut().for_each(|count| *count += 1);
            history.advance(&shape, second * 10, &before);
            history.record(&shape, second * 10, &before);
            if second % 3_600 == 0 {
                most = most.max(history.bytes());
            }
        }
        // What docs/policy.md promises.
        assert!(most <= 3_200, "{most}");
    }

    proptest! {
        #[test]
        fn agrees_with_all_points_but_for_a_sixteenth_of_the_window(
            lengths in proptest::collection::btree_set(1_u32..100_000, 1..5),
            steps in proptest::collection::vec((1_u32..5_000, 0_u32..50), 1..400),
        ) {
            let lengths: Vec<_> = lengths.into_iter().collect();
            let shape = shape(&lengths, 1);
            let mut history = History::default();
            let (mut now, mut total, mut points) = (0, 0, Vec::new());
            for (step, growth) in steps {
                now += step;
                history.advance(&shape, now, &[total]);
                if growth > 0 {
                    history.record(&shape, now, &[total]);
                    total += growth;
                    points.push((now, total));
                }
                for (level, length) in lengths.iter().enumerate() {
                    let seen = history.growth(&shape, level, 0, total);
                    prop_assert!(seen <= naive(&points, now, *length));
                    prop_assert!(seen >= naive(&points, now, *length - *length / PARTS));
                }
                prop_assert!(history.levels.iter().map(VecDeque::len).sum::<usize>()
                    <= 2 * lengths.len() * (PARTS as usize + 2));
            }
        }

        #[test]
        fn another_shape_invents_nothing(
            old in proptest::collection::btree_set(1_u32..100_000, 1..4),
            new in proptest::collection::btree_set(1_u32..100_000, 1..4),
            steps in proptest::collection::vec((1_u32..5_000, 1_u32..50), 1..200),
        ) {
            let old = shape(&old.into_iter().collect::<Vec<_>>(), 2);
            let new = shape(&new.into_iter().collect::<Vec<_>>(), 3);
            let mut history = History::default();
            let (mut now, mut total, mut points) = (0, 0_u32, Vec::new());
            for (step, growth) in steps {
                now += step;
                history.advance(&old, now, &[total / 2, total]);
                let before = [total / 2, total];
                total += growth;
                history.record(&old, now, &before);
                points.push((now, total));
            }
            let mut other = history.reshaped((&old, &new), &[Some(1), None, Some(0)], &[total / 2, total]);
            other.advance(&new, now, &[total, 0, total / 2]);
            for (level, length) in new.lengths.iter().enumerate() {
                let seen = other.growth(&new, level, 0, total);
                prop_assert!(seen <= naive(&points, now, *length));
                prop_assert_eq!(other.growth(&new, level, 1, 0), 0);
            }
        }
    }
}
