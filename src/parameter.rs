//! Parameters: named tensors that an optimiser writes.

use crate::{
    device::{Op, run_in_place},
    error::{Error, Result},
    tensor::Tensor,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A tensor that is trained. It knows its name in a checkpoint, and counts how often it was written, so that a tape that
/// watched an older version is told instead of giving gradients of a mixture.
///
/// Cloning a parameter gives an independent one that starts with the same values (which are shared until either is
/// written).
#[derive(Debug)]
pub struct Parameter {
    name: String,
    tensor: Tensor,
    id: u64,
    version: Arc<AtomicU64>,
}

impl Parameter {
    /// A parameter with its name and first value.
    pub fn new(name: impl Into<String>, value: Tensor) -> Self {
        Parameter {
            name: name.into(),
            tensor: value.detach(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            version: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Its name in checkpoints.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its present value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// How often it was written.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Replaces the value, which must have the same shape and dtype.
    pub fn set(&mut self, value: Tensor) -> Result<()> {
        if (value.dims(), value.dtype()) != (self.tensor.dims(), self.tensor.dtype()) {
            let what = format!("{} is {:?}, got {:?}", self.name, self.tensor, value);
            return Err(Error::shape("set", what));
        }
        self.tensor = value.detach();
        self.touch();
        Ok(())
    }

    /// Updates the value and its optimiser state in place: `state` are further tensors that `op` writes after it.
    pub(crate) fn update<O: Op>(&mut self, op: &O, state: &mut [&mut Tensor], ins: &[&Tensor]) -> Result<()> {
        let mut all: Vec<&mut Tensor> = vec![&mut self.tensor];
        all.extend(state.iter_mut().map(|t| &mut **t));
        run_in_place(op, &mut all, ins)?;
        self.touch();
        Ok(())
    }

    /// The same for several parameters, each with two tensors of state, by one operation that writes them one parameter
    /// after the other.
    pub(crate) fn update_all<'a, O: Op>(
        op: &O,
        parameters: impl Iterator<Item = (&'a mut Parameter, [&'a mut Tensor; 2])>,
        ins: &[&Tensor],
    ) -> Result<()> {
        let (mut all, mut versions) = (Vec::new(), Vec::new());
        for (parameter, state) in parameters {
            versions.push(parameter.version.clone());
            all.push(&mut parameter.tensor);
            all.extend(state);
        }
        run_in_place(op, &mut all, ins)?;
        for version in versions {
            version.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { name: self.name.clone(), id: self.id, seen: self.version(), version: self.version.clone() }
    }

    fn touch(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

impl Clone for Parameter {
    fn clone(&self) -> Self {
        Parameter::new(self.name.clone(), self.tensor.clone())
    }
}

/// The version of a parameter that a tape watched.
pub struct Stamp {
    name: String,
    id: u64,
    seen: u64,
    version: Arc<AtomicU64>,
}

impl Stamp {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// An error if the parameter was written since.
    pub(crate) fn check(&self) -> Result<()> {
        let now = self.version.load(Ordering::Acquire);
        if now == self.seen {
            return Ok(());
        }
        let what = format!(
            "parameter {} was written (version {now}) after this tape watched version {}: run backward before the step",
            self.name, self.seen
        );
        Err(Error::tape(what))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.seen)
    }
}
