//! Sum, difference, product and quotient of two tensors, and the rectified sum: `y = f(a, b)`, with broadcasting.
//!
//! The shapes are aligned at their last axes; axes that one side lacks, or where it has size 1, are repeated (the rules
//! of NumPy). The gradient of a repeated operand is summed over the axes it was repeated along.

#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    Dims,
    cpu::{self, simd::vectorised},
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::{
        check_dtypes,
        elementwise::{
            scale::neg,
            unary::{Relu, UnaryGrad},
        },
        float, reduce,
    },
    spec::{self, Real},
    tape::{Backward, Given, Gradients, Save, apply1},
    tensor::Tensor,
};
use rayon::prelude::*;
use smallvec::{SmallVec, smallvec};
use std::{fmt::Debug, marker::PhantomData};

/// A function of two numbers, as a type: what [`Binary`] applies to each pair.
pub trait Kind: Debug + Send + Sync + Copy + Default + 'static {
    /// The operation's name.
    const NAME: &'static str;
    /// The function's number among those that have a kernel (`kernels/elementwise`).
    const NUMBER: u32;
    /// The function.
    fn f<T: Real>(a: T, b: T) -> T;
}

macro_rules! kinds {
    ($($kind:ident $name:literal $number:literal $doc:literal |$a:ident, $b:ident| $f:expr;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $kind;
        impl Kind for $kind {
            const NAME: &'static str = $name;
            const NUMBER: u32 = $number;
            #[inline(always)]
            fn f<T: Real>($a: T, $b: T) -> T {
                $f
            }
        }
    )*};
}
kinds! {
    Add "add" 0 "The sum of two numbers." |a, b| a + b;
    Sub "sub" 1 "The difference of two numbers." |a, b| a - b;
    Mul "mul" 2 "The product of two numbers." |a, b| a * b;
    Div "div" 3 "The quotient of two numbers." |a, b| a / b;
    AddRelu "add_relu" 4 "The sum of two numbers where it is positive, else zero; NaN stays NaN."
        |a, b| if a + b < T::zero() { T::zero() } else { a + b };
}

/// `y = f(a, b)` element by element. `a` and `b` are f32 or both f16, of shapes that broadcast to the shape of `y`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Binary<K>(PhantomData<K>);

impl<K: Kind> Op for Binary<K> {
    const NAME: &'static str = K::NAME;
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(K::NAME, ins, &[float(ins); 2])?;
        Ok(smallvec![Meta::new(broadcast(K::NAME, ins[0].dims, ins[1].dims)?, ins[0].dtype)])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let dims = outs[0].dims;
        for i in 0..dims.elements() {
            outs[0][i] = K::f(ins[0][source(i, dims, ins[0].dims)], ins[1][source(i, dims, ins[1].dims)]);
        }
    }
}

impl<K: Kind> Binary<K> {
    #[cfg(feature = "wgpu")]
    fn on_wgpu(&self, cx: &wgpu::Cx, ins: &[wgpu::In], outs: &[wgpu::Out]) -> Result<()> {
        super::wgpu::zip(cx, K::NUMBER, &ins[0], &ins[1], &outs[0])
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, cx: &cuda::Cx, ins: &[cuda::In], outs: &[cuda::Out]) -> Result<()> {
        super::cuda::zip(cx, K::NUMBER, &ins[0], &ins[1], &outs[0])
    }

    /// Walks the output in rows along which each operand either advances with the output or stands still.
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (dims, a, b) = (outs[0].dims, ins[0].f32()?, ins[1].f32()?);
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        let (a_dims, b_dims) = (ins[0].dims, ins[1].dims);
        if a_dims == b_dims {
            in_parallel(y, 1, |start, y| {
                let part = start..start + y.len();
                zip::<K>(&a[part.clone()], &b[part], y);
            });
            return Ok(());
        }
        let row = common_row(dims, a_dims, b_dims);
        let fixed = |operand: Dims| operand.elements() == 1 || still(dims, operand, row);
        let (a_fixed, b_fixed) = (fixed(a_dims), fixed(b_dims));
        in_parallel(y, row, |start, rows| {
            for (r, y) in rows.chunks_mut(row).enumerate() {
                let at = start + r * row;
                let a = &a[source(at, dims, a_dims)..];
                let b = &b[source(at, dims, b_dims)..];
                match (a_fixed, b_fixed) {
                    (false, false) => zip::<K>(&a[..row], &b[..row], y),
                    (true, false) => zip_first_fixed::<K>(a[0], &b[..row], y),
                    (false, true) => zip_second_fixed::<K>(&a[..row], b[0], y),
                    (true, true) => y.fill(K::f(a[0], b[0])),
                }
            }
        });
        Ok(())
    }
}

