//! One optimizer step over all parameters of a model: cut into pieces that are updated in parallel.

use super::{MAX_SLOTS, Optimizer, Update};
use crate::scalar::Scalar;

/// Elements of a piece. With four or five buffers of `f32` that is a third of a megabyte: little enough for a core's
/// own cache, and long enough to be worth a task.
const PIECE: usize = 16 * 1024;

/// Updates all parameters: `gradients` and each of the slots are as long as they.
///
/// Pieces begin at multiples of [`PIECE`], whatever the number of threads, and updates are elementwise, so the bits are
/// those of one sequential pass. Nothing is allocated.
pub(crate) fn step<T: Scalar>(
    optimizer: &dyn Optimizer<T>,
    step: u64,
    parameters: &mut [T],
    gradients: &[T],
    slots: &mut [Vec<T>],
) {
    assert_eq!(parameters.len(), gradients.len(), "gradients have the parameters' layout");
    assert!(slots.iter().all(|slot| slot.len() == parameters.len()), "slots have the parameters' layout");
    assert!(slots.len() <= MAX_SLOTS, "no optimizer has more than {MAX_SLOTS} slots");
    let count = slots.len();
    let mut slots = slots.iter_mut();
    let slots = std::array::from_fn(|_| slots.next().map(Vec::as_mut_slice).unwrap_or_default());
    Pass { optimizer, step, slots: count }.run(parameters, gradients, slots);
}

/// What is the same for all pieces.
#[derive(Debug, Clone, Copy)]
struct Pass<'o, T: Scalar> {
    optimizer: &'o dyn Optimizer<T>,
    step: u64,
    /// How many of the `MAX_SLOTS` there are; the others are empty.
    slots: usize,
}

impl<T: Scalar> Pass<'_, T> {
    fn run<'a>(self, parameters: &'a mut [T], gradients: &'a [T], mut slots: [&'a mut [T]; MAX_SLOTS]) {
        if parameters.len() <= PIECE {
            let slots = &mut slots[..self.slots];
            return self.optimizer.update(Update { step: self.step, parameters, gradients, slots });
        }
        let middle = parameters.len().div_ceil(PIECE) / 2 * PIECE;
        let (parameters, more_parameters) = parameters.split_at_mut(middle);
        let (gradients, more_gradients) = gradients.split_at(middle);
        // Leaves the second half in `slots`; of a slot that does not exist both halves are empty.
        let first_slots = slots.each_mut().map(|slot| slot.split_off_mut(..middle).unwrap_or_default());
        rayon::join(
            || self.run(parameters, gradients, first_slots),
            || self.run(more_parameters, more_gradients, slots),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Result;
    use crate::optimizers::{Adam, RMSprop, SGD};

    /// Gives each parameter what every buffer holds at its place, each times another number, and notes the pieces'
    /// lengths.
    #[derive(Debug, Default)]
    struct Probe {
        slots: usize,
        lengths: Mutex<Vec<usize>>,
    }

    impl Optimizer<f64> for Probe {
        fn name(&self) -> &'static str {
            "Probe"
        }
        fn slots(&self) -> usize {
            self.slots
        }
        fn check(&self) -> Result<()> {
            Ok(())
        }
        fn learning_rate(&self) -> f64 {
            1.0
        }
        fn set_learning_rate(&mut self, _: f64) {}
        fn update(&self, piece: Update<'_, '_, f64>) {
            assert_eq!(piece.slots.len(), self.slots);
            for (i, parameter) in piece.parameters.iter_mut().enumerate() {
                *parameter += piece.step as f64 * piece.gradients[i];
                for (k, slot) in (1..).zip(piece.slots.iter_mut()) {
                    *parameter += f64::from(k) * slot[i];
                    slot[i] = -slot[i];
                }
            }
            assert!(piece.slots.iter().all(|slot| slot.len() == piece.parameters.len()));
            self.lengths.lock().unwrap().push(piece.parameters.len());
        }
    }

    #[test]
    fn every_element_meets_its_own_gradient_and_slots_once() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 7] {
            for slots in 0..=MAX_SLOTS {
                let probe = Probe { slots, ..Probe::default() };
                let mut parameters: Vec<_> = (0..len).map(|i| i as f64).collect();
                let gradients: Vec<_> = (0..len).map(|i| 0.5 * i as f64).collect();
                // Slot k holds k times the index.
                let mut buffers: Vec<Vec<_>> =
                    (1..=slots).map(|k| (0..len).map(|i| (k * i) as f64).collect()).collect();
                step(&probe, 4, &mut parameters, &gradients, &mut buffers);

                // 1 + 4 · ½ + (1² + … + slots²): no other pairing of slots gives as much.
                let factor = 3 + (1..=slots).map(|k| k * k).sum::<usize>();
                assert!(parameters.iter().enumerate().all(|(i, &p)| p == (factor * i) as f64), "{len}, {slots} slots");
                for (k, buffer) in (1..).zip(&buffers) {
                    assert!(buffer.iter().enumerate().all(|(i, &s)| s == -((k * i) as f64)), "{len}, slot {k}");
                }
                let mut lengths = probe.lengths.into_inner().unwrap();
                lengths.sort_unstable_by(|a, b| b.cmp(a));
                assert_eq!(lengths.iter().sum::<usize>(), len);
                assert!(lengths.iter().rev().skip(1).all(|&piece| piece == PIECE), "{len}: {lengths:?}");
            }
        }
    }

    /// Parameters and slots after three steps, each taken by `take`.
    fn three_steps(
        optimizer: &dyn Optimizer<f32>,
        len: usize,
        take: impl Fn(u64, &mut [f32], &[f32], &mut [Vec<f32>]),
    ) -> Vec<Vec<f32>> {
        let mut parameters: Vec<_> = (0..len).map(|i| (i % 997) as f32 / 1000.0 - 0.5).collect();
        let gradients: Vec<_> = (0..len).map(|i| (i % 1009) as f32 / 1000.0 - 0.5).collect();
        let mut slots = vec![vec![0.0; len]; optimizer.slots()];
        for step in 1..=3 {
            take(step, &mut parameters, &gradients, &mut slots);
        }
        slots.push(parameters);
        slots
    }

    #[test]
    fn bits_are_those_of_one_sequential_pass() {
        let optimizers: [&dyn Optimizer<f32>; 4] = [
            &RMSprop::default(),
            &RMSprop::pytorch().centered(true).momentum(0.9).weight_decay(0.1),
            &SGD::default().momentum(0.9).nesterov(true),
            &Adam::default(),
        ];
        let pools = [1, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        for optimizer in optimizers {
            for len in [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
                let expected = three_steps(optimizer, len, |step, parameters, gradients, slots| {
                    let mut slots: Vec<_> = slots.iter_mut().map(Vec::as_mut_slice).collect();
                    optimizer.update(Update { step, parameters, gradients, slots: &mut slots });
                });
                for pool in &pools {
                    let got = three_steps(optimizer, len, |number, parameters, gradients, slots| {
                        pool.install(|| step(optimizer, number, parameters, gradients, slots));
                    });
                    let bits =
                        |buffers: &[Vec<f32>]| buffers.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>();
                    assert!(
                        bits(&expected) == bits(&got),
                        "{optimizer:?} on {len} parameters, {} threads",
                        pool.current_num_threads()
                    );
                }
            }
        }
    }
}
