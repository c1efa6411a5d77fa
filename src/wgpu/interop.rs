//! Tensors over buffers of an application, and an application's use of a tensor's buffer; nothing is copied.

use super::{Buffer, Wgpu, health::caught};
use crate::{
    Device, Dims, Element, Tensor,
    error::{Error, Result},
    tensor,
};
use ::wgpu::BufferUsages;
use std::sync::Arc;

/// Where a tensor's elements are; see [`Tensor::to_wgpu`].
#[derive(Clone, Debug)]
pub struct Region {
    /// The buffer, which may hold other things as well.
    pub buffer: ::wgpu::Buffer,
    /// First byte of the tensor in it. A binding must start at a multiple of the device's alignment: bind the buffer from
    /// an earlier byte, or from its start, if this is none.
    pub offset: u64,
    /// Bytes of the tensor.
    pub bytes: u64,
}

/// What a tensor's buffer must allow for: kernels bind it, and copies are made from it.
const NEEDED: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC);

impl Tensor {
    /// A tensor over a buffer of the application, from byte `offset` on: the elements are not copied. The buffer is of the
    /// `wgpu::Device` under `device` (see [`Wgpu::from_wgpu`]), has the usages `STORAGE` and `COPY_SRC`, and holds the
    /// elements packed, row-major; its size, rounded up to four bytes, must hold them too.
    ///
    /// Tensors are immutable, and this crate never writes to such a buffer: an update in place copies it first. The
    /// application should not write to it either while the tensor or what a tape saved of it is in use; if it does,
    /// operations called after its submission see the new elements.
    ///
    /// ```
    /// use foveate::wgpu::{Wgpu, api};
    /// use foveate::{Device, Tensor, ops};
    /// # fn main() -> foveate::Result<()> {
    /// # let Ok(wgpu) = Wgpu::new() else { return Ok(()) };
    /// let buffer = wgpu.raw().create_buffer(&api::BufferDescriptor {
    ///     label: None,
    ///     size: 32,
    ///     usage: api::BufferUsages::STORAGE | api::BufferUsages::COPY_SRC | api::BufferUsages::COPY_DST,
    ///     mapped_at_creation: false,
    /// });
    /// wgpu.queue().write_buffer(&buffer, 8, &[1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat());
    ///
    /// let x = Tensor::from_wgpu::<f32>(&Device::Wgpu(wgpu), buffer, 8, [2, 2])?;
    /// assert_eq!(ops::sum_all(&x)?.item::<f32>()?, 10.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if `device` is not a wgpu device, [`Error::DType`] for elements that it cannot hold,
    /// [`Error::Argument`] for an offset that is no multiple of the element size, a buffer too short, a usage that is
    /// missing, or a buffer of another `wgpu::Device`. One of another `wgpu::Instance` cannot be told apart: wgpu then takes
    /// whatever buffer of this instance has the same number.
    pub fn from_wgpu<T: Element>(
        device: &Device,
        buffer: ::wgpu::Buffer,
        offset: u64,
        dims: impl Into<Dims>,
    ) -> Result<Self> {
        const OP: &str = "from_wgpu";
        let dims = dims.into();
        dims.check(OP)?;
        let Device::Wgpu(wgpu) = device else {
            let what = format!("a wgpu buffer on {device}: it needs the wgpu device it was made by");
            return Err(Error::DeviceMismatch { op: OP, what });
        };
        device.check_dtype(OP, T::DTYPE)?;
        check_usage(OP, buffer.usage(), NEEDED)?;
        let size = T::DTYPE.size() as u64;
        if !offset.is_multiple_of(size) {
            let what =
                format!("offset {offset} is no multiple of the {size} bytes of an element of {}", T::DTYPE);
            return Err(Error::argument(OP, what));
        }
        let bytes = (dims.elements() as u64).checked_mul(size);
        let end = bytes.and_then(|bytes| offset.checked_add(bytes)?.checked_next_multiple_of(4));
        // Even of an empty tensor something must be bound.
        if end.is_none_or(|end| end.max(4) > buffer.size()) {
            let what = format!(
                "{dims} {} from byte {offset} on do not fit in a buffer of {} bytes, of which whole words count",
                T::DTYPE,
                buffer.size()
            );
            return Err(Error::argument(OP, what));
        }
        wgpu.try_binding(OP, &buffer)?;
        let buffer = tensor::Buffer::Wgpu(Arc::new(Buffer::foreign(wgpu, buffer)));
        Ok(Tensor { buffer, offset: (offset / size) as usize, dims, dtype: T::DTYPE, node: None })
    }

