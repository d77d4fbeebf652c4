//! How the roofline measures times, and how it shows them.

use std::fmt::Write as _;
use std::time::Instant;

/// Seconds that calls took, from the shortest to the longest.
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Calls, taken in turns so that whatever slows one down slows all, for `seconds` and at least five times each.
    pub(crate) fn of<const N: usize>(seconds: f64, mut call: impl FnMut(usize)) -> [Self; N] {
        let mut times = [const { Vec::new() }; N];
        (0..N).for_each(&mut call);
        let start = Instant::now();
        while times[0].len() < 5 || start.elapsed().as_secs_f64() < seconds {
            for (i, times) in times.iter_mut().enumerate() {
                let before = Instant::now();
                call(i);
                times.push(before.elapsed().as_secs_f64());
            }
        }
        times.map(Self::new)
    }

    pub(crate) fn new(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// The time that this share of the calls did not exceed.
    fn quantile(&self, share: f64) -> f64 {
        self.0[(share * (self.0.len() - 1) as f64) as usize]
    }

    /// The time of a call that nothing disturbed: a tenth of them were as fast. Noise only ever adds.
    pub(crate) fn low(&self) -> f64 {
        self.quantile(0.1)
    }

    /// What noise adds to half of the calls.
    fn noise(&self) -> f64 {
        self.quantile(0.5) - self.low()
    }

    /// How much longer these calls took than those of another kind, measured in turns with them; none if that is less than
    /// the noise.
    pub(crate) fn longer_than(&self, other: &Self) -> Option<f64> {
        let difference = self.low() - other.low();
        (difference > self.noise().max(other.noise())).then_some(difference)
    }
}

/// A line of the table.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) images: usize,
    /// Multiplications and additions, if they are all there is to do.
    pub(crate) gflop: Option<f64>,
    /// None if noise hides the time.
    pub(crate) seconds: Option<f64>,
}

/// The table with its header, as wide as its names need. A rate above the peak was not measured but made by noise: a time
/// that would mean that is shown as one that noise hides.
pub(crate) fn table(lines: &[Line], peak: f64) -> String {
    let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
    let mut table = format!("{:width$} {:>10} {:>11} {:>9} {:>8}\n", "pass", "ms", "images/s", "GFLOP/s", "of peak");
    for Line { name, images, gflop, seconds } in lines {
        let rate = gflop.zip(*seconds).map(|(gflop, seconds)| gflop / seconds);
        let cells = match seconds.filter(|_| rate.is_none_or(|rate| rate <= peak)) {
            None => format!("{:>10} {:>11} {:>9} {:>8}", "noise", "-", "-", "-"),
            Some(seconds) => {
                let [rate, share] = rate.map_or_else(
                    || ["-"; 2].map(str::to_owned),
                    |rate| [format!("{rate:.1}"), format!("{:.0} %", 100.0 * rate / peak)],
                );
                format!("{:>10.3} {:>11.0} {rate:>9} {share:>8}", 1e3 * seconds, *images as f64 / seconds)
            }
        };
        writeln!(table, "{name:width$} {cells}").expect("a String takes everything");
    }
    table
}

/// `1 thread`, `2 threads`
pub(crate) fn threads(count: usize) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}
