//! Reverse-mode differentiation: a list of what was computed, walked backwards once.
//!
//! [`Tape::watch`] makes a tensor known to a tape; every operation that takes a watched tensor leaves a [`Backward`]
//! record and its result is watched too. [`Tape::backward`] pops the records in reverse, frees what each one saved as
//! it goes, and returns the gradients of the tensors that were watched. Without a watched operand nothing is recorded
//! and nothing is saved, so the same functions serve inference.

mod checkpoint;
mod keep;

use crate::{
    device::{Meta, Op, Outputs, run},
    error::{Error, Result},
    ops,
    parameter::{Parameter, Stamp},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Where a watched tensor stands on its tape.
#[derive(Clone)]
pub(crate) struct Node {
    tape: Tape,
    pub(crate) value: u32,
}

/// How an operation's gradient is computed: a plain struct that holds what the forward pass saved.
pub trait Backward: fmt::Debug + Send + Sync {
    /// Gives each operand its gradient, from the gradients of the results.
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()>;

    /// The same when this is the last use of the record, as on a tape: what it kept and was given can be freed on the way.
    fn backward_once(self: Box<Self>, dy: Given, to: &mut Gradients) -> Result<()> {
        self.backward(&dy, to)
    }

    /// The tensors kept for this, so that a tape can tell what it holds.
    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        SmallVec::new()
    }

    /// Those of them that a tape may keep with fewer digits ([`Tape::keeping`]); in [`Backward::backward`] they are what
    /// they were, but for the rounding.
    fn activations(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        SmallVec::new()
    }
}

/// The gradients of an operation's results, as they arrive in [`Backward::backward`].
pub struct Given {
    grads: SmallVec<[Option<Tensor>; 2]>,
}

impl Given {
    /// The gradient of result `at`; `None` when nothing depended on it.
    pub fn get(&self, at: usize) -> Option<&Tensor> {
        self.grads.get(at).and_then(Option::as_ref)
    }

    /// As [`Given::one`], for good.
    pub fn into_one(self) -> Result<Tensor> {
        let first = self.grads.into_iter().next().flatten();
        first.ok_or_else(|| Error::tape("the gradient of an operation's first result is missing"))
    }

    /// The gradient of the first result, which operations with a single result can rely on.
    pub fn one(&self) -> Result<&Tensor> {
        self.get(0).ok_or_else(|| Error::tape("the gradient of an operation's first result is missing"))
    }
}

/// Receives the gradients of an operation's operands, by operand position.
pub struct Gradients<'a> {
    operands: &'a [Option<u32>],
    slots: &'a mut [Option<Tensor>],
}

impl Gradients<'_> {
    /// Whether anybody asked for the gradient of operand `at`.
    pub fn wants(&self, at: usize) -> bool {
        self.operands.get(at).is_some_and(Option::is_some)
    }

    /// Computes and gives the gradient of operand `at`, if it is wanted. The first contribution to a tensor moves in,
    /// later ones are added.
    pub fn give(&mut self, at: usize, gradient: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        let Some(&Some(value)) = self.operands.get(at) else { return Ok(()) };
        let new = gradient()?;
        let slot = &mut self.slots[value as usize];
        *slot = Some(match slot.take() {
            None => new,
            Some(sum) => ops::add(&sum, &new)?,
        });
        Ok(())
    }
}

struct Record {
    name: &'static str,
    /// Results are the values `first..first + outs.len()`.
    first: u32,
    outs: SmallVec<[Meta; 1]>,
    operands: SmallVec<[Option<u32>; 4]>,
    kind: Kind,
}

enum Kind {
    /// A watched tensor; with the parameter it came from, if any.
    Leaf(Option<Stamp>),
    Computed(Computed),
}

struct Computed {
    backward: Box<dyn Backward>,
    /// Which of its [`Backward::activations`] are rounded.
    rounded: keep::Rounded,
}

#[derive(Default)]
struct Records {
    list: Vec<Record>,
    values: u32,
    consumed: bool,
    /// How activations are kept, if not as they are, and those that are kept so far.
    keep: Option<keep::Keep>,
}

