//! What the MNIST examples share: options, data, and where they leave what they made.
#![allow(dead_code, unreachable_pub, reason = "each example is a program of its own and uses a part of this")]

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

use lexopt::Arg::{Long, Short};
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

/// What an example does, and what it uses unless its options say otherwise.
pub struct Example<const MODELS: usize> {
    pub name: &'static str,
    /// The first lines of `--help`, at most 80 characters each.
    pub about: &'static str,
    /// Where the four files of the data set are; a relative folder is in the project's.
    pub data: &'static str,
    pub epochs: usize,
    /// Samples in a training step of each model.
    pub batch_sizes: [usize; MODELS],
    /// Whether it has `--checkpoint` and `--resume`.
    pub checkpoints: bool,
}

/// The options of an example.
#[derive(Debug)]
pub struct Options<const MODELS: usize> {
    pub epochs: usize,
    pub batch_sizes: [usize; MODELS],
    pub seed: u64,
    pub data: PathBuf,
    /// The folder for what the example leaves behind. It can be written to.
    pub out: PathBuf,
    threads: Option<usize>,
    limit: Option<usize>,
    checkpoint: Option<PathBuf>,
    resume: bool,
}

impl<const MODELS: usize> Example<MODELS> {
    /// Reads the command line. A wrong one, or a folder for the output that cannot be written to, ends the program with a
    /// message and exit code 2.
    pub fn options(&self) -> Options<MODELS> {
        let options = self.parse(lexopt::Parser::from_env()).and_then(|options| match writable(&options.out) {
            Ok(()) => Ok(options),
            Err(error) => Err(format!("--out: nothing can be written into {}: {error}", options.out.display()).into()),
        });
        let options = options.unwrap_or_else(|error| {
            eprintln!("error: {error}\n\nFor all options, try --help.");
            exit(2)
        });
        if let Some(threads) = options.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .expect("the thread pool is set up once, before anything else uses it");
        }
        options
    }

    /// What the command line asks for.
    pub fn parse(&self, mut parser: lexopt::Parser) -> Result<Options<MODELS>, lexopt::Error> {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut options = Options {
            epochs: self.epochs,
            batch_sizes: self.batch_sizes,
            seed: 1,
            data: project.join(self.data),
            out: project.join("target").join(self.name),
            threads: None,
            limit: None,
            checkpoint: None,
            resume: false,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("epochs") => options.epochs = number("--epochs", parser.value()?, 1)?,
                Long("batch-size") => options.batch_sizes = [number("--batch-size", parser.value()?, 1)?; MODELS],
                Long("seed") => options.seed = number("--seed", parser.value()?, 0)?,
                Long("threads") => options.threads = Some(number("--threads", parser.value()?, 1)?),
                Long("limit") => options.limit = Some(number("--limit", parser.value()?, 1)?),
                Long("data") => options.data = parser.value()?.into(),
                Long("out") => options.out = parser.value()?.into(),
                Long("checkpoint") if self.checkpoints => options.checkpoint = Some(parser.value()?.into()),
                Long("resume") if self.checkpoints => options.resume = true,
                Short('h') | Long("help") => {
                    print!("{}", self.help());
                    exit(0)
                }
                other => return Err(other.unexpected()),
            }
        }
        if options.resume && options.checkpoint.is_none() {
            return Err("--resume needs --checkpoint FILE, the file to go on from".into());
        }
        Ok(options)
    }

    /// What `--help` prints.
    pub fn help(&self) -> String {
        let Self { name, about, data, epochs, .. } = self;
        let batch_sizes = self.batch_sizes.map(|size| size.to_string()).join(" and ");
        let mut help = format!(
            "\
{about}

Usage: cargo run --example {name} -- [OPTIONS]

  --epochs N         passes over the training data [default: {epochs}]
  --batch-size N     samples in a training step [default: {batch_sizes}]
  --seed N           decides the first weights and the order of samples; one
                     seed gives one result to the last bit [default: 1]
  --threads N        threads to compute on; the result does not depend on it
                     [default: all cores]
  --data DIR         folder with the four files of MNIST or of a data set in its
                     format, as they are or gzip-compressed
                     [default: {data}]
  --limit N          use only the first N training and N test samples
                     [default: all]
  --out DIR          folder for what the example leaves behind; made if need be
                     [default: target/{name}]
"
        );
        if self.checkpoints {
            help += "  --checkpoint FILE  write the run into this file every 100 steps and after each
                     epoch, so that it can go on from there [default: none]
  --resume           go on from the file of --checkpoint, if it is there, as if
                     the run had never stopped
";
        }
        help + "  -h, --help         this text\n"
    }
}

/// A whole number, not below `least`.
fn number<N>(option: &str, value: OsString, least: N) -> Result<N, lexopt::Error>
where
    N: std::str::FromStr + PartialOrd + fmt::Display,
{
    let wrong = || format!("{option}: got {value:?}, expected a whole number of at least {least}");
    let number = value.to_str().and_then(|value| value.parse().ok()).filter(|number| *number >= least);
    number.ok_or_else(|| wrong().into())
}

/// Makes the folder if need be, and writes a file into it that is removed again.
pub fn writable(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, [])?;
    fs::remove_file(probe)
}

impl<const MODELS: usize> Options<MODELS> {
    /// Training and test images, `[n, 28, 28, 1]` in 0..1, with their labels.
    pub fn load(&self) -> plywood::Result<Mnist> {
        let folder = &self.data;
        let Mnist { train, test } = spinner(&format!("reading {}", folder.display()), || Mnist::load(folder))?;
        let Some(limit) = self.limit else { return Ok(Mnist { train, test }) };
        Ok(Mnist { train: train.head(limit)?, test: test.head(limit)? })
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
