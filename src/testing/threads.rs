//! Running the same on few threads and on many.

use rayon::ThreadPoolBuilder;

/// Threads of the larger pool: more than many a machine has, so that tasks change places.
const MANY: usize = 4;

/// Runs work within a pool of so many threads.
fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("the system has some threads to spare");
    pool.install(work)
}

/// Runs work on one thread: for work in such small pieces that waking others up would take longer.
pub(super) fn on_one_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    on(1, work)
}

/// What work gives on one thread and on several, with their number.
pub(super) fn few_and_many<R: Send>(work: impl Fn() -> R + Sync) -> [(usize, R); 2] {
    [1, MANY].map(|threads| (threads, on(threads, &work)))
}