vectorised! {
    fn zip[K: Kind](a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = K::f(a, b);
        }
    }
    fn zip_first_fixed[K: Kind](a: f32, b: &[f32], y: &mut [f32]) {
        for (y, &b) in y.iter_mut().zip(b) {
            *y = K::f(a, b);
        }
    }
    fn zip_second_fixed[K: Kind](a: &[f32], b: f32, y: &mut [f32]) {
        for (y, &a) in y.iter_mut().zip(a) {
            *y = K::f(a, b);
        }
    }
}

/// Calls `f(start, part)` for parts of `y` that hold whole rows, on all threads if there is enough to do.
pub(crate) fn in_parallel<T: Send>(y: &mut [T], row: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    const PART: usize = 16 * 1024;
    if y.len() <= 2 * PART {
        return f(0, y);
    }
    let part = PART.div_ceil(row) * row;
    y.par_chunks_mut(part).enumerate().for_each(|(i, y)| f(i * part, y));
}

/// The shape that two shapes broadcast to.
pub(crate) fn broadcast(op: &'static str, a: Dims, b: Dims) -> Result<Dims> {
    let rank = a.rank().max(b.rank());
    let mut sizes: SmallVec<[usize; 6]> = SmallVec::new();
    for axis in 0..rank {
        let size = |d: Dims| (axis + d.rank()).checked_sub(rank).map_or(1, |at| d[at]);
        sizes.push(match (size(a), size(b)) {
            (m, n) if m == n => m,
            (1, n) => n,
            (m, 1) => m,
            _ => {
                let what = format!(
                    "shapes {a} and {b} do not broadcast: each axis must agree or be 1, from the last"
                );
                return Err(Error::shape(op, what));
            }
        });
    }
    Dims::new(&sizes)
}

/// Where element `at` of a tensor of shape `dims` reads from in an operand broadcast to it.
pub(crate) fn source(mut at: usize, dims: Dims, operand: Dims) -> usize {
    let (mut from, mut stride) = (0, 1);
    let missing = dims.rank() - operand.rank();
    for axis in (missing..dims.rank()).rev() {
        let (size, have) = (dims[axis], operand[axis - missing]);
        if have > 1 {
            from += at % size * stride;
        }
        stride *= have;
        at /= size;
    }
    from
}

/// Whether `operand` stands still while the output advances over its last `row` elements.
pub(crate) fn still(dims: Dims, operand: Dims, row: usize) -> bool {
    let (mut inner, mut at) = (1, dims.rank());
    while inner < row && at > 0 {
        at -= 1;
        inner *= dims[at];
        let have = (at + operand.rank()).checked_sub(dims.rank()).map_or(1, |axis| operand[axis]);
        if have > 1 {
            return false;
        }
    }
    true
}

/// The longest run of output elements along which both operands advance or stand still throughout.
pub(crate) fn common_row(dims: Dims, a: Dims, b: Dims) -> usize {
    let mut row = 1;
    let mut advancing: [Option<bool>; 2] = [None; 2];
    for axis in (0..dims.rank()).rev() {
        if dims[axis] > 1 {
            for (operand, advancing) in [a, b].into_iter().zip(&mut advancing) {
                let have = (axis + operand.rank()).checked_sub(dims.rank()).map_or(1, |at| operand[at]);
                if *advancing.get_or_insert(have > 1) != (have > 1) {
                    return row;
                }
            }
        }
        row *= dims[axis];
    }
    row
}

/// Gradients of the four: each needs only the operands.
#[derive(Debug)]
struct BinaryGrad<K> {
    kind: PhantomData<K>,
    /// Kept for products and quotients, whose gradients depend on them; shapes are kept for all.
    a: Option<Tensor>,
    b: Option<Tensor>,
    dims: [Dims; 2],
}