/// A record of computations, to be differentiated once. A cheap handle: clones are the same tape.
///
/// ```
/// use foveate::{Device, Tape, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let tape = Tape::new();
/// let x = tape.watch(&Tensor::from_slice(&[1.0_f32, -2.0, 3.0], [3], &Device::Cpu)?)?;
/// let y = ops::sum_all(&ops::mul(&x, &x)?)?;
/// println!("{tape}");
/// let grads = tape.backward(&y)?;
/// assert_eq!(grads.of(&x).unwrap().to_vec::<f32>()?, [2.0, -4.0, 6.0]);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Tape {
    records: Arc<Mutex<Records>>,
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same tensor or parameter, watched: operations on it are recorded from here on.
    pub fn watch(&self, what: &impl Watch) -> Result<Tensor> {
        let (tensor, stamp) = what.leaf();
        if !tensor.dtype().is_float() {
            return Err(Error::dtype("watch", format!("a tensor of {} has no gradient", tensor.dtype())));
        }
        let meta = Meta::new(tensor.dims, tensor.dtype);
        let value = self.push("leaf", smallvec![meta], SmallVec::new(), Kind::Leaf(stamp))?;
        Ok(Tensor { node: Some(Node { tape: self.clone(), value }), ..tensor })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.lock().list.len()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the tensors saved for backward, each tensor object counted once.
    pub fn saved_bytes(&self) -> usize {
        let records = self.lock();
        let mut seen = Vec::new();
        for record in &records.list {
            if let Kind::Computed(Computed { backward, .. }) = &record.kind {
                for t in backward.saved() {
                    seen.push((t.buffer.address(), t.offset, t.elements() * t.dtype().size()));
                }
            }
        }
        seen.sort_unstable();
        seen.dedup();
        seen.iter().map(|s| s.2).sum()
    }

    /// Gradients of a scalar `loss` with respect to everything watched. The tape is consumed: what it saved is freed
    /// on the way, and a second call is an error.
    pub fn backward(&self, loss: &Tensor) -> Result<Grads> {
        if loss.elements() != 1 {
            let what = format!(
                "backward starts at a scalar, not shape {}: sum it, or use backward_from",
                loss.dims()
            );
            return Err(Error::shape("backward", what));
        }
        let one = ops::full_like(loss, 1.0)?;
        self.backward_from(&[(loss, &one)])
    }

    /// As [`Tape::backward`], from several tensors with the gradient that each one has.
    pub fn backward_from(&self, roots: &[(&Tensor, &Tensor)]) -> Result<Grads> {
        let mut list = self.consume()?;
        let values = list.last().map_or(0, |r| r.first as usize + r.outs.len());
        let mut slots: Vec<Option<Tensor>> = vec![None; values];
        for (root, gradient) in roots {
            let Some(node) = root.node.as_ref().filter(|n| n.tape.is(self)) else {
                return Err(Error::tape(
                    "backward from a tensor that this tape did not record: watch its inputs",
                ));
            };
            if gradient.dims() != root.dims() {
                let what =
                    format!("gradient of shape {} for a tensor of shape {}", gradient.dims(), root.dims());
                return Err(Error::shape("backward", what));
            }
            if gradient.dtype() != root.dtype() {
                let what = format!("gradient of {} for a tensor of {}", gradient.dtype(), root.dtype());
                return Err(Error::dtype("backward", what));
            }
            let operand = [Some(node.value)];
            Gradients { operands: &operand, slots: &mut slots }.give(0, || Ok(gradient.detach()))?;
        }
        let mut parameters = Vec::new();
        while let Some(record) = list.pop() {
            let range = record.first as usize..record.first as usize + record.outs.len();
            match record.kind {
                Kind::Leaf(None) => {}
                Kind::Leaf(Some(stamp)) => {
                    stamp.check()?;
                    if let Some(gradient) = &slots[range.start] {
                        parameters.push((stamp.id(), gradient.clone()));
                    }
                }
                Kind::Computed(mut computed) => {
                    let dy = Given { grads: slots[range].iter_mut().map(Option::take).collect() };
                    if dy.grads.iter().any(Option::is_some) {
                        computed.widen()?;
                        let mut to = Gradients { operands: &record.operands, slots: &mut slots };
                        computed.backward.backward_once(dy, &mut to)?;
                    }
                }
            }
        }
        let mut grads = Grads { tape: Some(self.clone()), slots, parameters: Vec::new() };
        for (id, gradient) in parameters.into_iter().rev() {
            grads.add_parameter(id, gradient)?;
        }
        Ok(grads)
    }

    fn is(&self, other: &Tape) -> bool {
        Arc::ptr_eq(&self.records, &other.records)
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn consume(&self) -> Result<Vec<Record>> {
        let mut records = self.lock();
        if std::mem::replace(&mut records.consumed, true) {
            return Err(Error::tape(
                "it was consumed by an earlier backward: record the computation on a new tape",
            ));
        }
        // From here on, an activation lives as long as the records that share it.
        records.keep = None;
        Ok(std::mem::take(&mut records.list))
    }

    /// Appends a record and returns the number of its first result.
    fn push(
        &self,
        name: &'static str,
        outs: SmallVec<[Meta; 1]>,
        operands: SmallVec<[Option<u32>; 4]>,
        kind: Kind,
    ) -> Result<u32> {
        let mut records = self.lock();
        if records.consumed {
            return Err(Error::tape(
                "it was consumed by backward: detach the tensor, or watch it on a new tape",
            ));
        }
        let first = records.values;
        records.values += outs.len() as u32;
        records.list.push(Record { name, first, outs, operands, kind });
        Ok(first)
    }
}

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for record in &self.lock().list {
            for (i, meta) in record.outs.iter().enumerate() {
                write!(f, "{}%{:<4} {meta}", if i > 0 { ", " } else { "" }, record.first as usize + i)?;
            }
            write!(f, " = {}(", record.name)?;
            for (i, operand) in record.operands.iter().enumerate() {
                f.write_str(if i > 0 { ", " } else { "" })?;
                match operand {
                    Some(value) => write!(f, "%{value}")?,
                    None => f.write_str("-")?,
                }
            }
            f.write_str(")")?;
            match &record.kind {
                Kind::Leaf(Some(stamp)) => writeln!(f, "  {stamp}")?,
                Kind::Computed(computed) if f.alternate() => writeln!(f, "  {:?}", computed.backward)?,
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Tape({} records)", self.len())
    }
}

/// What a tape can watch: a [`Tensor`] or a [`Parameter`].
pub trait Watch {
    /// The tensor, detached, and the parameter's version if there is one.
    #[doc(hidden)]
    fn leaf(&self) -> (Tensor, Option<Stamp>);
}

impl Watch for Tensor {
    fn leaf(&self) -> (Tensor, Option<Stamp>) {
        (self.detach(), None)
    }
}

impl Watch for Parameter {
    fn leaf(&self) -> (Tensor, Option<Stamp>) {
        (self.tensor().detach(), Some(self.stamp()))
    }
}

/// Gradients, by watched tensor and by parameter.
#[derive(Debug, Default)]
pub struct Grads {
    /// `None` once gradients of several tapes are summed: then only parameters identify them.
    tape: Option<Tape>,
    slots: Vec<Option<Tensor>>,
    parameters: Vec<(u64, Tensor)>,
}

impl Grads {
    /// The gradient of a watched tensor; `None` when the loss does not depend on it.
    pub fn of(&self, watched: &Tensor) -> Option<&Tensor> {
        let node = watched.node.as_ref()?;
        let tape = self.tape.as_ref()?;
        if !tape.is(&node.tape) {
            return None;
        }
        self.slots.get(node.value as usize)?.as_ref()
    }

    /// The gradient of a parameter, summed over every time it was watched; `None` when the loss does not depend on it.
    pub fn parameter(&self, parameter: &Parameter) -> Option<&Tensor> {
        self.parameters.iter().find(|(id, _)| *id == parameter.id()).map(|(_, gradient)| gradient)
    }

    /// All parameters' gradients, in the order the parameters were watched.
    pub fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters.iter().map(|(_, gradient)| gradient)
    }

    /// Adds the parameters' gradients of another tape, as when a batch is computed in parts.
    pub fn add(&mut self, other: Grads) -> Result<()> {
        for (id, gradient) in other.parameters {
            self.add_parameter(id, gradient)?;
        }
        self.tape = None;
        self.slots.clear();
        Ok(())
    }

    /// Replaces every parameter's gradient, as clipping does. The values are in the order the parameters were watched.
    ///
    /// # Errors
    ///
    /// Those of `f`, and another number of gradients than it was given; then nothing has changed.
    pub fn map(&mut self, f: impl FnOnce(&[&Tensor]) -> Result<Vec<Tensor>>) -> Result<()> {
        let all: Vec<&Tensor> = self.parameters.iter().map(|(_, gradient)| gradient).collect();
        let new = f(&all)?;
        if new.len() != self.parameters.len() {
            return Err(Error::tape(format!(
                "{} gradients in place of {}",
                new.len(),
                self.parameters.len()
            )));
        }
        self.parameters.iter_mut().zip(new).for_each(|(slot, new)| slot.1 = new);
        Ok(())
    }

    fn add_parameter(&mut self, id: u64, gradient: Tensor) -> Result<()> {
        match self.parameters.iter_mut().find(|(have, _)| *have == id) {
            Some((_, sum)) => *sum = ops::add(sum, &gradient)?,
            None => self.parameters.push((id, gradient)),
        }
        Ok(())
    }
}

