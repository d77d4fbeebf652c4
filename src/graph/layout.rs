//! All parameters of a model in one buffer, and the layout that names its parts.
//!
//! What is trainable comes first, what layers remember after it. Gradients and optimizer slots have the layout of the first
//! part, so an optimizer step, a norm, a hash or a file is one operation on one slice.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use ndarray::IxDyn;

use crate::error::{Error, Result};
use crate::layers::{Block, BlockMut, Entry, ParameterSpec, Role};
use crate::shape::elements;

/// Names, shapes and ranges of all parameters of a model: the trainable ones in the order of the layers, then their
/// states in the same order.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([3]).add(Dense::new(2)).build(42)?;
/// let names: Vec<&str> = model.layout().entries().iter().map(|entry| entry.name()).collect();
/// assert_eq!(names, ["dense/kernel", "dense/bias"]);
/// assert_eq!(model.layout().len(), 3 * 2 + 2);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    entries: Vec<Entry>,
    /// The entries of each layer: the trainable ones, and its state.
    blocks: Vec<[Range<usize>; 2]>,
    trainable: usize,
    len: usize,
    by_name: HashMap<String, usize>,
}

/// A layout in the making.
#[derive(Debug, Default)]
pub(crate) struct LayoutBuilder {
    trainable: Vec<Entry>,
    state: Vec<Entry>,
    blocks: Vec<[Range<usize>; 2]>,
    lens: [usize; 2],
}

impl LayoutBuilder {
    /// Appends the parameters of one layer, and returns its number; a layer without any still counts.
    pub(crate) fn push(&mut self, layer: &str, specs: &[ParameterSpec]) -> Result<usize> {
        let first = [self.trainable.len(), self.state.len()];
        let mut names = HashSet::new();
        for spec in specs {
            if !names.insert(spec.name) {
                return Err(Error::layer(layer, format!("has two parameters of the name {:?}", spec.name)));
            }
            let too_large = || Error::TooLarge { owner: layer.to_owned(), what: spec.name };
            let others = self.lens[usize::from(spec.role == Role::Trainable)];
            let (entries, len) = match spec.role {
                Role::Trainable => (&mut self.trainable, &mut self.lens[0]),
                Role::State => (&mut self.state, &mut self.lens[1]),
            };
            let end = elements(&spec.shape).and_then(|own| len.checked_add(own)).ok_or_else(too_large)?;
            end.checked_add(others).ok_or_else(too_large)?;
            let range = std::mem::replace(len, end)..end;
            let name = format!("{layer}/{}", spec.name);
            entries.push(Entry { name, shape: IxDyn(&spec.shape), range, role: spec.role });
        }
        self.blocks.push([first[0]..self.trainable.len(), first[1]..self.state.len()]);
        Ok(self.blocks.len() - 1)
    }

    /// The number of layers.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The entries of a layer, with ranges that count from the beginning of their part.
    pub(crate) fn block(&self, block: usize) -> impl Iterator<Item = &Entry> {
        let [trainable, state] = self.blocks[block].clone();
        self.trainable[trainable].iter().chain(&self.state[state])
    }

    pub(crate) fn finish(self) -> Layout {
        let Self { trainable: mut entries, state, mut blocks, lens } = self;
        let (count, trainable) = (entries.len(), lens[0]);
        entries.extend(
            state
                .into_iter()
                .map(|entry| Entry { range: entry.range.start + trainable..entry.range.end + trainable, ..entry }),
        );
        for [_, state] in &mut blocks {
            *state = state.start + count..state.end + count;
        }
        let by_name = entries.iter().map(|entry| entry.name.clone()).zip(0..).collect();
        Layout { entries, blocks, trainable, len: trainable + lens[1], by_name }
    }
}

impl Layout {
    /// Returns the number of parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of those that the optimizer changes: the first ones of the buffer.
    pub fn trainable_len(&self) -> usize {
        self.trainable
    }

    /// Returns every parameter, in the buffer's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the parameter of this name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownParameter`], with all names there are.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        let entry = self.by_name.get(name).map(|&entry| &self.entries[entry]);
        entry.ok_or_else(|| Error::UnknownParameter {
            name: name.to_owned(),
            known: self.entries.iter().map(|entry| entry.name.clone()).collect(),
        })
    }

    /// Number of trainable entries, which come first.
    pub(crate) fn trainable_count(&self) -> usize {
        self.entries.partition_point(|entry| entry.role == Role::Trainable)
    }

    /// Number of a layer's parameters, trainable or not.
    pub(crate) fn block_len(&self, block: usize) -> usize {
        range(self.trainable(block)).len() + range(self.state(block)).len()
    }

    /// The numbers of a layer's trainable entries.
    pub(crate) fn trainable_entries(&self, block: usize) -> Range<usize> {
        self.blocks[block][0].clone()
    }

    /// The trainable entries of a layer.
    pub(crate) fn trainable(&self, block: usize) -> &[Entry] {
        &self.entries[self.blocks[block][0].clone()]
    }

    fn state(&self, block: usize) -> &[Entry] {
        &self.entries[self.blocks[block][1].clone()]
    }

    /// All entries of a layer.
    #[cfg(any(feature = "safetensors", feature = "keras"))]
    pub(crate) fn block_entries(&self, block: usize) -> impl Iterator<Item = &Entry> {
        self.trainable(block).iter().chain(self.state(block))
    }

    /// A layer's share of the trainable parameters.
    pub(crate) fn parameters<'a, T>(&'a self, block: usize, values: &'a [T]) -> Block<'a, T> {
        let entries = self.trainable(block);
        Block { entries, values: &values[range(entries)] }
    }

    /// A layer's share of the gradients.
    pub(crate) fn gradients<'a, T>(&'a self, block: usize, gradients: &'a mut [T], wanted: bool) -> BlockMut<'a, T> {
        let entries = self.trainable(block);
        BlockMut { entries, values: &mut gradients[range(entries)], wanted }
    }

    /// Memory for a layer's gradients that lie elsewhere, for themselves.
    pub(crate) fn gradients_apart<'a, T>(&'a self, block: usize, memory: &'a mut [T]) -> BlockMut<'a, T> {
        let entries = self.trainable(block);
        BlockMut { entries, values: &mut memory[..range(entries).len()], wanted: true }
    }

    /// Where a layer's trainable parameters lie.
    pub(crate) fn trainable_range(&self, block: usize) -> Range<usize> {
        range(self.trainable(block))
    }

    /// A layer's share of the state, in a buffer of all values.
    pub(crate) fn states<'a, T>(&'a self, block: usize, values: &'a [T]) -> Block<'a, T> {
        let entries = self.state(block);
        Block { entries, values: &values[range(entries)] }
    }

    /// A layer's share of the next state, in a buffer of nothing but state.
    pub(crate) fn next_states<'a, T>(&'a self, block: usize, next: &'a mut [T]) -> BlockMut<'a, T> {
        let entries = self.state(block);
        let Range { start, end } = range(entries);
        let range = if entries.is_empty() { 0..0 } else { start - self.trainable..end - self.trainable };
        BlockMut { entries, values: &mut next[range], wanted: true }
    }
}

/// Where entries that follow one another lie together.
fn range(entries: &[Entry]) -> Range<usize> {
    match entries {
        [] => 0..0,
        [only] => only.range(),
        [first, .., last] => first.range.start..last.range.end,
    }
}
