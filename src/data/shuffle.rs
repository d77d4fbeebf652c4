//! The order in which an epoch visits its samples: a shuffle that is a function of seed and epoch, and of nothing else.

use ndarray_rand::rand::RngCore;

use crate::random::{Purpose, generator};

/// Fills `order` with 0, 1, …, `samples` − 1 in the random order that belongs to `seed` and `epoch`.
///
/// Every order is equally likely: a Fisher–Yates shuffle of the identity, for i = `samples` − 1 down to 1: swap i with a
/// uniform j in 0..=i.
///
/// The order depends on the three numbers alone: not on what `order` held, on earlier epochs, on threads or on the
/// platform. So training that resumes at epoch 7 visits the samples as training that never stopped. No memory is
/// allocated if the capacity of `order` is at least `samples`.
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `samples` | none | any | how many there are to visit |
/// | `seed` | none | any | chooses the sequence of orders |
/// | `epoch` | none | below 2⁶² | counted from 0 |
///
/// # Errors
///
/// None.
///
/// # Source
///
/// Durstenfeld, *Algorithm 235: Random permutation* (1964), with the generator ChaCha8 (Bernstein 2008): `seed` is its
/// key, and each epoch has a stream of its own, apart from those that weights are drawn from.
///
/// # Example
///
/// ```
/// use plywood::data::{Batches, epoch_order};
///
/// let (mut order, mut batches) = (vec![], 0);
/// for epoch in 0..2 {
///     epoch_order(&mut order, 10, 42, epoch);
///     for batch in Batches::new(order.len(), 4)? {
///         println!("{:?}", &order[batch]);
///         batches += 1;
///     }
/// }
/// assert_eq!((batches, order.len()), (6, 10));
/// # Ok::<(), plywood::Error>(())
/// ```
pub fn epoch_order(order: &mut Vec<usize>, samples: usize, seed: u64, epoch: u64) {
    order.clear();
    order.extend(0..samples);
    shuffle(order, &mut generator(seed, Purpose::Shuffling { epoch }));
}

/// Brings a slice into random order, in place.
fn shuffle(order: &mut [usize], rng: &mut impl RngCore) {
    for i in (1..order.len()).rev() {
        order.swap(i, below(i as u64 + 1, rng) as usize);
    }
}

/// A uniform integer from 0 to `bound` − 1, for a `bound` of at least 1.
///
/// ⌊x · `bound` / 2⁶⁴⌋ for a random x, drawn again where x is one of the 2⁶⁴ mod `bound` numbers that would favour some
/// results (Lemire, *Fast random integer generation in an interval*, 2019).
///
/// Written out rather than left to `rand::Rng::random_range`, because a seed must always mean the same order: rand may
/// change its method with each 0.x release, as it did in 0.9, before which draws of `usize` depended on the platform's
/// pointer width. Draws here are of 64 bits on every platform.
fn below(bound: u64, rng: &mut impl RngCore) -> u64 {
    let mut draw = || u128::from(rng.next_u64()) * u128::from(bound);
    let mut product = draw();
    // The lower half of the product tells the numbers to reject; their count is below `bound`, and finding it costs a
    // division, so it is found only where it can matter.
    if (product as u64) < bound {
        let rejected = bound.wrapping_neg() % bound;
        while (product as u64) < rejected {
            product = draw();
        }
    }
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(samples: usize, seed: u64, epoch: u64) -> Vec<usize> {
        let mut order = vec![99; 3];
        epoch_order(&mut order, samples, seed, epoch);
        order
    }

    // Computed apart from this crate by a program of its own: ChaCha8 keyed as rand_core 0.9 does, on stream
    // 4 · epoch + 1, and the shuffle above.
    // A change here means that seeds have changed their meaning, which users must be told.
    #[test]
    fn a_seed_always_means_the_same_orders() {
        assert_eq!(order(10, 42, 0), [8, 2, 4, 6, 9, 0, 5, 3, 1, 7]);
        assert_eq!(order(10, 42, 1), [2, 1, 6, 7, 0, 9, 8, 4, 5, 3]);
        assert_eq!(order(10, 0, 0), [5, 1, 9, 0, 3, 2, 8, 4, 6, 7]);
        let long = order(60_000, 7, 3);
        assert_eq!((&long[..4], &long[59_996..]), (&[58694, 42387, 7441, 38312][..], &[40484, 3479, 52005, 10535][..]));
    }

    #[test]
    fn an_epoch_does_not_depend_on_those_before_it() {
        let mut reused = Vec::new();
        for epoch in 0..5 {
            epoch_order(&mut reused, 1000, 1, epoch);
            assert_eq!(reused, order(1000, 1, epoch));
        }
    }

    #[test]
    fn every_sample_is_visited_once() {
        for samples in [0, 1, 2, 3, 1000] {
            let mut sorted = order(samples, 5, 0);
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..samples), "{samples} samples");
        }
    }

    #[test]
    fn a_buffer_that_is_large_enough_is_kept() {
        let mut order = Vec::with_capacity(1000);
        let address = order.as_ptr();
        for samples in [1000, 10, 1000] {
            epoch_order(&mut order, samples, 0, 0);
            assert_eq!((order.len(), order.as_ptr(), order.capacity()), (samples, address, 1000));
        }
    }

    // Each of the 24 orders of 4 samples is expected 1000 times in 24,000 epochs, with a standard deviation of 31. The sum
    // of (count − 1000)² / 1000 is chi-squared with 23 degrees of freedom, above 50 for one seed in a thousand. Swapping
    // with any position in place of 0..=i, the classic mistake, gives more than 500.
    #[test]
    fn every_order_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            *counts.entry(order(4, 9, epoch)).or_insert(0.0) += 1.0;
        }
        assert_eq!(counts.len(), 24);
        let chi_squared: f64 = counts.values().map(|count: &f64| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_squared < 50.0, "{chi_squared}");
    }

    /// Hands out the given numbers, and panics when they are used up.
    struct Given(Vec<u64>);

    impl RngCore for Given {
        fn next_u64(&mut self) -> u64 {
            self.0.remove(0)
        }
        fn next_u32(&mut self) -> u32 {
            unreachable!("draws of 32 bits are not used")
        }
        fn fill_bytes(&mut self, _: &mut [u8]) {
            unreachable!("bytes are not used")
        }
    }

    #[test]
    fn draws_that_would_favour_a_result_are_rejected() {
        // 2⁶⁴ mod 3 = 1: of all x only 0 leaves a lower half below 1
        let third = u64::MAX / 3;
        for (draws, expected) in [
            (vec![0, 1], 0),
            (vec![0, 0, u64::MAX], 2),
            (vec![third], 0),
            (vec![third + 1], 1),
            (vec![2 * third], 1),
            (vec![2 * third + 1], 2),
        ] {
            let mut rng = Given(draws.clone());
            assert_eq!(below(3, &mut rng), expected, "{draws:?}");
            assert!(rng.0.is_empty(), "{draws:?} were not all drawn");
        }
        // nothing to reject for powers of two
        assert_eq!(below(1, &mut Given(vec![0])), 0);
        assert_eq!(below(1 << 63, &mut Given(vec![1])), 0);
        assert_eq!(below(1 << 63, &mut Given(vec![u64::MAX])), (1 << 63) - 1);
    }
}
