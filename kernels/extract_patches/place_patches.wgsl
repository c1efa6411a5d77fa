// y[b, c, r, q] = the sum of the patches (B, K, C, ph, pw) that cover the pixel, each at its offset, in their order. A
// thread per pixel goes through the patches of its image, so no two threads add to one pixel.
const THREADS: u32 = 128u;

struct PlacePatchesParams {
    patches_first: u32,
    offsets_first: u32,
    y_first: u32,
    count: u32,       // pixels of this launch, whole lines
    first_line: u32,  // counted over (B, C, H) from the first of these images
    patches: u32,     // K
    channels: u32,
    height: u32,
    width: u32,
    patch_height: u32,
    patch_width: u32,
}

@group(0) @binding(0) var<uniform> params: PlacePatchesParams;
@group(0) @binding(1) var<storage, read> patches: array<f32>; // (B, K, C, ph, pw)
@group(0) @binding(2) var<storage, read> offsets: array<i32>; // (B, K, 2)
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (B, C, H, W)

@compute @workgroup_size(THREADS)
fn place_patches_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let line = params.first_line + at / params.width;
    let col = i32(at % params.width);
    let plane = line / params.height;
    let row = i32(line - plane * params.height);
    let image = plane / params.channels;
    let channel = plane - image * params.channels;
    var total = 0.0;
    for (var patch_index = image * params.patches; patch_index < (image + 1u) * params.patches; patch_index++) {
        let offset = params.offsets_first + 2u * patch_index;
        // A negative distance is a very large one as an unsigned number.
        let i = u32(row - offsets[offset]);
        let j = u32(col - offsets[offset + 1u]);
        if i < params.patch_height && j < params.patch_width {
            let element = ((patch_index * params.channels + channel) * params.patch_height + i) * params.patch_width + j;
            total += patches[params.patches_first + element];
        }
    }
    y[params.y_first + at] = total;
}
