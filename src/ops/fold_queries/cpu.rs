//! The fold on the CPU: one product for the projected queries, one per head for the rest. All of it is small.

use super::{FoldQueries, FoldQueriesGrad, Sizes};
use crate::{
    cpu::{In, Out, Product, Scratch},
    device::{Meta, Op},
    error::{Error, Result},
};

fn sizes(fold: &FoldQueries, op: &'static str, ins: &[In]) -> Result<Sizes> {
    let metas: Vec<Meta> = ins.iter().map(|t| Meta::new(t.dims, t.dtype)).collect();
    fold.sizes(op, &metas)
}

impl Sizes {
    /// p (T, H·dk) = q wqᵀ / √dk
    fn projected(&self, op: &'static str, q: &[f32], wq: &[f32]) -> Result<Scratch<f32>> {
        let rows = self.heads * self.key;
        let mut p = Scratch::new(self.queries * rows, op)?;
        Product::new(self.queries, self.features, rows).b_transposed().threads().run(q, wq, &mut p);
        let scale = self.scale() as f32;
        p.iter_mut().for_each(|p| *p *= scale);
        Ok(p)
    }
}

impl FoldQueries {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let s = sizes(self, Self::NAME, ins)?;
        let p = s.projected(Self::NAME, ins[0].f32()?, ins[1].f32()?)?;
        let (wk, u) = (ins[2].f32()?, outs[0].f32()?);
        if u.is_empty() {
            return Ok(());
        }
        // u_h (T, D) = p_h (T, dk) · wk_h (dk, D)
        let one = Product { a: [s.heads * s.key, 1], ..Product::new(s.queries, s.key, s.features) };
        for (h, u) in u.chunks_exact_mut(s.queries * s.features).enumerate() {
            one.threads().run(&p[h * s.key..], &wk[h * s.key * s.features..], u);
        }
        Ok(())
    }
}

impl FoldQueriesGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let s = sizes(&self.fold, Self::NAME, &ins[1..])?;
        let (du, q, wq, wk) = (ins[0].f32()?, ins[1].f32()?, ins[2].f32()?, ins[3].f32()?);
        let [dq, dwq, dwk] = outs else {
            return Err(Error::argument(Self::NAME, "gives three gradients"));
        };
        let (dq, dwq, dwk) = (dq.f32()?, dwq.f32()?, dwk.f32()?);
        let p = s.projected(Self::NAME, q, wq)?;
        let (rows, d) = (s.heads * s.key, s.features);
        let mut dp = Scratch::<f32>::new(s.queries * rows, Self::NAME)?;
        for h in 0..s.heads {
            let du = &du[h * s.queries * d..(h + 1) * s.queries * d];
            let head = h * s.key * d..(h + 1) * s.key * d;
            // dp_h (T, dk) = du_h (T, D) · wk_hᵀ
            let of_p = Product { c: [rows, 1], ..Product::new(s.queries, d, s.key).b_transposed() };
            if s.queries > 0 {
                of_p.threads().run(du, &wk[head.clone()], &mut dp[h * s.key..]);
            }
            // dwk_h (dk, D) = p_hᵀ · du_h
            let of_wk = Product { a: [1, rows], ..Product::new(s.key, s.queries, d) };
            of_wk.threads().run(p.get(h * s.key..).unwrap_or_default(), du, &mut dwk[head]);
        }
        let scale = s.scale() as f32;
        dp.iter_mut().for_each(|dp| *dp *= scale);
        // dq (T, D) = dp · wq, dwq (H·dk, D) = dpᵀ · q
        Product::new(s.queries, rows, d).threads().run(&dp, wq, dq);
        Product::new(rows, s.queries, d).a_transposed().threads().run(&dp, q, dwq);
        Ok(())
    }
}
