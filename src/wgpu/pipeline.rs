//! Compiled kernels of one device, found by slot and tuning: no text is touched once a kernel has been compiled.

use super::{Access, Facts, Kernel, Params, Slice, Tuning, Wgpu, health::caught};
use crate::error::{Error, Result};
use smallvec::SmallVec;
use std::sync::{Arc, PoisonError, RwLock};

/// A compiled kernel with what it needs.
pub(super) struct Pipeline {
    raw: ::wgpu::ComputePipeline,
    layout: ::wgpu::BindGroupLayout,
    facts: Facts,
    entry: &'static str,
}

impl Pipeline {
    pub(super) fn raw(&self) -> &::wgpu::ComputePipeline {
        &self.raw
    }

    /// The kernel's name in the text.
    pub(super) fn entry(&self) -> &'static str {
        self.entry
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Binds parameters and storage; the launch has checked that the slices are as many as the kernel has bindings.
    pub(super) fn bind(
        &self,
        device: &::wgpu::Device,
        uniform: &::wgpu::Buffer,
        parameter_bytes: u64,
        slices: &[Slice],
    ) -> ::wgpu::BindGroup {
        let mut entries: SmallVec<[::wgpu::BindGroupEntry; 9]> = SmallVec::new();
        let bound = |buffer, offset, size| {
            let size = ::wgpu::BufferSize::new(size);
            ::wgpu::BindingResource::Buffer(::wgpu::BufferBinding { buffer, offset, size })
        };
        entries.push(::wgpu::BindGroupEntry { binding: 0, resource: bound(uniform, 0, parameter_bytes) });
        for (slice, (binding, _)) in slices.iter().zip(&self.facts.bindings) {
            if let Some(buffer) = slice.buffer.raw() {
                let resource = bound(buffer, slice.offset, slice.bytes);
                entries.push(::wgpu::BindGroupEntry { binding: *binding, resource });
            }
        }
        device.create_bind_group(&::wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.layout,
            entries: &entries,
        })
    }
}

/// The compiled variants of one kernel; there are a handful at most.
type Variants = SmallVec<[(Box<[u32]>, Arc<Pipeline>); 2]>;

/// Every kernel compiled so far, by the kernel's slot.
#[derive(Default)]
pub(super) struct Pipelines {
    slots: RwLock<Vec<Variants>>,
}

impl Pipelines {
    /// The kernel compiled with this tuning.
    pub(super) fn get<P: Params>(
        &self,
        device: &Wgpu,
        kernel: &Kernel<P>,
        tuning: Tuning,
    ) -> Result<Arc<Pipeline>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let variants = slots.get(kernel.id()).map_or(&[][..], |variants| variants);
        if let Some((_, pipeline)) = variants.iter().find(|(key, _)| **key == *tuning) {
            return Ok(pipeline.clone());
        }
        drop(slots);
        let pipeline = Arc::new(compile(device, kernel, tuning)?);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.len() <= kernel.id() {
            slots.resize_with(kernel.id() + 1, Variants::new);
        }
        slots[kernel.id()].push((tuning.into(), pipeline.clone()));
        Ok(pipeline)
    }
}