    /// The buffer that holds this tensor's elements, for the application to bind or copy from in its own commands; the
    /// elements are not copied. What they are computed by has been submitted when this returns, so that commands submitted
    /// afterwards to the same queue see them. `usages` are those the application means to use the buffer for: buffers made
    /// here have `STORAGE`, `COPY_SRC` and `COPY_DST`.
    ///
    /// The application may keep the buffer for as long as it likes: it is no longer handed to other tensors. It should
    /// write to it only when the tensor is gone.
    ///
    /// ```
    /// use foveate::wgpu::{Wgpu, api};
    /// use foveate::{Device, Tensor};
    /// # fn main() -> foveate::Result<()> {
    /// # let Ok(wgpu) = Wgpu::new() else { return Ok(()) };
    /// let x = Tensor::from_slice(&[1.0_f32, 2.0], [2], &Device::Wgpu(wgpu))?;
    /// let region = x.to_wgpu::<f32>(api::BufferUsages::STORAGE)?;
    /// assert_eq!((region.offset, region.bytes), (0, 8));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if the tensor is not on a wgpu device, [`Error::DType`] if it holds other elements,
    /// [`Error::Argument`] if its buffer lacks a usage, [`Error::Device`] if the device failed.
    pub fn to_wgpu<T: Element>(&self, usages: BufferUsages) -> Result<Region> {
        const OP: &str = "to_wgpu";
        let tensor::Buffer::Wgpu(buffer) = &self.buffer else {
            let what = format!("a tensor on {}: move it to a wgpu device with to_device", self.device());
            return Err(Error::DeviceMismatch { op: OP, what });
        };
        if T::DTYPE != self.dtype {
            return Err(Error::dtype(OP, format!("the tensor holds {}, not {}", self.dtype, T::DTYPE)));
        }
        let device = buffer.device();
        let raw = buffer.raw().ok_or_else(|| device.failed("a buffer that was returned"))?;
        check_usage(OP, raw.usage(), usages)?;
        buffer.share();
        device.submit()?;
        let size = self.dtype.size() as u64;
        let (offset, bytes) = (self.offset as u64 * size, self.elements() as u64 * size);
        Ok(Region { buffer: raw.clone(), offset, bytes })
    }
}

fn check_usage(op: &'static str, have: BufferUsages, need: BufferUsages) -> Result<()> {
    if have.contains(need) {
        return Ok(());
    }
    let what = format!("the buffer lacks {:?}: it was made for {have:?}", need - have);
    Err(Error::argument(op, what))
}

impl Wgpu {
    /// Binds a buffer from outside as a kernel would, so that one of another device, or one that was destroyed, is found now
    /// and not by a launch.
    fn try_binding(&self, op: &'static str, buffer: &::wgpu::Buffer) -> Result<()> {
        self.check()?;
        let device = self.raw();
        let layout = self.probe.get_or_init(|| {
            let ty = ::wgpu::BufferBindingType::Storage { read_only: true };
            device.create_bind_group_layout(&::wgpu::BindGroupLayoutDescriptor {
                label: Some("a buffer from outside"),
                entries: &[::wgpu::BindGroupLayoutEntry {
                    binding: 0,
                    visibility: ::wgpu::ShaderStages::COMPUTE,
                    ty: ::wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                    count: None,
                }],
            })
        });
        let size = ::wgpu::BufferSize::new(4);
        let resource = ::wgpu::BindingResource::Buffer(::wgpu::BufferBinding { buffer, offset: 0, size });
        let descriptor = ::wgpu::BindGroupDescriptor {
            label: Some("a buffer from outside"),
            layout,
            entries: &[::wgpu::BindGroupEntry { binding: 0, resource }],
        };
        match caught(device, || device.create_bind_group(&descriptor)) {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(Error::argument(op, format!("the buffer cannot be bound on {}: {error}", self.name())))
            }
        }
    }
}
