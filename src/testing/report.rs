//! What a check found: a line for each thing looked at.

use std::fmt;

use super::panics::catch;

/// What a check finds: the words for it, or what is wrong.
pub(super) type Found<R = String> = Result<R, String>;

/// Looks. A panic is something wrong, too.
pub(super) fn attempt<R>(look: impl FnOnce() -> Found<R>) -> Found<R> {
    catch(look).unwrap_or_else(Err)
}

/// All that was looked at and found to be as it should. It prints as a table, a line a check:
///
/// ```
/// use plywood::layers::ReLU;
/// use plywood::testing::check_layer;
///
/// let report = check_layer(ReLU::new(), [5])?;
/// println!("{report}");
/// assert_eq!(report.subject(), "re_lu on 5, 3 samples, seed 0");
/// # Ok::<(), plywood::testing::Failure>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    subject: String,
    checks: Vec<Check>,
}

/// One thing that was looked at.
///
/// ```
/// use plywood::layers::ReLU;
/// use plywood::testing::check_layer;
///
/// let report = check_layer(ReLU::new(), [5])?;
/// let check = &report.checks()[0];
/// assert_eq!((check.name.as_str(), check.detail.as_str()), ("plan", "output 5; no parameters"));
/// assert!(check.passed);
/// # Ok::<(), plywood::testing::Failure>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Check {
    /// What it was, such as `gradient of kernel`.
    pub name: String,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What was found.
    pub detail: String,
    /// The largest error found, where errors were measured.
    pub error: Option<f64>,
}

impl Report {
    pub(super) fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), checks: vec![] }
    }

    /// Notes what a check finds, and tells whether all is well.
    pub(super) fn note(&mut self, name: impl Into<String>, look: impl FnOnce() -> Found) -> bool {
        let found = attempt(look);
        let passed = found.is_ok();
        let detail = found.unwrap_or_else(|problem| problem);
        self.checks.push(Check { name: name.into(), passed, detail, error: None });
        passed
    }

    /// Notes what the same checks found in `f32` and in `f64`; `mode` is put after their names.
    pub(super) fn note_both<const N: usize>(
        &mut self,
        mode: &str,
        narrow: [(&'static str, Found); N],
        wide: [(&'static str, Found); N],
    ) {
        for ((name, narrow), (_, wide)) in narrow.into_iter().zip(wide) {
            let narrow = narrow.map_err(|problem| format!("f32: {problem}"));
            self.note(format!("{name}{mode}"), || narrow.and(wide.map_err(|problem| format!("f64: {problem}"))));
        }
    }

    /// Notes a measured error, which must not be above the bound, and the words for what was measured.
    pub(super) fn measure(&mut self, name: impl Into<String>, bound: f64, look: impl FnOnce() -> Found<(f64, String)>) {
        let (error, detail) = match attempt(look) {
            Ok((error, of)) => (error, format!("error {error:.1e}, at most {bound:.0e} allowed; {of}")),
            Err(problem) => (f64::INFINITY, problem),
        };
        // a NaN is not at most anything
        self.checks.push(Check { name: name.into(), passed: error <= bound, detail, error: Some(error) });
    }

    pub(super) fn finish(self) -> Result<Self, Failure> {
        if self.checks.iter().all(|check| check.passed) { Ok(self) } else { Err(Failure { report: self }) }
    }

    /// What was checked, and on what: `conv2d on 7×6×3, 3 samples, seed 0`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Everything looked at, in order.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The largest error among the checks whose names begin like this, where NaN counts as infinite; `None` if none of
    /// them measured one.
    ///
    /// ```
    /// use plywood::layers::ReLU;
    /// use plywood::testing::check_layer;
    ///
    /// let report = check_layer(ReLU::new(), [5])?;
    /// assert!(report.largest_error("gradient of x").is_some_and(|error| error < 1e-9));
    /// assert_eq!(report.largest_error("gradient of kernel"), None);
    /// # Ok::<(), plywood::testing::Failure>(())
    /// ```
    pub fn largest_error(&self, name: &str) -> Option<f64> {
        let errors = self.checks.iter().filter(|check| check.name.starts_with(name)).filter_map(|check| check.error);
        errors.map(|error| if error.is_nan() { f64::INFINITY } else { error }).max_by(f64::total_cmp)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.checks.iter().filter(|check| !check.passed).count();
        match failed {
            0 => write!(f, "{}: all {} checks passed", self.subject, self.checks.len())?,
            _ => write!(f, "{}: {failed} of {} checks failed", self.subject, self.checks.len())?,
        }
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        for Check { name, passed, detail, .. } in &self.checks {
            write!(f, "\n  {} {name:<width$}  {detail}", if *passed { "ok    " } else { "FAILED" })?;
        }
        Ok(())
    }
}

/// A [`Report`] in which something is not as it should be. As an error, and also in a test that unwraps it, it prints the
/// whole table.
///
/// ```
/// use plywood::optimizers::SGD;
/// use plywood::testing::check_optimizer;
///
/// let failure = check_optimizer(SGD::new(-0.1)).unwrap_err();
/// assert!(failure.failed().any(|check| check.name == "settings"));
/// assert!(failure.to_string().contains("learning_rate is -0.1"));
/// ```
#[derive(Clone, PartialEq)]
pub struct Failure {
    report: Report,
}

impl Failure {
    /// All checks, the failed ones and the others.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Those that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.report.checks.iter().filter(|check| !check.passed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.report, f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.report, f)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_prints_a_line_a_check() {
        let mut report = Report::new("relu on 5");
        assert!(report.note("plan", || Ok("output 5".to_owned())));
        report.measure("gradient of x", 1e-6, || Ok((2.5e-11, "15 elements".to_owned())));
        let passed = "relu on 5: all 2 checks passed\n  \
                      ok     plan           output 5\n  \
                      ok     gradient of x  error 2.5e-11, at most 1e-6 allowed; 15 elements";
        assert_eq!(report.clone().finish().unwrap().to_string(), passed);

        report.measure("gradient of w", 1e-6, || Ok((f64::NAN, "3 elements".to_owned())));
        let failure = report.finish().unwrap_err();
        assert_eq!(failure.failed().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["gradient of w"]);
        assert!(format!("{failure:?}").starts_with("relu on 5: 1 of 3 checks failed\n"), "{failure:?}");
        let report = failure.report();
        assert_eq!(report.largest_error("gradient of x"), Some(2.5e-11));
        assert_eq!(report.largest_error("gradient of"), Some(f64::INFINITY));
        assert_eq!((report.largest_error("plan"), report.largest_error("gradient of b")), (None, None));
    }

    #[test]
    fn a_panic_is_a_failed_line() {
        let mut report = Report::new("relu on 5");
        assert!(!report.note("plan", || panic!("no plan")));
        report.measure("gradient of x", 1e-6, || panic!("no gradient"));
        let failure = report.finish().unwrap_err();
        assert!(failure.report().checks().iter().all(|check| !check.passed));
        let messages = ["no plan", "no gradient"].map(|message| format!("panics: {message} (src/testing/report.rs:"));
        assert!(failure.failed().zip(messages).all(|(check, message)| check.detail.starts_with(&message)), "{failure}");
        assert_eq!(failure.report().largest_error("gradient"), Some(f64::INFINITY));
    }
}