/// What an operation's record may save: its operands and results, detached, and which operands want a gradient.
pub struct Save<'a> {
    ins: &'a [&'a Tensor],
    outs: &'a [Tensor],
}

impl Save<'_> {
    /// Operand `at`.
    pub fn input(&self, at: usize) -> Tensor {
        self.ins[at].detach()
    }

    /// Result `at`.
    pub fn output(&self, at: usize) -> Tensor {
        self.outs[at].detach()
    }

    /// Whether operand `at` wants a gradient.
    pub fn wants(&self, at: usize) -> bool {
        self.ins[at].is_watched()
    }
}

/// Runs `op` and, if an operand is watched, records the backward that `save` makes.
pub fn apply<O: Op, B: Backward + 'static>(
    op: &O,
    ins: &[&Tensor],
    save: impl FnOnce(&Save) -> B,
) -> Result<Outputs> {
    record(O::NAME, ins, run(op, ins)?, save)
}

/// [`apply`] for operations with a single result.
pub fn apply1<O: Op, B: Backward + 'static>(
    op: &O,
    ins: &[&Tensor],
    save: impl FnOnce(&Save) -> B,
) -> Result<Tensor> {
    first(O::NAME, apply(op, ins, save)?)
}

/// Makes `outs` known to the tape that watches `ins`, if there is one.
pub fn record<B: Backward + 'static>(
    name: &'static str,
    ins: &[&Tensor],
    mut outs: Outputs,
    save: impl FnOnce(&Save) -> B,
) -> Result<Outputs> {
    let mut nodes = ins.iter().filter_map(|t| t.node.as_ref());
    let Some(tape) = nodes.next().map(|node| node.tape.clone()) else { return Ok(outs) };
    if nodes.any(|node| !node.tape.is(&tape)) {
        return Err(Error::tape(format!(
            "{name} got operands watched by two tapes: detach those of one of them"
        )));
    }
    let operands = ins.iter().map(|t| t.node.as_ref().map(|node| node.value)).collect();
    let metas = outs.iter().map(|t| Meta::new(t.dims, t.dtype)).collect();
    let mut backward = save(&Save { ins, outs: &outs });
    let (rounded, of_outs) = tape.round(&mut backward, ins, &outs)?;
    let computed = Computed { backward: Box::new(backward), rounded };
    let value = tape.push(name, metas, operands, Kind::Computed(computed))?;
    tape.share(value, of_outs);
    for (i, out) in outs.iter_mut().enumerate() {
        if out.dtype.is_float() {
            out.node = Some(Node { tape: tape.clone(), value: value + i as u32 });
        }
    }
    Ok(outs)
}

/// [`record`] for a single result.
pub fn record1<B: Backward + 'static>(
    name: &'static str,
    ins: &[&Tensor],
    out: Tensor,
    save: impl FnOnce(&Save) -> B,
) -> Result<Tensor> {
    first(name, record(name, ins, smallvec![out], save)?)
}

fn first(name: &'static str, outs: Outputs) -> Result<Tensor> {
    outs.into_iter().next().ok_or_else(|| Error::shape(name, "the operation has no result"))
}
