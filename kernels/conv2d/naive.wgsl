// The convolution of gather.wgsl as it is written down: a thread per element of y takes every operand from memory. The
// first rung of the ladder in conv2d.wgsl, kept to be read and measured against; its sums have the order of the others.
const THREADS: u32 = 64u;

// Grid (pixels / THREADS, folded; output channels of a group; groups).
@compute @workgroup_size(THREADS)
fn conv2d_naive_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let m = group.y % params.out_channels;
    let pixel = pixel_of((group.y / params.out_channels * groups.x + group.x) * THREADS + thread);
    if pixel.x >= params.batch {
        return;
    }
    begin_group(group.z);
    let top = i32(pixel.y) * params.row_step + params.row;
    let left = i32(pixel.z) * params.col_step + params.col;
    var sum = 0.0;
    for (var channel = 0u; channel < params.in_channels; channel++) {
        for (var t = 0u; t < params.taps_down; t++) {
            let row = top + i32(t) * params.tap_row_step;
            for (var u = 0u; u < params.taps_across; u++) {
                let col = left + i32(u) * params.tap_col_step;
                // A negative position is a very large one as an unsigned number.
                if u32(row) < params.height && u32(col) < params.width {
                    let at = m * params.weight_out + channel * params.weight_in + t * params.weight_down;
                    let pixel_at = pixel.x * params.x_image + channel * params.x_plane;
                    let value = b_at(pixel_at + u32(row) * params.width + u32(col));
                    sum = fma(a_at(at + u * params.weight_across), value, sum);
                }
            }
        }
    }
    finish(pixel, group.z, m, sum + bias_of(group.z, m));
}
