//! Cutting work into tasks that rayon's threads share.
//!
//! How work is cut depends on the shapes alone, never on the number of threads, so that no sum changes with it. Buffers
//! are cut along with the tasks; nothing is allocated.

use std::ops::Range;

/// Tasks into which a pass is cut at the most. With fewer than this many threads all of them have work to do; more
/// tasks would cost more in ends of tiles and partial sums than they give.
pub(crate) const MAX_TASKS: usize = 64;

/// Multiply-adds below which a task is not worth handing to another thread.
pub(crate) const MIN_WORK: usize = 1 << 19;

/// Multiply-adds below which a whole pass stays on its thread: another may be asleep, and to wake it takes as long as one
/// core needs for half of them.
pub(crate) const MIN_PASS: usize = 1 << 21;

/// Elements below which an elementwise task is not worth handing to another thread.
pub(crate) const MIN_ELEMENTS: usize = 1 << 14;

/// Items a task should take, of so many that each cost so many multiply-adds.
pub(crate) fn items_per_task(items: usize, work_per_item: usize) -> usize {
    if is_small(items, work_per_item) { items.max(1) } else { items_per_cut_task(items, work_per_item) }
}

/// Whether a pass of so many items is a single task.
pub(crate) fn is_small(items: usize, work_per_item: usize) -> bool {
    items.saturating_mul(work_per_item) < MIN_PASS
}

/// Items a task should take of a pass that is cut. Unlike those of a task of any pass, which are fewer as soon as the pass
/// is large enough to be cut, they never become fewer with more items.
pub(crate) fn items_per_cut_task(items: usize, work_per_item: usize) -> usize {
    items.div_ceil(MAX_TASKS).max(MIN_WORK.div_ceil(work_per_item.max(1))).clamp(1, items.max(1))
}

/// Something that can be cut between two tasks.
pub(crate) trait Divide: Sized + Send {
    /// What the first `tasks` tasks work on, and the rest.
    fn divide(self, tasks: usize) -> (Self, Self);
}

/// A buffer of which each task gets the next `per_task` elements; the last task may get fewer.
#[derive(Debug)]
pub(crate) struct Chunks<'a, T> {
    pub(crate) slice: &'a mut [T],
    per_task: usize,
}

impl<'a, T> Chunks<'a, T> {
    pub(crate) fn new(slice: &'a mut [T], per_task: usize) -> Self {
        Self { slice, per_task }
    }
}

impl<T: Send> Divide for Chunks<'_, T> {
    fn divide(self, tasks: usize) -> (Self, Self) {
        let at = (tasks * self.per_task).min(self.slice.len());
        let (head, tail) = self.slice.split_at_mut(at);
        (Self::new(head, self.per_task), Self::new(tail, self.per_task))
    }
}

impl<D: Divide> Divide for Option<D> {
    fn divide(self, tasks: usize) -> (Self, Self) {
        self.map_or((None, None), |data| {
            let (head, tail) = data.divide(tasks);
            (Some(head), Some(tail))
        })
    }
}

impl<A: Divide, B: Divide> Divide for (A, B) {
    fn divide(self, tasks: usize) -> (Self, Self) {
        let ((a, a_rest), (b, b_rest)) = (self.0.divide(tasks), self.1.divide(tasks));
        ((a, b), (a_rest, b_rest))
    }
}

impl<A: Divide, B: Divide, C: Divide> Divide for (A, B, C) {
    fn divide(self, tasks: usize) -> (Self, Self) {
        let ((a, a_rest), (b, b_rest), (c, c_rest)) =
            (self.0.divide(tasks), self.1.divide(tasks), self.2.divide(tasks));
        ((a, b, c), (a_rest, b_rest, c_rest))
    }
}

impl<A: Divide, B: Divide, C: Divide, D: Divide> Divide for (A, B, C, D) {
    fn divide(self, tasks: usize) -> (Self, Self) {
        let ((ab, ab_rest), (cd, cd_rest)) = ((self.0, self.1).divide(tasks), (self.2, self.3).divide(tasks));
        ((ab.0, ab.1, cd.0, cd.1), (ab_rest.0, ab_rest.1, cd_rest.0, cd_rest.1))
    }
}

/// Runs each task of the range with its part of the data.
pub(crate) fn each_task<D: Divide>(tasks: Range<usize>, data: D, run: &(impl Fn(usize, D) + Sync)) {
    each_stretch(tasks, 1, data, &|task: Range<usize>, data| run(task.start, data));
}

/// Halves a range of items until stretches of at most so many are left, and runs each with its part of the data: two
/// threads get equally much, where tasks of one length would leave a short one at the end.
pub(crate) fn each_stretch<D: Divide>(
    items: Range<usize>,
    most: usize,
    data: D,
    run: &(impl Fn(Range<usize>, D) + Sync),
) {
    match items.len() {
        0 => {}
        n if n <= most => run(items, data),
        n => {
            let (head, tail) = data.divide(n / 2);
            let middle = items.start + n / 2;
            rayon::join(
                || each_stretch(items.start..middle, most, head, run),
                || each_stretch(middle..items.end, most, tail, run),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_goes_to_its_task() {
        for (len, per_task) in [(1, 1), (10, 3), (64, 1), (100, 7), (5, 9)] {
            let mut out = vec![usize::MAX; len];
            let mut marks = vec![0; len.div_ceil(per_task)];
            let data = (Chunks::new(&mut out, per_task), Chunks::new(&mut marks, 1));
            each_task(0..len.div_ceil(per_task), data, &|task, (out, mark)| {
                out.slice.fill(task);
                mark.slice[0] += 1;
            });
            assert!(out.iter().enumerate().all(|(i, &task)| task == i / per_task), "{len} by {per_task}");
            assert!(marks.iter().all(|&count| count == 1), "{len} by {per_task}");
        }
    }

    #[test]
    fn stretches_are_halves() {
        for (items, most) in [(22, 4), (1, 3), (64, 1), (131, 8)] {
            let mut lengths = vec![0; items];
            each_stretch(0..items, most, Chunks::new(&mut lengths, 1), &|stretch, lengths| {
                assert_eq!(stretch.len(), lengths.slice.len());
                lengths.slice.fill(stretch.len());
            });
            let (least, largest) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
            assert!(*largest <= most && *least >= (most / 2).min(items).max(1), "{items} by {most}: {lengths:?}");
        }
    }

    #[test]
    fn tasks_are_enough_but_not_too_small() {
        assert_eq!(items_per_task(704, 1 << 30), 11);
        assert_eq!(items_per_task(3000, 1 << 10), 512);
        assert_eq!(items_per_task(1000, 1 << 10), 1000);
        assert_eq!(items_per_task(3, 1), 3);
        assert_eq!(items_per_task(0, 1), 1);
    }
}
