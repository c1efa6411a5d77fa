//! Checkpoints: named tensors and a few strings in one safetensors file, written whole or not at all.

use crate::{
    DType, Device, Dims, Tensor,
    error::{Error, Result},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The content of a checkpoint file.
#[derive(Debug, Default, Clone)]
pub struct Checkpoint {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Everything else, as strings.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads a file onto `device`. A file that is absent, truncated or not safetensors is an error that names it.
    ///
    /// ```
    /// use foveate::{Device, Tensor, checkpoint::Checkpoint};
    /// # fn main() -> foveate::Result<()> {
    /// let path = std::env::temp_dir().join("foveate-doc.safetensors");
    /// let mut checkpoint = Checkpoint::default();
    /// checkpoint.tensors.insert("w".into(), Tensor::full(0.5_f32, [2, 2], &Device::Cpu)?);
    /// checkpoint.metadata.insert("step".into(), "7".into());
    /// checkpoint.save(&path)?;
    /// let read = Checkpoint::load(&path, &Device::Cpu)?;
    /// assert_eq!(read.tensors["w"].to_vec::<f32>()?, [0.5; 4]);
    /// assert_eq!(read.metadata["step"], "7");
    /// # Ok(()) }
    /// ```
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
        let broken = |e: safetensors::SafeTensorError| {
            Error::file(path, format!("not a whole safetensors file of {} bytes: {e}", bytes.len()))
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let dims = Dims::new(view.shape()).map_err(|e| Error::file(path, format!("{name}: {e}")))?;
            let tensor = match dtype(view.dtype()) {
                Some(dtype) => Tensor::from_bytes(view.data(), dims, dtype, device)?,
                // Published checkpoints count batches in 64-bit integers; nothing here reads them.
                None if view.dtype() == Dtype::I64 => continue,
                None => {
                    return Err(Error::file(
                        path,
                        format!("{name} has type {:?}, which is not read", view.dtype()),
                    ));
                }
            };
            tensors.insert(name, tensor);
        }
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Checkpoint { tensors, metadata })
    }

    /// Writes the file: to a temporary name beside it, then renamed over it, so that a reader finds the old file or the
    /// new one and never a part.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut data = Vec::with_capacity(self.tensors.len());
        for (name, tensor) in &self.tensors {
            let host = tensor.to_device(&Device::Cpu)?;
            let mut bytes = vec![0; host.elements() * host.dtype().size()];
            host.device().download(&host.buffer, host.offset * host.dtype().size(), &mut bytes)?;
            data.push((name, tensor.dims(), tensor.dtype(), bytes));
        }
        let refused = |e: safetensors::SafeTensorError| Error::file(path, e);
        let mut views = Vec::with_capacity(data.len());
        for (name, dims, dtype, bytes) in &data {
            views.push((*name, TensorView::new(stored(*dtype), dims.to_vec(), bytes).map_err(refused)?));
        }
        let metadata: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(refused)?;
        write_whole(path, &sorted_header(bytes).map_err(|e| Error::file(path, e))?)
    }
}

/// The same file with the strings of its header in alphabetical order, so that equal checkpoints are equal files. A
/// safetensors file is the header's length in 8 bytes, the header as JSON, padded to 8 bytes, and the data.
fn sorted_header(file: Vec<u8>) -> serde_json::Result<Vec<u8>> {
    let Some((length, rest)) = file.split_first_chunk() else { return Ok(file) };
    let Some((header, data)) = rest.split_at_checked(u64::from_le_bytes(*length) as usize) else {
        return Ok(file);
    };
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header)?;
    let mut sorted = serde_json::to_vec(&header)?;
    sorted.resize(sorted.len().next_multiple_of(8), b' ');
    Ok([&(sorted.len() as u64).to_le_bytes(), sorted.as_slice(), data].concat())
}

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| Error::file(path, e);
    let mut name = path.file_name().ok_or_else(|| Error::file(path, "is not a file name"))?.to_owned();
    // Two threads may write files of one name.
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    name.push(format!(".{}-{}.tmp", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
    let temporary: PathBuf = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if renamed.is_err() {
        // What could not be finished must not stay; a failure to remove it adds nothing to the first error.
        let _ = std::fs::remove_file(&temporary);
    }
    renamed.map_err(failed)
}

fn dtype(stored: Dtype) -> Option<DType> {
    Some(match stored {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F64 => DType::F64,
        Dtype::U8 => DType::U8,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        _ => return None,
    })
}

fn stored(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F64 => Dtype::F64,
        DType::U8 => Dtype::U8,
        DType::I32 => Dtype::I32,
        DType::U32 => Dtype::U32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_checkpoints_are_equal_files() {
        let dir = std::env::temp_dir().join(format!("foveate-equal-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut checkpoint = Checkpoint::default();
        for name in ["w", "a", "bias"] {
            checkpoint
                .tensors
                .insert(name.into(), Tensor::full(name.len() as f32, [3, 5], &Device::Cpu).unwrap());
        }
        for at in 0..20 {
            checkpoint.metadata.insert(format!("key {at}"), format!("\"{at}\" ünïcode"));
        }
        let files: Vec<Vec<u8>> = ["a", "b", "c"]
            .map(|name| {
                checkpoint.save(dir.join(name)).unwrap();
                std::fs::read(dir.join(name)).unwrap()
            })
            .into();
        assert!(files[0] == files[1] && files[0] == files[2]);
        let read = Checkpoint::load(dir.join("a"), &Device::Cpu).unwrap();
        assert_eq!(read.metadata, checkpoint.metadata);
        for (name, tensor) in &checkpoint.tensors {
            assert_eq!(read.tensors[name].to_vec::<f32>(), tensor.to_vec::<f32>());
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn broken_files_are_named() {
        let dir = std::env::temp_dir().join(format!("foveate-checkpoint-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.safetensors");
        let mut checkpoint = Checkpoint::default();
        checkpoint.tensors.insert("w".into(), Tensor::full(1.0_f32, [100], &Device::Cpu).unwrap());
        checkpoint.save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 4, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = Checkpoint::load(&path, &Device::Cpu).unwrap_err();
            assert!(
                matches!(&error, Error::File { .. }) && error.to_string().contains("a.safetensors"),
                "{error}"
            );
        }
        assert!(Checkpoint::load(dir.join("absent"), &Device::Cpu).is_err());
        assert!(checkpoint.save(dir.join("no/such/folder")).is_err());
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays behind: {left:?}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
