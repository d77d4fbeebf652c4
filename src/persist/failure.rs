//! Why a file could not be read, before it is known which file it is.

use std::io;
use std::path::Path;

use crate::error::Error;

/// The file cannot be read, or should not have been written so.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    Problem(String),
}

impl Failure {
    /// The error that names the file and what it should be.
    pub(super) fn of(self, path: &Path, format: &'static str) -> Error {
        let path = path.to_owned();
        match self {
            Self::Io(source) => Error::Io { path, source },
            Self::Problem(problem) => Error::Format { path, format, problem },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Problem(problem)
    }
}
