//! `exp` and `ln` of the crate's own, so that results do not change with the platform's mathematics library.

/// Functions that a platform's library may round as it likes, and that must be the same everywhere.
pub trait Transcendental: Sized {
    /// eˣ.
    fn exp_(self) -> Self;
    /// ln x.
    fn ln_(self) -> Self;
}

impl Transcendental for f32 {
    fn exp_(self) -> Self {
        self.exp()
    }
    fn ln_(self) -> Self {
        self.ln()
    }
}
impl Transcendental for f64 {
    fn exp_(self) -> Self {
        self.exp()
    }
    fn ln_(self) -> Self {
        self.ln()
    }
}
