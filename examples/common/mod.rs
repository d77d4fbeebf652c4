//! What the MNIST examples share: options, data, and where they leave what they made.
#![allow(dead_code, unreachable_pub, reason = "each example is a program of its own and uses a part of this")]

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use clap::Parser;
use plywood::callbacks::ModelCheckpoint;
use plywood::data::Mnist;
use plywood::prelude::*;
use plywood::progress::spinner;

/// What an example's `main` returns.
pub type Outcome = Result<(), Failure>;

/// What went wrong, for people to read.
pub struct Failure(String);

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// This is how `main` prints it.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The options of an example. Each has its default in the example itself.
#[derive(Debug, Parser)]
pub struct Options {
    /// Passes over the training data
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Samples in a training step
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// Decides the first weights and the order of samples; the same seed gives the same result to the last bit
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads to compute on; all cores by default [the result does not depend on it]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Folder with the four files of MNIST or of a data set in its format, as they are or gzip-compressed [default:
    /// data/mnist; the example fashion_mnist has one of its own]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Use only the first N training and N test samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Folder for what the example leaves behind, such as report.html; made if need be [default: target/<example>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Options {
    /// Reads the command line; a wrong one ends the program with a message and exit code 2.
    pub fn parse() -> Self {
        <Self as Parser>::parse().set_up()
    }

    fn set_up(self) -> Self {
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads.into())
                .build_global()
                .expect("the thread pool is set up once, before anything else uses it");
        }
        self
    }

    pub fn epochs(&self, default: u32) -> usize {
        self.epochs.unwrap_or(default) as usize
    }

    pub fn batch_size(&self, default: u32) -> usize {
        self.batch_size.unwrap_or(default) as usize
    }

    /// Training and test images, `[n, 28, 28, 1]` in 0..1, with their labels, from this folder unless asked for another. A
    /// relative one is in the project's.
    pub fn load(&self, default: &str) -> plywood::Result<Mnist> {
        let folder = self.data.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default));
        let Mnist { train, test } = spinner(&format!("reading {}", folder.display()), || Mnist::load(&folder))?;
        let Some(limit) = self.limit else { return Ok(Mnist { train, test }) };
        Ok(Mnist { train: train.head(limit as usize)?, test: test.head(limit as usize)? })
    }

    /// The folder for what an example leaves behind.
    pub fn out(&self, example: &str) -> PathBuf {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(example);
        self.out.clone().unwrap_or_else(default)
    }
}

/// The options of an example that trains one model: those of all, and checkpoints.
#[derive(Debug, Parser)]
pub struct CheckpointOptions {
    #[command(flatten)]
    options: Options,
    /// File that the run is written to after every 100 steps and every epoch, so that it can go on from there
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Go on from the file of --checkpoint, if it is there, as if the run had never stopped
    #[arg(long, requires = "checkpoint")]
    resume: bool,
}

impl CheckpointOptions {
    /// Reads the command line, as [`Options::parse`] does.
    pub fn parse() -> Self {
        let options = <Self as Parser>::parse();
        Self { options: options.options.set_up(), ..options }
    }

    /// Trains, with checkpoints if they are asked for, and from the last one on if that is.
    pub fn fit(&self, trainer: &mut Trainer, data: &Dataset, fit: &Fit<'_>) -> plywood::Result<History> {
        let Some(file) = &self.checkpoint else { return trainer.fit(data, fit) };
        if self.resume && file.exists() {
            trainer.load_checkpoint(file)?;
            println!("going on after step {}", trainer.step());
        }
        let (mut steps, mut epochs) = (ModelCheckpoint::new(file).every_steps(100), ModelCheckpoint::new(file));
        trainer.fit_with(data, fit, &mut [&mut steps, &mut epochs])
    }
}

impl Deref for CheckpointOptions {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}
