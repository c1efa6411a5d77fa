//! The layer as plain loops.

use crate::spec::{In, Out, Real};

/// x: (.., I), weight: (O, I), bias: (O) or none -> y: (.., O)
pub(super) fn linear<T: Real>(ins: &[In<T>], y: &mut Out<T>) {
    let (x, weight) = (&ins[0], &ins[1]);
    let [outputs, inputs] = [weight.dims[0], weight.dims[1]];
    for (at, y) in y.iter_mut().enumerate() {
        let (row, o) = (at / outputs, at % outputs);
        let mut sum = ins.get(2).map_or(T::of(0.0), |bias| bias[o]);
        for i in 0..inputs {
            sum += x[row * inputs + i] * weight[o * inputs + i];
        }
        *y = sum;
    }
}