/// The gradients of the two operands of a [`Kind`], before the sums over repeated axes.
trait Gradient: Kind {
    /// Whether the gradient of (`a`, `b`) needs the value of (`b`, `a`): what to keep.
    const NEEDS_VALUES: bool;
    fn da(dy: &Tensor, a: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor>;
    fn db(dy: &Tensor, a: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor>;
}

fn kept(t: Option<&Tensor>) -> Result<&Tensor> {
    t.ok_or_else(|| Error::tape("an operand that the gradient needs was not saved"))
}

impl Gradient for Add {
    const NEEDS_VALUES: bool = false;
    fn da(dy: &Tensor, _: Option<&Tensor>, _: Option<&Tensor>) -> Result<Tensor> {
        Ok(dy.clone())
    }
    fn db(dy: &Tensor, _: Option<&Tensor>, _: Option<&Tensor>) -> Result<Tensor> {
        Ok(dy.clone())
    }
}

impl Gradient for Sub {
    const NEEDS_VALUES: bool = false;
    fn da(dy: &Tensor, _: Option<&Tensor>, _: Option<&Tensor>) -> Result<Tensor> {
        Ok(dy.clone())
    }
    fn db(dy: &Tensor, _: Option<&Tensor>, _: Option<&Tensor>) -> Result<Tensor> {
        neg(dy)
    }
}

impl Gradient for Mul {
    const NEEDS_VALUES: bool = true;
    fn da(dy: &Tensor, _: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor> {
        mul(dy, kept(b)?)
    }
    fn db(dy: &Tensor, a: Option<&Tensor>, _: Option<&Tensor>) -> Result<Tensor> {
        mul(dy, kept(a)?)
    }
}

impl Gradient for Div {
    const NEEDS_VALUES: bool = true;
    fn da(dy: &Tensor, _: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor> {
        div(dy, kept(b)?)
    }
    fn db(dy: &Tensor, a: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor> {
        let b = kept(b)?;
        let quotient = div(kept(a)?, b)?;
        neg(&div(&mul(dy, &quotient)?, b)?)
    }
}

impl<K: Gradient> Backward for BinaryGrad<K> {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let dy = dy.one()?;
        let (a, b) = (self.a.as_ref(), self.b.as_ref());
        to.give(0, || reduce::sum_to(&K::da(dy, a, b)?, self.dims[0]))?;
        to.give(1, || reduce::sum_to(&K::db(dy, a, b)?, self.dims[1]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.a.iter().chain(&self.b).collect()
    }
}

fn binary<K: Gradient>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    apply1(&Binary::<K>(PhantomData), &[a, b], |save: &Save| BinaryGrad::<K> {
        kind: PhantomData,
        a: K::NEEDS_VALUES.then(|| save.input(0)),
        b: K::NEEDS_VALUES.then(|| save.input(1)),
        dims: [a.dims(), b.dims()],
    })
}

/// `a + b` with broadcasting; both f32, or both f16.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let a = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [2, 2], &Device::Cpu)?;
/// let b = Tensor::from_slice(&[10.0_f32, 20.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::add(&a, &b)?.to_vec::<f32>()?, [11.0, 22.0, 13.0, 24.0]);
/// # Ok(()) }
/// ```
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary::<Add>(a, b)
}

/// `a - b` with broadcasting.
pub fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary::<Sub>(a, b)
}

/// `a * b`, element by element, with broadcasting.
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary::<Mul>(a, b)
}

/// `a / b`, element by element, with broadcasting.
pub fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary::<Div>(a, b)
}

/// The gradient of [`add_relu`]: `dy` where the sum was positive, the same for both operands.
#[derive(Debug)]
struct AddReluGrad {
    y: Tensor,
    dims: [Dims; 2],
}

impl Backward for AddReluGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let sum = run1(&UnaryGrad::<Relu>::default(), &[dy.one()?, &self.y])?;
        to.give(0, || reduce::sum_to(&sum, self.dims[0]))?;
        to.give(1, || reduce::sum_to(&sum, self.dims[1]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.y]
    }
}

/// `max(a + b, 0)` with broadcasting: the end of a residual block, in one pass over memory.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let a = Tensor::from_slice(&[1.0_f32, -3.0], [2], &Device::Cpu)?;
/// let b = Tensor::from_slice(&[0.5_f32, 1.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::add_relu(&a, &b)?.to_vec::<f32>()?, [1.5, 0.0]);
/// # Ok(()) }
/// ```
pub fn add_relu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    apply1(&Binary::<AddRelu>(PhantomData), &[a, b], |save| AddReluGrad {
        y: save.output(0),
        dims: [a.dims(), b.dims()],
    })
}