fn compile<P: Params>(device: &Wgpu, kernel: &Kernel<P>, tuning: Tuning) -> Result<Pipeline> {
    let broken = |what: String| device.failed(format!("kernel {} of {}: {what}", kernel.entry, kernel.op));
    let text = kernel.text(tuning).map_err(broken)?;
    let facts = kernel.facts(tuning).map_err(broken)?;
    check_limits(kernel.op, &facts, device.limits())?;
    if facts.f16 && !device.has_f16() {
        let what = "its kernel computes with 16-bit floats, which this adapter lacks: convert to f32".into();
        return Err(Error::Unsupported { op: kernel.op, device: device.name().into(), what });
    }

    let raw = device.raw();
    let created = caught(raw, || {
        let layout = layout(raw, &facts);
        let pipeline_layout = raw.create_pipeline_layout(&::wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.entry),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let module = raw.create_shader_module(::wgpu::ShaderModuleDescriptor {
            label: Some(kernel.entry),
            source: ::wgpu::ShaderSource::Wgsl(text.into()),
        });
        let pipeline = raw.create_compute_pipeline(&::wgpu::ComputePipelineDescriptor {
            label: Some(kernel.entry),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: ::wgpu::PipelineCompilationOptions {
                // Kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        (layout, pipeline)
    });
    let (layout, pipeline) = created.map_err(|error| broken(error.to_string()))?;
    Ok(Pipeline { raw: pipeline, layout, facts, entry: kernel.entry })
}

fn layout(device: &::wgpu::Device, facts: &Facts) -> ::wgpu::BindGroupLayout {
    let entry = |binding, ty, has_dynamic_offset, min| ::wgpu::BindGroupLayoutEntry {
        binding,
        visibility: ::wgpu::ShaderStages::COMPUTE,
        ty: ::wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset,
            min_binding_size: ::wgpu::BufferSize::new(min),
        },
        count: None,
    };
    let storage = facts.bindings.iter().map(|&(number, access)| {
        let ty = ::wgpu::BufferBindingType::Storage { read_only: access == Access::Read };
        entry(number, ty, false, 0)
    });
    let uniform = entry(0, ::wgpu::BufferBindingType::Uniform, true, facts.parameter_bytes.into());
    let entries: Vec<_> = std::iter::once(uniform).chain(storage).collect();
    device.create_bind_group_layout(&::wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

/// wgpu does not check workgroup memory, nor sizes that come from overrides; a driver may crash on either.
fn check_limits(op: &'static str, facts: &Facts, limits: &::wgpu::Limits) -> Result<()> {
    let [x, y, z] = facts.threads;
    let invocations = u64::from(x) * u64::from(y) * u64::from(z);
    let needs: [(&'static str, u32, u64); 6] = [
        ("max_compute_invocations_per_workgroup", limits.max_compute_invocations_per_workgroup, invocations),
        ("max_compute_workgroup_size_x", limits.max_compute_workgroup_size_x, x.into()),
        ("max_compute_workgroup_size_y", limits.max_compute_workgroup_size_y, y.into()),
        ("max_compute_workgroup_size_z", limits.max_compute_workgroup_size_z, z.into()),
        (
            "max_compute_workgroup_storage_size",
            limits.max_compute_workgroup_storage_size,
            facts.workgroup_bytes.into(),
        ),
        (
            "max_storage_buffers_per_shader_stage",
            limits.max_storage_buffers_per_shader_stage,
            facts.bindings.len() as u64,
        ),
    ];
    for (limit, have, need) in needs {
        if need > u64::from(have) {
            let what = "this kernel needs another adapter".to_owned();
            return Err(Error::Limit { op, limit, have: have.into(), need, what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_wgpu_does_not_check_are_checked() {
        let limits = ::wgpu::Limits::defaults();
        let facts = Facts {
            bindings: vec![(1, Access::Read)],
            fields: Vec::new(),
            parameter_bytes: 0,
            threads: [16, 16, 1],
            workgroup_bytes: 16384,
            f16: false,
        };
        assert!(check_limits("t", &facts, &limits).is_ok());
        let over = |change: &dyn Fn(&mut Facts)| {
            let mut facts = facts.clone();
            change(&mut facts);
            match check_limits("t", &facts, &limits) {
                Err(Error::Limit { limit, .. }) => limit,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(over(&|f| f.workgroup_bytes = 16385), "max_compute_workgroup_storage_size");
        assert_eq!(over(&|f| f.threads = [32, 16, 1]), "max_compute_invocations_per_workgroup");
        assert_eq!(over(&|f| f.threads = [1, 1, 65]), "max_compute_workgroup_size_z");
        assert_eq!(
            over(&|f| f.bindings = vec![(1, Access::Read); 9]),
            "max_storage_buffers_per_shader_stage"
        );
    }
}
