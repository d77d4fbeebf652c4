//! Panics of what is checked: caught, and told in a line each.
//!
//! The panic hook would print each of them, with a backtrace if asked for, before it is caught. A hook around the one
//! that there is keeps it from those that are expected: on a thread that is [catching](catch), and on those of the pools
//! that it has started.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

thread_local! {
    static EXPECTED: RefCell<Arc<Expected>> = RefCell::default();
}

/// Whether panics are expected, for a thread and those of its pools.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// How many calls of [`catch`] are at work.
    catching: AtomicUsize,
    /// Where the last of the panics was.
    place: Mutex<Option<String>>,
}

impl Expected {
    /// What this thread has.
    pub(super) fn here() -> Arc<Self> {
        EXPECTED.with_borrow(Arc::clone)
    }

    /// Lets this thread have it, too.
    pub(super) fn share(self: Arc<Self>) {
        EXPECTED.set(self);
    }

    fn set_place(&self, place: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.place.lock().unwrap_or_else(PoisonError::into_inner), place)
    }
}

/// Gives what work gives, or the words for its panic: the message in one line, and where it was.
pub(super) fn catch<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    silence_expected();
    let expected = Expected::here();
    expected.set_place(None);
    expected.catching.fetch_add(1, Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(work));
    expected.catching.fetch_sub(1, Ordering::Relaxed);
    result.map_err(|panic| {
        let message = panic.downcast_ref::<&str>().copied();
        let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let lines: Vec<_> = message.unwrap_or("without a message").lines().map(str::trim).collect();
        let place = expected.set_place(None).map_or(String::new(), |place| format!(" ({place})"));
        format!("panics: {}{place}", lines.join(" "))
    })
}

/// Puts a hook around the one that there is, once.
fn silence_expected() {
    static ONCE: Once = Once::new();
    // a thread that panics cannot set a hook
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            // nothing, on a thread that ends
            let expected = EXPECTED.try_with(|expected| expected.borrow().clone()).ok();
            match expected.filter(|expected| expected.catching.load(Ordering::Relaxed) > 0) {
                Some(expected) => drop(expected.set_place(panic.location().map(ToString::to_string))),
                None => others(panic),
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_a_line_with_its_place() {
        assert_eq!(catch(|| 4), Ok(4));
        let message = |work: fn()| catch(work).unwrap_err();
        let here = |message: &str, line| format!("panics: {message} ({}:{line}:", file!());
        let line = line!() + 1;
        let told = message(|| panic!("{} threads,\n  too many", 4));
        assert!(told.starts_with(&here("4 threads, too many", line)), "{told}");
        let told = message(|| panic!("nothing"));
        assert!(told.starts_with(&here("nothing", line + 2)), "{told}");
        assert!(message(|| std::panic::panic_any(4)).starts_with("panics: without a message ("));
        // one that goes on has passed the hook before
        assert_eq!(message(|| std::panic::resume_unwind(Box::new("again"))), "panics: again");
    }
}
