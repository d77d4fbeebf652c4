//! Where all random numbers come from: one ChaCha8 generator for each purpose, made from a seed when it is needed.
//!
//! A generator is a function of the seed and of what it is for, so none is ever carried along or saved: a run that
//! resumes in epoch 7 shuffles as one that never stopped, and drawing more for one purpose changes nothing for another.

use ndarray_rand::rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What random numbers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// First values of the parameter of this index in the model's layout. A layer added at the end leaves the indices
    /// of all others as they are, and so their values.
    Parameter(usize),
    /// The order of the samples in this epoch.
    Shuffling {
        /// Counted from the first epoch of all training.
        epoch: u64,
    },
    /// What layers such as dropout draw in this step.
    Layers {
        /// Counted from the first step of all training.
        step: u64,
    },
}

/// A generator of random numbers for one purpose.
pub(crate) fn generator(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let (kind, index) = match purpose {
        Purpose::Parameter(index) => (0, index as u64),
        Purpose::Shuffling { epoch } => (1, epoch),
        Purpose::Layers { step } => (2, step),
    };
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    // ChaCha has 2⁶⁴ independent streams for a seed: two bits for the kind leave more indices than can be counted up
    // to.
    generator.set_stream(index << 2 | kind);
    generator
}

/// The number that a layer of this index is given in a part of a training step, to seed what it draws.
pub(crate) fn layer_number(seed: u64, step: u64, part: usize, layer: usize) -> u64 {
    let mut generator = generator(seed, Purpose::Layers { step });
    // Two words of the stream for each layer, without drawing those before them; a part has room for 2³² layers.
    generator.set_word_pos(2 * ((part as u128) << 32 | layer as u128));
    generator.next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, purpose: Purpose) -> u64 {
        generator(seed, purpose).next_u64()
    }

    #[test]
    fn a_generator_is_a_function_of_seed_and_purpose() {
        let purpose = Purpose::Shuffling { epoch: 3 };
        assert_eq!(first(42, purpose), first(42, purpose));
        assert_ne!(first(42, purpose), first(43, purpose));
    }

    #[test]
    fn purposes_and_indices_have_streams_of_their_own() {
        let mut seen: Vec<_> = (0..100)
            .flat_map(|i| {
                [Purpose::Parameter(i), Purpose::Shuffling { epoch: i as u64 }, Purpose::Layers { step: i as u64 }]
            })
            .map(|purpose| first(42, purpose))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 300);
    }

    #[test]
    fn layer_numbers_are_the_words_of_the_steps_stream() {
        let mut stream = generator(42, Purpose::Layers { step: 9 });
        // 40 numbers are 80 words: more than the 64 that ChaCha makes at once.
        for layer in 0..40 {
            assert_eq!(layer_number(42, 9, 0, layer), stream.next_u64(), "layer {layer}");
        }
        assert_ne!(layer_number(42, 9, 0, 0), layer_number(42, 10, 0, 0));
    }

    /// Whoever upgrades the generator must see that every seeded result changes.
    #[test]
    fn the_streams_are_those_of_the_first_release() {
        let first_numbers = [
            first(42, Purpose::Parameter(0)),
            first(42, Purpose::Parameter(1)),
            first(42, Purpose::Shuffling { epoch: 0 }),
            layer_number(42, 1, 0, 2),
        ];
        let expected = [
            12_578_764_544_318_200_737,
            16_805_319_813_727_100_726,
            13_222_472_167_927_179_408,
            7_246_030_367_917_377_468,
        ];
        assert_eq!(first_numbers, expected);
    }
}
