//! What is printed fits a terminal of 80 columns, and is drawn in ASCII where the locale is not one of Unicode.

use std::process::Command;

use plywood::ndarray::{Array1, Array2};
use plywood::prelude::*;

/// Set where the test is a program that prints.
const PRINTS: &str = "PLYWOOD_TEST_PRINTS";

/// A summary, the lines of three epochs with validation, and a curve.
fn print() -> Result<()> {
    let inputs = Array2::from_shape_fn((20, 4), |(i, j)| ((3 * i + j) % 7) as f32);
    let data = Dataset::new(inputs, Array1::from_shape_fn(20, |i| i % 3))?;
    let model = Sequential::input([4]).add(Dense::new(3)).add(Softmax::new()).build(1)?;
    println!("{}", model.summary());
    let mut trainer = model
        .compile(RMSprop::default(), CategoricalCrossentropy::new())
        .metric(Accuracy::new())
        .metric(TopKAccuracy::new(2))
        .metric(Precision::new());
    let fit = Fit::epochs(3).validation(&data).verbosity(Verbosity::Progress);
    let history = trainer.fit(&data, &fit)?;
    println!("{}", history.curve("loss").expect("there is a loss"));
    Ok(())
}

#[test]
fn whatever_is_printed_can_be_read() {
    if std::env::var_os(PRINTS).is_some() {
        return print().unwrap();
    }
    let printed = |locale: &str| {
        let test = std::env::current_exe().unwrap();
        let run = Command::new(test)
            .args(["--exact", "whatever_is_printed_can_be_read", "--nocapture"])
            .env(PRINTS, "1")
            .env("LC_ALL", locale)
            .output()
            .unwrap();
        assert!(run.status.success());
        let text = String::from_utf8(run.stdout).unwrap();
        // without what the test harness says
        text.lines().filter(|line| !line.starts_with("test ")).map(|line| format!("{line}\n")).collect::<String>()
    };
    for (locale, unicode) in [("C", false), ("POSIX", false), ("C.UTF-8", true)] {
        let text = printed(locale);
        assert_eq!(text.is_ascii(), !unicode, "LC_ALL={locale}: {text}");
        assert_eq!(text.contains('┏'), unicode, "LC_ALL={locale}: {text}");
        assert!(text.contains("dense (Dense)") && text.contains("epoch 3/3"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "LC_ALL={locale}: {text}");
    }
}
