//! One optimizer step over all parameters of a model: cut into pieces that are updated in parallel, and taken as a whole
//! or not at all.

use super::{MAX_SLOTS, Magnitudes, Optimizer, Update};
use crate::kernels::dispatch::vectorized;
use crate::kernels::reduce::accumulate;
use crate::scalar::Scalar;

/// Elements of a piece. With four or five buffers of `f32` that is a third of a megabyte: little enough for a core's
/// own cache, and long enough to be worth a task.
pub(crate) const PIECE: usize = 16 * 1024;

/// Takes steps, and refuses those that would make a parameter or slot infinite or NaN: they change nothing.
///
/// Whether a step is to be refused must be known before the first element is written. Mostly the optimizer can tell from
/// the largest numbers there are ([`Optimizer::reach`]): those of the gradients are looked for in each step, those of the
/// rest are what the last step could reach. Where that tells nothing, the step is computed on copies.
#[derive(Debug)]
pub(crate) struct Steps<T> {
    /// Bounds of parameters and slots as they are, if known.
    known: Option<Magnitudes>,
    /// The copies, made by the first step that needs them.
    copies: Option<Copies<T>>,
}

#[derive(Debug)]
struct Copies<T> {
    parameters: Vec<T>,
    slots: Vec<Vec<T>>,
}

/// The first element that a step would make infinite or NaN: of the parameters, or else of the slots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NonFinite<T> {
    /// Its index in the layout of the parameters.
    pub(crate) index: usize,
    /// The slot it is in; none for a parameter.
    pub(crate) slot: Option<usize>,
    /// What it would become.
    pub(crate) value: T,
}

// not derived: `T` needs no default
impl<T> Default for Steps<T> {
    fn default() -> Self {
        Self { known: None, copies: None }
    }
}

impl<T: Scalar> Steps<T> {
    /// To be called when parameters or slots have become others than the last step left.
    pub(crate) fn forget(&mut self) {
        self.known = None;
    }

    /// Takes a step, or refuses it unless `regardless`: `gradients` and each of the slots are as long as the parameters.
    ///
    /// Pieces begin at multiples of [`PIECE`], whatever the number of threads, and updates are elementwise, so the bits
    /// are those of one sequential pass, in place or on copies.
    pub(crate) fn take(
        &mut self,
        optimizer: &dyn Optimizer<T>,
        step: u64,
        parameters: &mut [T],
        gradients: &[T],
        slots: &mut [Vec<T>],
        regardless: bool,
    ) -> Result<(), NonFinite<T>> {
        assert_eq!(parameters.len(), gradients.len(), "gradients have the parameters' layout");
        assert!(slots.iter().all(|slot| slot.len() == parameters.len()), "slots have the parameters' layout");
        assert!(slots.len() <= MAX_SLOTS, "no optimizer has more than {MAX_SLOTS} slots");
        let pass = Pass { optimizer, step, slots: slots.len() };
        let reached = self.reach(pass, parameters, gradients, slots);
        self.known = reached;
        if reached.is_some() || regardless {
            pass.run(parameters, gradients, of_slots(slots));
            return Ok(());
        }

        let make = || Copies { parameters: parameters.to_vec(), slots: slots.to_vec() };
        let copies = self.copies.get_or_insert_with(make);
        copies.parameters.copy_from_slice(parameters);
        copies.slots.iter_mut().zip(&*slots).for_each(|(copy, slot)| copy.copy_from_slice(slot));
        pass.run(&mut copies.parameters, gradients, of_slots(&mut copies.slots));
        if let Some(refused) = copies.non_finite() {
            return Err(refused);
        }
        parameters.copy_from_slice(&copies.parameters);
        slots.iter_mut().zip(&copies.slots).for_each(|(slot, copy)| slot.copy_from_slice(copy));
        Ok(())
    }

    /// How large parameters and slots can become by a step, if it is sure that nothing overflows.
    fn reach(&self, pass: Pass<'_, T>, parameters: &[T], gradients: &[T], slots: &[Vec<T>]) -> Option<Magnitudes> {
        // who cannot even tell of zeros has no rule
        pass.optimizer.reach(pass.step, &Magnitudes::default())?;
        let gradients = magnitude(gradients);
        let reach = |now: Magnitudes| pass.optimizer.reach(pass.step, &Magnitudes { gradients, ..now });
        // bounds grow with each step, and at last it takes another look at the numbers themselves
        self.known.and_then(reach).or_else(|| {
            let mut now = Magnitudes { parameters: magnitude(parameters), ..Magnitudes::default() };
            for (k, slot) in slots.iter().enumerate() {
                now.slots[k] = magnitude(slot);
                now.below_zero[k] = slot.iter().any(|&value| value < T::zero());
            }
            reach(now)
        })
    }
}

