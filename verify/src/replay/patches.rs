//! Operations on images and patches, and the merge.

use super::one;
use crate::{Case, compare::Comparison, compare::values, order};
use anyhow::{Result, bail};
use foveate::{Device, ops};

pub(super) fn replay(case: &Case, device: &Device, to: &mut Comparison) -> Result<()> {
    match case.op.as_str() {
        "unfold" => {
            let (patch, stride) = (case.pair("patch")?, case.pair("stride")?);
            one(case, device, to, &["x"], |x| Ok(ops::unfold(&x[0], patch, stride)?))
        }
        "extract_patches" => {
            let patch = case.pair("patch")?;
            one(case, device, to, &["x", "offsets"], |x| Ok(ops::extract_patches(&x[0], &x[1], patch)?))
        }
        "resize" => {
            let (size, mode) = (case.pair("size")?, case.attrs["mode"].as_str().unwrap_or_default());
            let mode = match mode {
                "area" => ops::ResizeMode::Area,
                "bilinear" => ops::ResizeMode::Bilinear,
                other => bail!("resize mode {other}"),
            };
            one(case, device, to, &["x"], |x| Ok(ops::resize(&x[0], size, mode)?))
        }
        "conv2d" => {
            let [vertical, horizontal] = case.pair("padding")?;
            let padding = [vertical, vertical, horizontal, horizontal];
            let conv = ops::Conv2d { stride: case.pair("stride")?, padding, ..ops::Conv2d::new(1, 0) };
            let biased = case.tensors.contains_key("input.bias");
            let inputs: &[&str] = if biased { &["x", "weight", "bias"] } else { &["x", "weight"] };
            one(case, device, to, inputs, |x| Ok(ops::conv2d(&x[0], &x[1], x.get(2), conv)?))
        }
        "max_pool2d" => {
            let (kernel, stride, padding) =
                (case.pair("kernel")?, case.pair("stride")?, case.pair("padding")?);
            one(case, device, to, &["x"], |x| Ok(ops::max_pool2d(&x[0], kernel, stride, padding)?))
        }
        _ => merge(case, device, to),
    }
}

/// The order of each merge is compared up to near-ties of the final scores.
fn merge(case: &Case, device: &Device, to: &mut Comparison) -> Result<()> {
    let logits = case.input("logits", device)?;
    let got = ops::top_m_merge(&logits, case.number("m")?, case.number("chunk")?)?.to_vec::<i32>()?;
    let want = case.tensor("output.indices")?;
    let (per_image, rows, kept) = (logits.dims()[1], logits.dims()[2], want.dims()[1]);
    let (want, logits) = (want.to_vec::<i32>()?, values(&logits)?);
    for (b, logits) in logits.chunks(per_image * rows).enumerate() {
        let mine = b * kept..(b + 1) * kept;
        let (got, want) = (&got[mine.clone()], &want[mine]);
        // Scores over the union: near-ties there are near-ties in the last merge.
        let mut candidates: Vec<i32> = want.iter().chain(got).copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let scores = order::scores(logits, rows, &candidates);
        let score = |index: i32| candidates.binary_search(&index).map_or(f64::NAN, |at| scores[at]);
        if let Err(why) = order::same_order(got, want, score) {
            to.fail(format!("image {b}: {why:#}"));
        }
    }
    to.outputs = Some(0.0);
    Ok(())
}
