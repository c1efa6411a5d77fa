// The convolution of gather.wgsl as the product of operands.wgsl: implicit GEMM, in tiles of workgroup memory (tiles.wgsl)
// or in registers alone (registers.wgsl).
//
// The ladder, 20 images of 64 channels and 13 by 13 pixels to 64 channels, 3 by 3, on software Vulkan of two cores
// (`cargo xtask bench --device wgpu ladder`; its times pick nothing for a GPU):
//   naive.wgsl     a thread per element of y, every operand from memory: 537 ms;
//   tiled          tiles in workgroup memory, so that an operand is fetched once a tile; four elements a thread: 162 ms;
//   blocked        8 by 8 elements a thread in registers, so that a value from the tile serves eight multiply-adds: 46 ms
//                  (80 ms as loops: written out, the block stays in registers);
//   registers      16 by up to 26 elements a thread and no workgroup memory, which is no nearer on a processor, two
//                  weights to a load: 15.3 ms (16.5 ms with a weight to a load);
//   winograd.wgsl  a quarter of the products, for two passes over memory more, two elements to a load and to a store:
//                  9.2 ms (14 ms with one).
fn column_of(n: u32) -> Column {
    let pixel = pixel_of(n);
    let row = i32(pixel.y) * params.row_step + params.row;
    let col = i32(pixel.z) * params.col_step + params.col;
    let at = pixel.x * params.x_image + u32(row * i32(params.width) + col);
    return Column(at, select(NOWHERE, row, pixel.x < params.batch), col);
}

// A step is a channel and a tap.
fn digits() -> vec2<u32> {
    return vec2<u32>(params.taps_down, params.taps_across);
}

fn step_of(digit: vec3<u32>) -> Step {
    let channel = digit.x;
    let t = digit.y;
    let u = digit.z;
    let row = i32(t) * params.tap_row_step;
    let col = i32(u) * params.tap_col_step;
    let a = channel * params.weight_in + t * params.weight_down + u * params.weight_across;
    return Step(a, channel * params.x_plane + u32(row * i32(params.width) + col), row, col);
}

// Grid (tiles of pixels, folded; tiles of output channels; groups).
@compute @workgroup_size(THREADS)
fn conv2d_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tiles = (params.out_channels + TILE_M - 1u) / TILE_M;
    let tile_m = group.y % tiles * TILE_M;
    let tile_n = (group.y / tiles * groups.x + group.x) * TILE_N;
    begin_group(group.z);

    let extent = Extent(params.out_channels, params.weight_out, params.height, params.width);
    let depth = params.in_channels * params.taps_down * params.taps_across;
    product(thread, tile_m, tile_n, 0u, depth, extent);

    var biases: array<f32, ROWS>;
    for (var i = 0u; i < ROWS; i++) { // unrolled
        biases[i] = bias_of(group.z, tile_m + own_row(thread) + i);
    }
    for (var j = 0u; j < COLS; j++) { // unrolled
        let pixel = pixel_of(tile_n + own_col(thread) + j * ACROSS);
        for (var i = 0u; i < ROWS; i++) { // unrolled
            let m = tile_m + own_row(thread) + i;
            if pixel.x < params.batch && m < params.out_channels {
                finish(pixel, group.z, m, c[j * QUADS + i / 4u][i % 4u] + biases[i]);
            }
        }
    }
}
