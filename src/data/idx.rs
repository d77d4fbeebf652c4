//! The IDX format.

/// What is wrong with an IDX file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdxProblem {
    /// Placeholder.
    #[error("placeholder")]
    Placeholder,
}
