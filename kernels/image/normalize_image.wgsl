// y = x * scale[c] + shift[c]: bytes of an image to floats. A launch is one run of planes with one scale; a thread reads a
// word, which is four bytes.
const THREADS: u32 = 128u;

struct NormalizeImageParams {
    x_first: u32,
    y_first: u32,
    count: u32,
    scale: f32,
    shift: f32,
    // Where there are several channels: of count elements, those of channel `channel` are written.
    channel: u32,
    channels: u32,
    plane: u32,
}

@group(0) @binding(0) var<uniform> params: NormalizeImageParams;
@group(0) @binding(1) var<storage, read> x: array<u32>;       // bytes
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn normalize_image_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    // A quad of elements of the channel; planes are `channels` apart.
    let first = 4u * (group_index(group, groups) * THREADS + thread);
    for (var lane = 0u; lane < 4u; lane++) {
        let own = first + lane;
        if own >= params.count {
            break;
        }
        let image = own / params.plane;
        let at = (image * params.channels + params.channel) * params.plane + own - image * params.plane;
        let byte = params.x_first + at;
        let value = f32((x[byte / 4u] >> (8u * (byte % 4u))) & 0xffu);
        y[params.y_first + at] = fma(value, params.scale, params.shift);
    }
}
