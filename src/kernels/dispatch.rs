//! Which vector instructions the kernels run on: the widest the processor has, found once.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

/// The environment variable that asks for narrower instructions: `scalar`, or on x86-64 `v3` (AVX2) or `v4` (AVX-512).
/// Results are the same to the last bit; it is there to prove that.
const VARIABLE: &str = "PLYWOOD_SIMD";

static ARCH: LazyLock<Arch> = LazyLock::new(|| match std::env::var(VARIABLE).as_deref() {
    Ok("scalar") => Arch::Scalar,
    #[cfg(target_arch = "x86_64")]
    Ok("v3") => pulp::x86::V3::try_new().map_or_else(Arch::new, Arch::V3),
    _ => Arch::new(),
});

/// Runs an operation on the processor's vectors.
#[inline]
pub(crate) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    ARCH.dispatch(op)
}

/// Runs plain loops with the processor's instructions switched on, for the compiler to vectorise. Rust never reorders or
/// fuses floating-point operations by itself, so the bits do not change.
///
/// The closure must be marked `#[inline(always)]`: as a function of its own it would be compiled for the oldest processor.
#[inline]
pub(crate) fn vectorized<R>(loops: impl FnOnce() -> R) -> R {
    struct Loops<F>(F);
    impl<R, F: FnOnce() -> R> WithSimd for Loops<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> R {
            (self.0)()
        }
    }
    dispatch(Loops(loops))
}

/// The name of the instruction set in use, as benches and bug reports give it.
///
/// ```
/// let name = plywood::testing::instruction_set();
/// println!("computed with {name}");
/// assert!(["scalar", "AVX2 + FMA", "AVX-512", "NEON", "other"].contains(&name));
/// ```
pub fn instruction_set() -> &'static str {
    match *ARCH {
        Arch::Scalar => "scalar",
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => "AVX2 + FMA",
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => "AVX-512",
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(_) => "NEON",
        _ => "other",
    }
}
