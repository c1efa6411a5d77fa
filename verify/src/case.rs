//! One recorded case: its file, opened.

use anyhow::{Context, Result, bail};
use foveate::{DType, Device, Dims, Tensor, ops};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// Tensors by their full name (`input.x`, `output.y`, `grad_output.y`, `grad.x`, `param.…`), on the CPU.
pub struct Case {
    /// The operation.
    pub op: String,
    /// Its attributes.
    pub attrs: Value,
    /// Its tensors.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Case {
    /// Opens a case file. Its float inputs, and the gradients fed to backward, are in `dtype`.
    pub fn load(path: &Path, dtype: DType) -> Result<Case> {
        let bytes = std::fs::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let meta = header.metadata().clone().unwrap_or_default();
        let op = meta.get("op").context("the file's metadata has no `op`")?.clone();
        let attrs = serde_json::from_str(meta.get("attrs").map_or("{}", String::as_str))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes)?.tensors() {
            let dims = Dims::new(view.shape())?;
            let data = view.data();
            let words = || data.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
            let tensor = match view.dtype() {
                Dtype::F32 => Tensor::from_slice(
                    &words().map(f32::from_le_bytes).collect::<Vec<_>>(),
                    dims,
                    &Device::Cpu,
                ),
                Dtype::I32 => Tensor::from_slice(
                    &words().map(i32::from_le_bytes).collect::<Vec<_>>(),
                    dims,
                    &Device::Cpu,
                ),
                Dtype::U8 => Tensor::from_slice(data, dims, &Device::Cpu),
                other => bail!("{name} has type {other:?}"),
            };
            let mut tensor = tensor?;
            if tensor.dtype().is_float() && (name.starts_with("input.") || name.starts_with("grad_output.")) {
                tensor = ops::convert(&tensor, dtype)?;
            }
            tensors.insert(name, tensor);
        }
        Ok(Case { op, attrs, tensors })
    }

    /// An input, on `device`.
    pub fn input(&self, name: &str, device: &Device) -> Result<Tensor> {
        Ok(self.tensor(&format!("input.{name}"))?.to_device(device)?)
    }

    /// A tensor by its full name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).with_context(|| format!("the case has no tensor {name}"))
    }

    /// The tensors whose names start with `prefix`, without it.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.tensors.iter().filter_map(move |(name, t)| Some((name.strip_prefix(prefix)?, t)))
    }

    /// A whole number among the attributes.
    pub fn number(&self, name: &str) -> Result<usize> {
        let value = self.attrs[name].as_u64().with_context(|| format!("the case has no attribute {name}"))?;
        Ok(value as usize)
    }

    /// A fractional number among the attributes.
    pub fn fraction(&self, name: &str) -> Result<f64> {
        self.attrs[name].as_f64().with_context(|| format!("the case has no attribute {name}"))
    }

    /// A pair of whole numbers among the attributes.
    pub fn pair(&self, name: &str) -> Result<[usize; 2]> {
        match self.attrs[name].as_array().map(Vec::as_slice) {
            Some([a, b]) => match (a.as_u64(), b.as_u64()) {
                (Some(a), Some(b)) => Ok([a as usize, b as usize]),
                _ => bail!("attribute {name} is not a pair of whole numbers"),
            },
            _ => bail!("the case has no pair {name}"),
        }
    }
}
