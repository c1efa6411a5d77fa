//! The command buffer in the making. Launches and copies are recorded into it and leave together, because submitting
//! costs more than a small operation does.
//!
//! Parameters of the launches are gathered here too and written to one uniform buffer when the commands are submitted:
//! a queue runs such a write after everything submitted before and before the commands that follow, so one buffer
//! serves every submission.

use super::{Slice, pipeline::Pipeline, trace::Tracer};

/// How many launches are recorded before they are submitted without being asked for, so that the device starts early.
pub const LAUNCHES_PER_SUBMISSION: u32 = 128;

/// Bytes of parameters that one submission can hold.
const PARAMETER_BYTES: u64 = 64 << 10;

/// How many bytes of uploads may wait for a submission to free their staging memory.
const UPLOAD_BYTES: u64 = 64 << 20;

/// What a device has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels launched.
    pub launches: u64,
    /// Command buffers submitted.
    pub submissions: u64,
    /// Copies to the host, each of which a caller waits for.
    pub read_backs: u64,
}

pub(super) struct Recorder {
    pub(super) counts: Counts,
    // The pass must end before its encoder, and fields drop in this order.
    pass: Option<::wgpu::ComputePass<'static>>,
    encoder: Option<::wgpu::CommandEncoder>,
    /// Parameters of the launches recorded so far, each aligned as a uniform offset must be.
    parameters: Vec<u8>,
    uniform: ::wgpu::Buffer,
    alignment: usize,
    launches: u32,
    uploaded: u64,
    serial: u64,
    last: Option<::wgpu::SubmissionIndex>,
    /// Takes the time of every launch, if that is asked for.
    pub(super) tracer: Option<Tracer>,
}

impl Recorder {
    pub(super) fn new(device: &::wgpu::Device) -> Self {
        let uniform = device.create_buffer(&::wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: PARAMETER_BYTES,
            usage: ::wgpu::BufferUsages::UNIFORM | ::wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let alignment = device.limits().min_uniform_buffer_offset_alignment.max(16) as usize;
        Recorder {
            counts: Counts::default(),
            pass: None,
            encoder: None,
            parameters: Vec::new(),
            uniform,
            alignment,
            launches: 0,
            uploaded: 0,
            serial: 1,
            last: None,
            tracer: None,
        }
    }

    /// The number of the recording in progress; it changes with every submission.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Records a launch on behalf of `op`. `parameters` are the bytes of the kernel's parameter struct.
    pub(super) fn launch(
        &mut self,
        (device, queue): (&::wgpu::Device, &::wgpu::Queue),
        op: &'static str,
        pipeline: &Pipeline,
        parameters: &[u8],
        slices: &[Slice],
        groups: [u32; 3],
    ) {
        let at = self.parameters.len().next_multiple_of(self.alignment);
        if self.launches >= LAUNCHES_PER_SUBMISSION || (at + parameters.len()) as u64 > PARAMETER_BYTES {
            self.submit(queue);
        }
        let at = self.parameters.len().next_multiple_of(self.alignment);
        self.parameters.resize(at, 0);
        self.parameters.extend_from_slice(parameters);
        let bindings = pipeline.bind(device, &self.uniform, parameters.len() as u64, slices);
        for slice in slices {
            slice.buffer.mark_used(self.serial);
        }
        let pass = self.pass(device, op, pipeline.entry());
        pass.set_pipeline(pipeline.raw());
        pass.set_bind_group(0, &bindings, &[at as u32]);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        self.launches += 1;
        self.counts.launches += 1;
    }

    /// The pass in progress; where the time of each launch is taken, a new one.
    fn pass(
        &mut self,
        device: &::wgpu::Device,
        op: &'static str,
        kernel: &'static str,
    ) -> &mut ::wgpu::ComputePass<'static> {
        if self.tracer.is_some() {
            self.pass = None;
        }
        let (encoder, tracer) = (&mut self.encoder, &mut self.tracer);
        self.pass.get_or_insert_with(|| {
            let encoder = encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
            let timestamp_writes = tracer.as_mut().map(|tracer| tracer.pass(op, kernel));
            let descriptor = ::wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            encoder.begin_compute_pass(&descriptor).forget_lifetime()
        })
    }

    /// The encoder outside of a pass, for copies.
    pub(super) fn encoder(&mut self, device: &::wgpu::Device) -> &mut ::wgpu::CommandEncoder {
        self.pass = None;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    /// Takes note of an upload; they are held in staging memory until the next submission.
    pub(super) fn uploaded(&mut self, queue: &::wgpu::Queue, bytes: u64) {
        self.uploaded += bytes;
        if self.uploaded > UPLOAD_BYTES {
            self.submit(queue);
        }
    }

    /// Submits what is recorded, if anything.
    pub(super) fn submit(&mut self, queue: &::wgpu::Queue) {
        self.pass = None;
        let mut encoder = self.encoder.take();
        if encoder.is_none() && self.uploaded == 0 {
            return;
        }
        if !self.parameters.is_empty() {
            self.parameters.resize(self.parameters.len().next_multiple_of(4), 0);
            queue.write_buffer(&self.uniform, 0, &self.parameters);
            self.parameters.clear();
        }
        if let (Some(tracer), Some(encoder)) = (&self.tracer, &mut encoder) {
            tracer.resolve(encoder);
        }
        let submitted = queue.submit(encoder.map(|encoder| encoder.finish()));
        if let Some(tracer) = &mut self.tracer {
            tracer.collect(&submitted);
        }
        self.last = Some(submitted);
        (self.launches, self.uploaded) = (0, 0);
        self.serial += 1;
        self.counts.submissions += 1;
    }

    /// The latest submission.
    pub(super) fn last(&self) -> Option<::wgpu::SubmissionIndex> {
        self.last.clone()
    }
}
