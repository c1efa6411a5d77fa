//! Adam (Kingma and Ba, ICLR 2015) and AdamW (Loshchilov and Hutter, ICLR 2019).
//!
//! `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`, `p ← p − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)`. Weight decay
//! is decoupled in AdamW, `p ← p − η λ p` before the step, and added to the gradient in Adam, `g ← g + λ p`.

use super::{Optimizer, STEP, by_part};
use crate::{
    DType, Device, Grads, Parameter, Tensor, cpu,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{In, Out, Real},
};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// One step of Adam or AdamW on any number of parameters. Operands: their gradients. Results, in place: for each gradient
/// the parameter, its first moment and its second moment, all of the gradient's shape.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate η.
    pub learning_rate: f64,
    /// β₁ and β₂.
    pub betas: [f64; 2],
    /// ε, outside the root.
    pub eps: f64,
    /// λ.
    pub weight_decay: f64,
    /// Whether the decay is decoupled (AdamW) or part of the gradient (Adam).
    pub decoupled: bool,
    /// Number of this step, from 1.
    pub step: u32,
}

impl Op for AdamStep {
    const NAME: &'static str = "adam_step";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &vec![DType::F32; ins.len()])?;
        let rates = [self.learning_rate, self.eps, self.weight_decay];
        let whole = rates.iter().all(|rate| rate.is_finite() && *rate >= 0.0);
        if !whole || !self.betas.iter().all(|beta| (0.0..1.0).contains(beta)) || self.step == 0 {
            let what =
                format!("{self:?}: rates must be finite and at least 0, betas below 1, steps count from 1");
            return Err(Error::argument(Self::NAME, what));
        }
        Ok(ins.iter().flat_map(|&gradient| [gradient; 3]).collect())
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let constants = self.constants::<T>();
        for (gradient, state) in ins.iter().zip(outs.chunks_mut(3)) {
            let [parameter, first, second] = state else { return };
            for (i, &g) in gradient.iter().enumerate() {
                constants.update(g, &mut parameter[i], &mut first[i], &mut second[i]);
            }
        }
    }
}

/// The step's scalars, worked out in `f64` and rounded once.
#[derive(Clone, Copy)]
pub(super) struct Constants<T> {
    pub(super) beta: [T; 2],
    pub(super) rest: [T; 2],
    /// 1 − η λ, or 1.
    pub(super) shrink: T,
    /// λ where it belongs to the gradient, or 0.
    pub(super) decay: T,
    /// η / (1 − β₁ᵗ).
    pub(super) rate: T,
    /// 1 / √(1 − β₂ᵗ).
    pub(super) root: T,
    pub(super) eps: T,
}

impl<T: Real> Constants<T> {
    fn update(&self, g: T, parameter: &mut T, first: &mut T, second: &mut T) {
        let g = g + self.decay * *parameter;
        *first = self.beta[0] * *first + self.rest[0] * g;
        *second = self.beta[1] * *second + self.rest[1] * g * g;
        *parameter = *parameter * self.shrink - self.rate * *first / (second.sqrt() * self.root + self.eps);
    }
}

impl AdamStep {
    pub(super) fn constants<T: Real>(&self) -> Constants<T> {
        let [b1, b2] = self.betas;
        let step = self.step.min(i32::MAX as u32) as i32;
        let (coupled, decoupled) =
            if self.decoupled { (0.0, self.weight_decay) } else { (self.weight_decay, 0.0) };
        Constants {
            beta: [T::of(b1), T::of(b2)],
            rest: [T::of(1.0 - b1), T::of(1.0 - b2)],
            shrink: T::of(1.0 - self.learning_rate * decoupled),
            decay: T::of(coupled),
            rate: T::of(self.learning_rate / (1.0 - b1.powi(step))),
            root: T::of(1.0 / (1.0 - b2.powi(step)).sqrt()),
            eps: T::of(self.eps),
        }
    }

    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        ins.iter().zip(outs.chunks_mut(3)).try_for_each(|(gradient, state)| self.one_on_cpu(gradient, state))
    }

    fn one_on_cpu(&self, gradient: &cpu::In, state: &mut [cpu::Out]) -> Result<()> {
        const PART: usize = 16 * 1024;
        let constants = self.constants::<f32>();
        let gradient = gradient.f32()?;
        let [parameter, first, second] = state else {
            return Err(Error::argument(Self::NAME, "takes parameter, first moment and second moment"));
        };
        let (p, m, v) = (parameter.f32()?, first.f32()?, second.f32()?);
        let parts = p.par_chunks_mut(PART).zip(m.par_chunks_mut(PART)).zip(v.par_chunks_mut(PART));
        parts.zip(gradient.par_chunks(PART)).for_each(|(((p, m), v), g)| {
            for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                constants.update(*g, p, m, v);
            }
        });
        Ok(())
    }
}

