//! Which vector instructions the kernels run on: the widest the processor has, found once.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use crate::error::{Error, Result};

/// The environment variable that asks for narrower instructions: `scalar`, or on x86-64 `v3` (AVX2) or `v4` (AVX-512).
/// Results are the same to the last bit; it is there to prove that.
const VARIABLE: &str = "PLYWOOD_SIMD";

/// What is computed with, and what was asked for if that is not to be had.
static CHOICE: LazyLock<(Arch, Option<String>)> = LazyLock::new(|| match std::env::var_os(VARIABLE) {
    Some(name) if !name.is_empty() => match choices().into_iter().find(|choice| name == choice.0) {
        Some((_, arch)) => (arch, None),
        None => (Arch::new(), Some(name.to_string_lossy().into_owned())),
    },
    _ => (Arch::new(), None),
});

/// The instruction sets that this processor has, by the name that the variable knows them by.
fn choices() -> Vec<(&'static str, Arch)> {
    #[allow(unused_mut, reason = "other processors have no choice")]
    let mut choices = vec![("scalar", Arch::Scalar)];
    #[cfg(target_arch = "x86_64")]
    {
        choices.extend(pulp::x86::V3::try_new().map(|v3| ("v3", Arch::V3(v3))));
        choices.extend(pulp::x86::V4::try_new().map(|v4| ("v4", Arch::V4(v4))));
    }
    choices
}

/// Whether the instructions that the environment asks for, if it does, are those that are used.
///
/// # Errors
///
/// [`Error::Environment`] for a name that is unknown, or that of instructions that this processor does not have.
pub(crate) fn check_environment() -> Result<()> {
    CHOICE.1.as_ref().map_or(Ok(()), |got| {
        let names: Vec<&str> = choices().iter().map(|choice| choice.0).collect();
        Err(Error::Environment { variable: VARIABLE, got: got.clone(), expected: names.join(" or ") })
    })
}

/// Runs an operation on the processor's vectors.
#[inline]
pub(crate) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    CHOICE.0.dispatch(op)
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
    match CHOICE.0 {
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
