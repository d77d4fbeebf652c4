//! Parameters that stay as they are, and patterns that name parameters.

use super::model::Model;
use crate::error::{Error, Result};
use crate::layers::Role;
use crate::scalar::Scalar;

impl<T: Scalar> Model<T> {
    /// Freezes the trainable parameters of all layers or parameters that a pattern matches: training leaves them as they
    /// are, and does not compute their gradients, nor what lies before the first layer that learns. Returns how many
    /// numbers are frozen that were not before.
    ///
    /// The pattern is a name of a parameter, such as `conv2d_1/kernel`, or the beginning of one up to a slash, such as
    /// `conv2d_1` or `trunk`; `*` in it stands for any characters but none too. Files do not keep what is frozen.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownParameter`] if it matches nothing.
    ///
    /// ```
    /// use plywood::prelude::*;
    ///
    /// let mut model = Sequential::input([4]).add(Dense::new(8)).add(ReLU::new()).add(Dense::new(2)).build(42)?;
    /// assert_eq!(model.freeze("dense")?, 4 * 8 + 8);
    /// assert_eq!(model.freeze("*/bias")?, 2); // that of the other layer
    /// assert!(model.summary().to_string().contains(" Trainable params: 16 (64.00 B)\n"));
    /// assert_eq!(model.unfreeze("*")?, 4 * 8 + 8 + 2);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn freeze(&mut self, pattern: &str) -> Result<usize> {
        self.set_frozen(pattern, true)
    }

    /// Lets the parameters that a pattern matches learn again. Returns how many numbers do that did not before.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownParameter`] if it matches nothing.
    pub fn unfreeze(&mut self, pattern: &str) -> Result<usize> {
        self.set_frozen(pattern, false)
    }

    fn set_frozen(&mut self, pattern: &str, frozen: bool) -> Result<usize> {
        let mut changed = 0;
        for at in self.matching(pattern)? {
            let was = std::mem::replace(&mut self.frozen[at], frozen);
            changed += if was == frozen { 0 } else { self.layout.entries()[at].range().len() };
        }
        Ok(changed)
    }

    /// Whether each trainable parameter is frozen, in the order of the layout.
    pub(crate) fn frozen(&self) -> &[bool] {
        &self.frozen
    }

    /// Whether any parameter of a block learns.
    pub(crate) fn learns(&self, block: usize) -> bool {
        self.layout.trainable_entries(block).any(|entry| !self.frozen[entry])
    }

    /// Number of trainable parameters that are not frozen.
    pub(crate) fn learning_len(&self) -> usize {
        let entries = self.layout.entries().iter().zip(&self.frozen);
        entries.filter(|(_, frozen)| !**frozen).map(|(entry, _)| entry.range().len()).sum()
    }

    /// The trainable parameters that a pattern matches, by their numbers in the layout.
    pub(crate) fn matching(&self, pattern: &str) -> Result<Vec<usize>> {
        let entries = self.layout.entries().iter().take_while(|entry| entry.role() == Role::Trainable);
        let found: Vec<usize> =
            entries.enumerate().filter(|(_, entry)| names(pattern, entry.name())).map(|(at, _)| at).collect();
        if found.is_empty() {
            let known = self.layout.entries().iter().map(|entry| entry.name().to_owned()).collect();
            return Err(Error::UnknownParameter { name: pattern.to_owned(), known });
        }
        Ok(found)
    }
}

/// Whether a pattern matches a parameter's name, or the beginning of it up to a slash.
fn names(pattern: &str, name: &str) -> bool {
    let ends = name.match_indices('/').map(|(end, _)| end).chain([name.len()]);
    ends.into_iter().any(|end| matches(pattern.as_bytes(), &name.as_bytes()[..end]))
}

/// Whether a pattern, in which `*` stands for any characters, matches all of a text. When what follows a star does not fit,
/// the star takes one character more.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(character) if *character == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|&character| character == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_their_beginnings() {
        for (pattern, name, expected) in [
            ("conv2d", "conv2d/kernel", true),
            ("conv2d", "conv2d_1/kernel", false),
            ("conv2d*", "conv2d_1/kernel", true),
            ("*/bias", "block/dense/bias", true),
            ("*/bias", "block/dense/kernel", false),
            ("block", "block/dense/kernel", true),
            ("block/dense", "block/dense/kernel", true),
            ("dense", "block/dense/kernel", false),
            ("*", "a/b", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("", "a/b", false),
            ("*b*b", "abab", true),
        ] {
            assert_eq!(names(pattern, name), expected, "{pattern} and {name}");
        }
    }
}