/// A parameter's share of the optimiser's state.
#[derive(Debug, Clone)]
struct Moments {
    first: Tensor,
    second: Tensor,
    steps: u32,
}

/// Adam with decoupled weight decay, or, by [`AdamW::coupled`], plain Adam.
///
/// ```
/// use foveate::{Device, Parameter, Tape, Tensor, ops, optim::{AdamW, Optimizer}};
/// # fn main() -> foveate::Result<()> {
/// let mut w = Parameter::new("w", Tensor::full(1.0_f32, [2], &Device::Cpu)?);
/// let mut optimizer = AdamW::new(0.1, 0.0);
/// for _ in 0..100 {
///     let tape = Tape::new();
///     let x = tape.watch(&w)?;
///     let grads = tape.backward(&ops::sum_all(&ops::mul(&x, &x)?)?)?;
///     optimizer.step(&mut [&mut w], &grads)?;
/// }
/// assert!(w.tensor().to_vec::<f32>()?.iter().all(|v| v.abs() < 0.1));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct AdamW {
    learning_rate: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    decoupled: bool,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// β = (0.9, 0.999), ε = 1e-8.
    pub fn new(learning_rate: f64, weight_decay: f64) -> Self {
        let moments = BTreeMap::new();
        AdamW { learning_rate, betas: [0.9, 0.999], eps: 1e-8, weight_decay, decoupled: true, moments }
    }

    /// Adam: the decay is added to the gradient.
    pub fn coupled(mut self) -> Self {
        self.decoupled = false;
        self
    }

    /// Sets β₁ and β₂.
    pub fn with_betas(mut self, first: f64, second: f64) -> Self {
        self.betas = [first, second];
        self
    }

    /// Sets ε.
    pub fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, parameters: &mut [&mut Parameter], grads: &Grads) -> Result<()> {
        for parameter in parameters.iter() {
            let Some(gradient) = grads.parameter(parameter) else { continue };
            if !self.moments.contains_key(parameter.name()) {
                let zeros = || Tensor::zeros(gradient.dims(), &gradient.device());
                let fresh = Moments { first: zeros()?, second: zeros()?, steps: 0 };
                self.moments.insert(parameter.name().to_owned(), fresh);
            }
        }
        let op = |steps: u32| AdamStep {
            learning_rate: self.learning_rate,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            decoupled: self.decoupled,
            step: steps + 1,
        };
        // Parameters that have taken as many steps take the next one together.
        let mut moments: BTreeMap<&str, &mut Moments> =
            self.moments.iter_mut().map(|(name, moments)| (name.as_str(), moments)).collect();
        let mut together: BTreeMap<u32, Vec<(&mut Parameter, &mut Moments, &Tensor)>> = BTreeMap::new();
        for parameter in parameters.iter_mut() {
            let Some(gradient) = grads.parameter(parameter) else { continue };
            let Some(own) = moments.remove(parameter.name()) else {
                let what =
                    format!("two parameters are called {}: give each a name of its own", parameter.name());
                return Err(Error::argument("adam_step", what));
            };
            together.entry(own.steps).or_default().push((parameter, own, gradient));
        }
        for (steps, mut group) in together {
            let gradients: Vec<&Tensor> = group.iter().map(|(_, _, gradient)| *gradient).collect();
            let state = group
                .iter_mut()
                .map(|(parameter, own, _)| (&mut **parameter, [&mut own.first, &mut own.second]));
            Parameter::update_all(&op(steps), state, &gradients)?;
            group.iter_mut().for_each(|(_, own, _)| own.steps += 1);
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (name, moments) in &self.moments {
            state.insert(format!("first_moment.{name}"), moments.first.clone());
            state.insert(format!("second_moment.{name}"), moments.second.clone());
            if let Ok(steps) = Tensor::scalar(moments.steps, &Device::Cpu) {
                state.insert(format!("{STEP}.{name}"), steps);
            }
        }
        state
    }

    fn load_state(&mut self, parameters: &[&Parameter], state: BTreeMap<String, Tensor>) -> Result<()> {
        let mut loaded = BTreeMap::new();
        for (name, mut own) in by_part(parameters, state, &["first_moment", "second_moment", STEP])? {
            if let (Some(first), Some(second), Some(steps)) =
                (own.remove("first_moment"), own.remove("second_moment"), own.remove(STEP))
            {
                loaded.insert(name, Moments { first, second, steps: steps.item()? });
            }
        }
        self.moments = loaded;
        Ok(())
    }
}