impl<T: Scalar> Copies<T> {
    fn non_finite(&self) -> Option<NonFinite<T>> {
        let slots = self.slots.iter().enumerate().map(|(slot, values)| (Some(slot), values));
        std::iter::once((None, &self.parameters)).chain(slots).find_map(|(slot, values)| {
            if T::sum_of_magnitudes(values).is_finite() {
                return None;
            }
            let index = values.iter().position(|value| !value.is_finite())?;
            Some(NonFinite { index, slot, value: values[index] })
        })
    }
}

/// A whole step, whatever comes out.
pub(crate) fn step<T: Scalar>(
    optimizer: &dyn Optimizer<T>,
    step: u64,
    parameters: &mut [T],
    gradients: &[T],
    slots: &mut [Vec<T>],
) {
    let taken = Steps::default().take(optimizer, step, parameters, gradients, slots, true);
    debug_assert!(taken.is_ok(), "it was to be taken regardless");
}

/// Slots as they are cut into pieces: those that do not exist are empty.
fn of_slots<T>(slots: &mut [Vec<T>]) -> [&mut [T]; MAX_SLOTS] {
    let mut slots = slots.iter_mut();
    std::array::from_fn(|_| slots.next().map(Vec::as_mut_slice).unwrap_or_default())
}

/// A bound of the numbers' absolute values; infinite or NaN if one of them is.
fn magnitude<T: Scalar>(values: &[T]) -> f64 {
    if values.len() <= PIECE {
        return T::sum_of_magnitudes(values).to_f64().expect("f32 and f64 are f64s");
    }
    let (first, second) = values.split_at(values.len().div_ceil(PIECE) / 2 * PIECE);
    let (first, second) = rayon::join(|| magnitude(first), || magnitude(second));
    // unlike f64::max, this lets NaN pass
    if first <= second || second.is_nan() { second } else { first }
}

