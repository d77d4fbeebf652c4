//! The command line of the MNIST examples.

#[path = "../examples/common/mod.rs"]
mod common;

use std::path::Path;

use common::{Example, Options, writable};

const EXAMPLE: Example<2> = Example {
    name: "two_models",
    about: "Compares two models.",
    data: "data/mnist",
    epochs: 7,
    batch_sizes: [128, 64],
    checkpoints: true,
};

fn parse(arguments: &[&str]) -> Result<Options<2>, String> {
    let parser = lexopt::Parser::from_args(arguments.iter().map(|argument| argument.to_string()));
    EXAMPLE.parse(parser).map_err(|error| error.to_string())
}

#[test]
fn help_begins_with_what_the_example_does_and_shows_defaults() {
    let help = EXAMPLE.help();
    assert!(help.starts_with("Compares two models.\n\nUsage: cargo run --example two_models -- [OPTIONS]\n"), "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    for default in ["7", "128 and 64", "1", "all cores", "data/mnist", "all", "target/two_models", "none"] {
        assert!(help.contains(&format!("[default: {default}]")), "{default} is not in {help}");
    }
}

/// The examples' own first lines.
#[test]
fn what_each_example_does_fits_a_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let sources = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources: Vec<_> = sources.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect();
    let abouts = sources.iter().filter_map(|path| {
        let source = std::fs::read_to_string(path).unwrap();
        let (_, rest) = source.split_once("about: \"")?;
        Some(rest.split_once("\",").unwrap().0.to_owned())
    });
    let abouts: Vec<String> = abouts.collect();
    assert!(abouts.len() >= 6);
    for about in abouts {
        assert!(about.ends_with('.') && about.lines().all(|line| line.trim().chars().count() <= 80), "{about}");
    }
}

#[test]
fn options_replace_defaults() {
    let options = parse(&[]).unwrap();
    assert_eq!((options.epochs, options.batch_sizes, options.seed), (7, [128, 64], 1));
    let options = parse(&["--epochs", "3", "--batch-size=32", "--seed", "0", "--out", "x", "--limit", "9"]).unwrap();
    assert_eq!((options.epochs, options.batch_sizes, options.seed), (3, [32; 2], 0));
    assert_eq!(options.out, Path::new("x"));
}

#[test]
fn wrong_options_are_told() {
    for (arguments, expected) in [
        (&["--no-such-option"][..], "invalid option '--no-such-option'"),
        (&["--epochs", "none"], "--epochs: got \"none\", expected a whole number of at least 1"),
        (&["--batch-size", "0"], "--batch-size: got \"0\", expected a whole number of at least 1"),
        (&["--limit", "-1"], "--limit: got \"-1\", expected a whole number of at least 1"),
        (&["--seed"], "missing argument for option '--seed'"),
        (&["--resume"], "--resume needs --checkpoint FILE, the file to go on from"),
        (&["digits"], "unexpected argument \"digits\""),
    ] {
        assert_eq!(parse(arguments).err().as_deref(), Some(expected), "{arguments:?}");
    }
}

/// It is asked before training, not found out after it.
#[test]
fn a_folder_that_cannot_be_written_to_is_found() {
    let folder = std::env::temp_dir().join(format!("plywood-examples-{}", std::process::id()));
    writable(&folder.join("made")).unwrap();
    assert_eq!(std::fs::read_dir(folder.join("made")).unwrap().count(), 0);
    let file = folder.join("file");
    std::fs::write(&file, "text").unwrap();
    assert!(writable(&file).is_err() && writable(&file.join("below")).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
    std::fs::remove_dir_all(folder).unwrap();
}
