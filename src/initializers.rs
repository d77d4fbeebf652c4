//! What parameters are before training.

use serde::{Deserialize, Serialize};

/// How a parameter is filled at first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Initializer {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// U(±√(6 / (fan_in + fan_out))).
    GlorotUniform,
}
