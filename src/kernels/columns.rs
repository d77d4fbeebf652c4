//! Which columns of a convolution's output touch which columns of its input: the geometry of the input gradient.
//!
//! Output column o reaches, with kernel column k, input column o · stride + k · dilation. Seen from the input, the kernel
//! columns fall into classes: those that are stride / gcd(stride, dilation) apart meet at the same input columns, from
//! output columns that are dilation / gcd apart. Without strides there is a single class.

/// The horizontal geometry of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    outputs: usize,
    /// Columns of the kernel.
    size: usize,
    stride: usize,
    dilation: usize,
    /// Kernel columns of one class are this far apart.
    step: usize,
    /// The outputs from which neighbouring kernel columns of one class touch an input are this far apart.
    pub(super) output_step: usize,
}

/// Input columns, a stride apart, each of which is touched from `taps` neighbouring output columns of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first input column.
    pub(super) input: usize,
    /// Input columns.
    pub(super) len: usize,
    /// The first output column that touches the first input column.
    pub(super) output: usize,
    /// With which kernel column it does, by its place in [`Columns::kernel_column`].
    pub(super) tap: usize,
    pub(super) taps: usize,
}

impl Columns {
    pub(super) fn new(outputs: usize, size: usize, stride: usize, dilation: usize) -> Self {
        let divisor = gcd(stride, dilation);
        Self { outputs, size, stride, dilation, step: stride / divisor, output_step: dilation / divisor }
    }

    /// Kernel columns of a class, which is named by its first one.
    fn taps(&self, class: usize) -> usize {
        (self.size - class).div_ceil(self.step)
    }

    /// The kernel column at this place: class by class, and in each from the last to the first, as output columns ascend.
    pub(super) fn kernel_column(&self, mut place: usize) -> usize {
        let mut class = 0;
        while place >= self.taps(class) {
            place -= self.taps(class);
            class += 1;
        }
        class + (self.taps(class) - 1 - place) * self.step
    }

    /// All input columns that are touched at all.
    pub(super) fn runs(self) -> impl Iterator<Item = Run> {
        let (mut class, mut place, mut column) = (0, 0, 0);
        std::iter::from_fn(move || {
            loop {
                if class == self.step.min(self.size) {
                    return None;
                }
                let taps = self.taps(class);
                let end = self.outputs + (taps - 1) * self.output_step;
                // the range of a class's kernel columns, by number, that reach an input column from within the output
                let reaching = |column: usize| {
                    let first = (column + 1).saturating_sub(self.outputs).div_ceil(self.output_step);
                    first..(column / self.output_step + 1).min(taps)
                };
                let range = reaching(column);
                let len = (column..end).take_while(|&column| reaching(column) == range).count();
                let run = Run {
                    input: column * self.stride + class * self.dilation,
                    len,
                    output: column - (range.end - 1) * self.output_step,
                    tap: place + taps - range.end,
                    taps: range.len(),
                };
                column += len;
                if column == end {
                    (class, place, column) = (class + 1, place + taps, 0);
                }
                if run.taps > 0 {
                    return Some(run);
                }
            }
        })
    }
}

/// The greatest common divisor.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel columns in order, and for each input column its pairs of output and kernel column.
    #[test]
    fn runs_tell_what_the_plain_loops_do() {
        for outputs in 1..8 {
            for size in 1..6 {
                for stride in 1..5 {
                    for dilation in 1..5 {
                        let columns = Columns::new(outputs, size, stride, dilation);
                        let order: Vec<usize> = (0..size).map(|place| columns.kernel_column(place)).collect();
                        let width = (outputs - 1) * stride + (size - 1) * dilation + 1;
                        let (mut want, mut got) = (vec![vec![]; width], vec![vec![]; width]);
                        for output in 0..outputs {
                            for k in 0..size {
                                want[output * stride + k * dilation].push((output, k));
                            }
                        }
                        for run in columns.runs() {
                            for i in 0..run.len {
                                for t in 0..run.taps {
                                    let output = run.output + i + t * columns.output_step;
                                    got[run.input + i * stride].push((output, order[run.tap + t]));
                                }
                            }
                        }
                        assert_eq!(got, want, "{columns:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_strides_the_middle_is_one_run() {
        let runs: Vec<Run> = Columns::new(11, 3, 1, 1).runs().collect();
        assert_eq!(
            runs.iter().map(|run| (run.len, run.taps)).collect::<Vec<_>>(),
            [(1, 1), (1, 2), (9, 3), (1, 2), (1, 1)]
        );
    }
}
