//! Running the same on few threads and on many.

use rayon::ThreadPoolBuilder;

use super::panics::Expected;

/// Threads of the larger pool: more than many a machine has, so that tasks change places.
const MANY: usize = 4;

/// Runs work within a pool of so many threads.
fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let expected = Expected::here();
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(move |_| expected.clone().share())
        .build()
        .expect("the system has some threads to spare");
    pool.install(work)
}

/// Runs work on one thread: for work in such small pieces that waking others up would take longer.
pub(super) fn on_one_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    on(1, work)
}

/// Runs work on several threads, which are not those of the program: panics of what is checked are expected on them.
pub(super) fn on_several<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    on(MANY, work)
}

/// What work gives on one thread and on several, with their number.
pub(super) fn few_and_many<R: Send>(work: impl Fn() -> R + Sync) -> [(usize, R); 2] {
    [1, MANY].map(|threads| (threads, on(threads, &work)))
}