/// Σ |x|: as good a bound of each as the largest, and unlike that infinite or NaN where one of them is.
pub(crate) fn sum_of_magnitudes<T: Scalar>(values: &[T]) -> T {
    vectorized(
        #[inline(always)]
        || accumulate(values, values, |sum, value, _| sum + value.abs()),
    )
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

    /// An optimizer that does not tell its reach, so that it works on copies.
    #[derive(Debug)]
    struct Unknown<'o>(&'o dyn Optimizer<f32>);

    impl Optimizer<f32> for Unknown<'_> {
        fn name(&self) -> &'static str {
            self.0.name()
        }
        fn slots(&self) -> usize {
            self.0.slots()
        }
        fn check(&self) -> Result<()> {
            self.0.check()
        }
        fn learning_rate(&self) -> f64 {
            self.0.learning_rate()
        }
        fn set_learning_rate(&mut self, _: f64) {}
        fn update(&self, piece: Update<'_, '_, f32>) {
            self.0.update(piece);
        }
    }

    /// All ways of the crate's optimizers.
    fn optimizers() -> Vec<Box<dyn Optimizer<f32>>> {
        let mut optimizers: Vec<Box<dyn Optimizer<f32>>> = vec![];
        for decay in [0.0, 0.1, 10.0] {
            for momentum in [0.0, 0.9] {
                for flag in [false, true] {
                    for sgd in [SGD::new(0.1), SGD::pytorch()] {
                        optimizers.push(Box::new(sgd.momentum(momentum).nesterov(flag).weight_decay(decay)));
                    }
                    for rmsprop in [RMSprop::new(0.1), RMSprop::keras_legacy(), RMSprop::pytorch().rho(0.5)] {
                        optimizers.push(Box::new(rmsprop.momentum(momentum).centered(flag).weight_decay(decay)));
                    }
                    for adam in [Adam::new(0.1), Adam::pytorch().beta_2(0.3)] {
                        optimizers.push(Box::new(adam.beta_1(momentum).amsgrad(flag).weight_decay(decay)));
                    }
                }
            }
        }
        optimizers
    }

    #[test]
    fn nothing_goes_beyond_its_reach() {
        let magnitudes = [0.0, 1e-30, 1e-3, 1.0, 1e10, 1e18, 1e25, 1e36, 3e38];
        let (mut known, mut refused, mut overflowing) = (0, 0, 0);
        for optimizer in optimizers() {
            let slots = optimizer.slots();
            for i in 0..magnitudes.len().pow(3) {
                let [w, g, s] = [1, 9, 81].map(|place| magnitudes[i / place % 9]);
                // of both signs, but for the first slot of RMSprop and the second of Adam, which are squares
                let all = [(w, g), (-w, g), (w, -g), (-w, -g), (w, 0.0), (0.0, g)];
                let mut parameters: Vec<f32> = all.iter().flat_map(|&(w, _)| [w; 2]).collect();
                let gradients: Vec<f32> = all.iter().flat_map(|&(_, g)| [g; 2]).collect();
                let square = |k: usize| match optimizer.name() {
                    "RMSprop" => k == 0,
                    "Adam" => k > 0,
                    _ => false,
                };
                let mut memory: Vec<Vec<f32>> =
                    (0..slots).map(|k| if square(k) { vec![s; 12] } else { [s, -s].repeat(6) }).collect();
                let mut now = Magnitudes { parameters: w.into(), gradients: g.into(), ..Magnitudes::default() };
                for k in 0..slots {
                    (now.slots[k], now.below_zero[k]) = (s.into(), !square(k) && s > 0.0);
                }
                let reach = optimizer.reach(3, &now);

                let mut slices: Vec<_> = memory.iter_mut().map(Vec::as_mut_slice).collect();
                let update = Update { step: 3, parameters: &mut parameters, gradients: &gradients, slots: &mut slices };
                optimizer.update(update);
                let finite = parameters.iter().chain(memory.iter().flatten()).all(|value| value.is_finite());
                let Some(after) = reach else {
                    refused += 1;
                    overflowing += usize::from(!finite);
                    continue;
                };
                known += 1;
                let within = |values: &[f32], most: f64| values.iter().all(|&value| f64::from(value.abs()) <= most);
                assert!(finite && within(&parameters, after.parameters), "{optimizer:?} from {now:?}: {parameters:?}");
                for (k, slot) in memory.iter().enumerate() {
                    assert!(within(slot, after.slots[k]), "{optimizer:?} from {now:?}, slot {k}: {slot:?}");
                    assert!(after.below_zero[k] || slot.iter().all(|&value| value >= 0.0), "{optimizer:?}, slot {k}");
                }
            }
        }
        // it must be known where it matters, and must not be where it overflows
        assert!(known > refused / 2 && overflowing > 1000, "{known} known, {refused} not, {overflowing} overflow");
    }

    #[test]
    fn what_divides_by_less_than_zero_is_not_known() {
        let now = Magnitudes { below_zero: [true; MAX_SLOTS], ..Magnitudes::default() };
        assert_eq!(Optimizer::<f32>::reach(&RMSprop::default(), 1, &now), None);
        assert_eq!(Optimizer::<f32>::reach(&Adam::default(), 1, &now), None);
        assert!(Optimizer::<f32>::reach(&SGD::default(), 1, &now).is_some());
    }

    #[test]
    fn copies_give_the_same_bits() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for optimizer in optimizers() {
            for len in [5, 2 * PIECE + 3] {
                let run = |optimizer: &dyn Optimizer<f32>| {
                    let mut steps = Steps::default();
                    let taken = three_steps(optimizer, len, |number, parameters, gradients, slots| {
                        steps.take(optimizer, number, parameters, gradients, slots, false).unwrap();
                    });
                    (taken.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>(), steps.copies.is_some())
                };
                let (in_place, copied) = pool.install(|| (run(&*optimizer), run(&Unknown(&*optimizer))));
                assert!(in_place.0 == copied.0, "{optimizer:?} on {len} parameters");
                assert_eq!((in_place.1, copied.1), (false, true), "{optimizer:?}");
            }
        }
    }

    #[test]
    fn one_element_is_enough_to_refuse_a_step() {
        for (at, bad) in [(0, f32::NAN), (PIECE, f32::INFINITY), (3 * PIECE + 4, f32::NEG_INFINITY)] {
            let len = 3 * PIECE + 5;
            let (mut parameters, mut gradients) = (vec![0.5; len], vec![0.25; len]);
            let mut slots = vec![vec![0.125; len]];
            gradients[at] = bad;
            for optimizer in [&RMSprop::default() as &dyn Optimizer<f32>, &Unknown(&RMSprop::default())] {
                let mut steps = Steps::default();
                let refused = steps.take(optimizer, 1, &mut parameters, &gradients, &mut slots, false).unwrap_err();
                assert_eq!((refused.index, refused.slot), (at, None));
                assert!(parameters.iter().all(|&w| w == 0.5) && slots[0].iter().all(|&v| v == 0.125));
            }
        }
    }

    #[test]
    fn magnitudes_let_nothing_pass() {
        for len in [1, 17, PIECE, 3 * PIECE + 5] {
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for at in [0, len / 2, len - 1] {
                    let mut values = vec![-0.5; len];
                    assert!(magnitude(&values) >= 0.5 && magnitude(&values).is_finite());
                    values[at] = bad;
                    assert!(!magnitude(&values).is_finite(), "{bad} at {at} of {len}");
                }
            }
        }
        assert_eq!(magnitude::<f32>(&[]), 0.0);
    }

    /// Parameters and slots after three steps, each taken by `take`.
    fn three_steps(
        optimizer: &dyn Optimizer<f32>,
        len: usize,
        mut take: impl FnMut(u64, &mut [f32], &[f32], &mut [Vec<f32>]),
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
