//! Shares a device and its buffers with an application that has a wgpu device of its own.
//!
//! `cargo run --example wgpu_interop`: the application fills a buffer with a picture by a shader of its own. Patches are
//! cut from it and summed where it stands, and the application reads the sums with commands of its own. No element is
//! copied to the host on the way.

use foveate::{
    Device, Error, Result, Tensor, ops,
    wgpu::{
        Wgpu,
        api::{self, BufferUsages},
    },
};

/// Height and width of the picture, and of a patch.
const SIDE: u32 = 512;
const PATCH: u32 = 64;

/// The application's shader: brightness rises from left to right and from top to bottom.
const PICTURE: &str = "
@group(0) @binding(0) var<storage, read_write> picture: array<f32>;
@compute @workgroup_size(8, 8)
fn draw(@builtin(global_invocation_id) at: vec3<u32>) {
    picture[at.y * 512u + at.x] = f32(at.x + at.y) / 1022.0;
}";

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let Application { device, queue } = Application::start()?;
    let picture = draw(&device, &queue);

    // The same device, as foveate's; and the picture as a tensor over the application's buffer.
    let ours = Device::Wgpu(Wgpu::from_wgpu(device.clone(), queue.clone(), None));
    println!("{ours}");
    let side = SIDE as usize;
    let image = Tensor::from_wgpu::<f32>(&ours, picture, 0, [1, 1, side, side])?;
    println!("memory allocated for the picture: {} bytes", ours.memory().in_use);

    // One sum for each patch, row by row.
    let patch = [PATCH as usize; 2];
    let patches = ops::unfold(&image, patch, patch)?;
    let sums = ops::sum(&patches, &[0, 2, 3, 4])?;

    // The sums as a buffer for the application's commands.
    let region = sums.to_wgpu::<f32>(BufferUsages::COPY_SRC)?;
    let sums = read(&device, &queue, &region.buffer, region.offset, region.bytes)?;
    let per_row = (SIDE / PATCH) as usize;
    println!("mean brightness of {} patches:", sums.len());
    for row in sums.chunks(per_row) {
        let means: Vec<String> =
            row.iter().map(|sum| format!("{:.3}", sum / (PATCH * PATCH) as f32)).collect();
        println!("{}", means.join(" "));
    }

    // A buffer that does not fit is an error, not a wrong result.
    match sums_over_a_short_buffer(&device, &ours) {
        Err(Error::Argument { what, .. }) => println!("refused: {what}"),
        other => println!("not refused: {other:?}"),
    }
    Ok(())
}

fn sums_over_a_short_buffer(device: &api::Device, ours: &Device) -> Result<Tensor> {
    let buffer = buffer(device, 1024, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
    ops::sum_all(&Tensor::from_wgpu::<f32>(ours, buffer, 0, [SIDE as usize; 2])?)
}

/// Stands for an application that has opened a device for purposes of its own.
struct Application {
    device: api::Device,
    queue: api::Queue,
}

impl Application {
    fn start() -> Result<Self> {
        let absent = |why: String| Error::NoDevice { device: "wgpu".into(), why };
        let instance = api::Instance::new(api::InstanceDescriptor::new_without_display_handle());
        let adapter = pollster::block_on(instance.request_adapter(&api::RequestAdapterOptions::default()))
            .map_err(|error| absent(error.to_string()))?;
        let (device, queue) = pollster::block_on(adapter.request_device(&api::DeviceDescriptor::default()))
            .map_err(|error| absent(error.to_string()))?;
        Ok(Application { device, queue })
    }
}

fn buffer(device: &api::Device, size: u64, usage: BufferUsages) -> api::Buffer {
    device.create_buffer(&api::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

/// Fills a buffer with a picture (SIDE, SIDE), by the application's own pipeline.
fn draw(device: &api::Device, queue: &api::Queue) -> api::Buffer {
    let size = u64::from(SIDE * SIDE) * 4;
    let picture = buffer(device, size, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
    let module = device.create_shader_module(api::ShaderModuleDescriptor {
        label: None,
        source: api::ShaderSource::Wgsl(PICTURE.into()),
    });
    let pipeline = device.create_compute_pipeline(&api::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("draw"),
        compilation_options: Default::default(),
        cache: None,
    });
    let bindings = device.create_bind_group(&api::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[api::BindGroupEntry { binding: 0, resource: picture.as_entire_binding() }],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &bindings, &[]);
    pass.dispatch_workgroups(SIDE / 8, SIDE / 8, 1);
    drop(pass);
    queue.submit([encoder.finish()]);
    picture
}

/// Reads part of a buffer by the application's own commands.
fn read(
    device: &api::Device,
    queue: &api::Queue,
    from: &api::Buffer,
    offset: u64,
    bytes: u64,
) -> Result<Vec<f32>> {
    let failed = |what: String| Error::Device { device: "the application's".into(), what };
    let to = buffer(device, bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(from, offset, &to, 0, bytes);
    queue.submit([encoder.finish()]);
    to.slice(..).map_async(api::MapMode::Read, |_| {});
    device.poll(api::PollType::wait_indefinitely()).map_err(|error| failed(error.to_string()))?;
    let mapped = to.slice(..).get_mapped_range().map_err(|error| failed(error.to_string()))?;
    Ok(mapped.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}
