//! The bar of an epoch, and the spinner, drawn by indicatif.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::callbacks::{BatchEnd, epoch_of};
use crate::model::Trainer;
use crate::scalar::Scalar;
use crate::terminal::shows_unicode;

/// How often it is drawn: as often as an eye can follow.
const INTERVAL: Duration = Duration::from_millis(100);

/// Columns that the bar itself gets at least.
const BAR: usize = 8;

/// The bar of one epoch; it is wiped away when it is dropped.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    drawn: Option<Instant>,
    /// Columns that the text after the bar may take.
    room: usize,
}

impl Bar {
    /// A bar for the epoch of this batch, if there is a terminal to draw it on.
    pub(super) fn new(batch: &BatchEnd, epochs: usize) -> Option<Self> {
        let bar = on_terminal(ProgressBar::with_draw_target(Some(batch.batches as u64), ProgressDrawTarget::hidden()))?;
        let digits = batch.batches.to_string().len();
        let style =
            ProgressStyle::with_template(&format!("{{prefix}} {{wide_bar}} {{pos:>{digits}}}/{{len}}  {{msg}}"));
        let characters = if shows_unicode() { "━╸ " } else { "=> " };
        bar.set_style(style.expect("the template is a good one").progress_chars(characters));
        let prefix = epoch_of(batch.epoch, epochs);
        let width = usize::from(Term::stdout().size().1);
        let room = width.saturating_sub(prefix.len() + 1 + BAR + 1 + (2 * digits + 1) + 2);
        bar.set_prefix(prefix);
        Some(Self { bar, drawn: None, room })
    }

    /// Draws how far the epoch is, if it is time to.
    pub(super) fn update<T: Scalar>(&mut self, trainer: &Trainer<T>, batch: &BatchEnd, begin: Instant) {
        let now = Instant::now();
        if self.drawn.is_some_and(|drawn| now - drawn < INTERVAL) && batch.batch < batch.batches {
            return;
        }
        self.drawn = Some(now);
        let elapsed = (now - begin).as_secs_f64();
        let left = elapsed / batch.batch as f64 * (batch.batches - batch.batch) as f64;
        let figures: Vec<(&str, f64)> = std::iter::once(("loss", batch.mean_loss)).chain(trainer.metrics()).collect();
        self.bar.set_message(message(batch.samples as f64 / elapsed, &figures, left, self.room));
        self.bar.set_position(batch.batch as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A spinner that turns by itself; it is wiped away when it is dropped.
#[derive(Debug)]
pub(super) struct Spinner(Option<ProgressBar>);

impl Spinner {
    pub(super) fn new(message: &str) -> Self {
        let spinner = on_terminal(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()));
        if let Some(spinner) = &spinner {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is a good one");
            spinner.set_style(style.tick_chars(if shows_unicode() {
                "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "
            } else {
                "|/-\\ "
            }));
            spinner.set_message(message.to_owned());
            spinner.enable_steady_tick(INTERVAL);
        }
        Self(spinner)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(spinner) = &self.0 {
            spinner.finish_and_clear();
        }
    }
}

/// The bar, drawn on standard output if that is a terminal.
fn on_terminal(bar: ProgressBar) -> Option<ProgressBar> {
    std::io::stdout().is_terminal().then(|| {
        bar.set_draw_target(ProgressDrawTarget::stdout_with_hz(20));
        bar
    })
}

/// `58.2k samples/s  loss 0.0687  accuracy 0.9795  4 s left`, or as much of it as there is room for.
fn message(samples_per_second: f64, figures: &[(&str, f64)], seconds_left: f64, room: usize) -> String {
    let rate = match samples_per_second {
        rate if rate >= 99_950.0 => format!("{:.0}k", rate / 1e3),
        rate if rate >= 999.5 => format!("{:.1}k", rate / 1e3),
        rate => format!("{rate:.0}"),
    };
    let seconds = seconds_left.ceil() as u64;
    let left = if seconds < 60 { format!("{seconds} s") } else { format!("{}:{:02}", seconds / 60, seconds % 60) };
    let text = |unit: &str, shown: usize| {
        let figures: String = figures[..shown].iter().map(|(name, value)| format!("  {name} {value:.4}")).collect();
        format!("{rate}{unit}{figures}  {left} left")
    };
    let long = text(" samples/s", figures.len());
    let shorter = (0..=figures.len()).rev().map(|shown| text("/s", shown));
    std::iter::once(long).chain(shorter).find(|text| text.chars().count() <= room).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_left_out() {
        let figures = [("loss", 0.06873), ("accuracy", 0.97951)];
        let text = |room| message(58_213.0, &figures, 3.2, room);
        assert_eq!(text(120), "58.2k samples/s  loss 0.0687  accuracy 0.9795  4 s left");
        assert_eq!(text(54), "58.2k/s  loss 0.0687  accuracy 0.9795  4 s left");
        assert_eq!(text(40), "58.2k/s  loss 0.0687  4 s left");
        assert_eq!(text(20), "58.2k/s  4 s left");
        assert_eq!(text(3), "");
    }

    #[test]
    fn rates_and_times_are_short() {
        let text = |rate, left| message(rate, &[], left, 80);
        assert_eq!(text(734.6, 59.0), "735 samples/s  59 s left");
        assert_eq!(text(999.7, 59.1), "1.0k samples/s  1:00 left");
        assert_eq!(text(212_345.0, 3725.0), "212k samples/s  62:05 left");
    }
}
