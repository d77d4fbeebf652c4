//! What the MNIST examples share: options, data, and what they leave behind.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use plywood::data::Mnist;
use plywood::model::History;

/// What an example's `main` returns.
pub type Outcome = Result<(), Box<dyn Error>>;

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
    /// Folder with the four files of MNIST or of a data set in its format, as they are or gzip-compressed
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist"))]
    data: PathBuf,
    /// Use only the first N training and N test samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Folder for history.csv; made if need be [default: target/<example>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Options {
    /// Reads the command line; a wrong one ends the program with a message and exit code 2.
    pub fn parse() -> Self {
        let options = <Self as Parser>::parse();
        if let Some(threads) = options.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads.into())
                .build_global()
                .expect("the thread pool is set up once, before anything else uses it");
        }
        options
    }

    pub fn epochs(&self, default: u32) -> usize {
        self.epochs.unwrap_or(default) as usize
    }

    pub fn batch_size(&self, default: u32) -> usize {
        self.batch_size.unwrap_or(default) as usize
    }

    /// Training and test images, `[n, 28, 28, 1]` in 0..1, with their labels.
    pub fn load(&self) -> plywood::Result<Mnist> {
        let Mnist { train, test } = Mnist::load(&self.data)?;
        let Some(limit) = self.limit else { return Ok(Mnist { train, test }) };
        Ok(Mnist { train: train.head(limit as usize)?, test: test.head(limit as usize)? })
    }

    /// Leaves the history behind.
    pub fn write(&self, example: &str, history: &History) -> plywood::Result<()> {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(example);
        history.write_csv(self.out.clone().unwrap_or_else(default).join("history.csv"))
    }
}
