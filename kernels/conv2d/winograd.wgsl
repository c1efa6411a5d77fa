// The convolution of gather.wgsl for 3 by 3 kernels and stride 1 by Winograd's F(4x4, 3x3) (Lavin and Gray 2015),
// interpolated at 0, +-5/8, +-3/2 and infinity: 36 products for 16 pixels instead of 144. A tile is 4 by 4 pixels of y and
// the 6 by 6 pixels of x that they see; T = batch * ceil(rows / 4) * ceil(cols / 4). Three steps around a product:
//
//   winograd_filters   weight (O, C, 3, 3) -> u (36, O, C), G g G^T
//   winograd_data      x -> v (36, C, T), B^T d B
//   (product.wgsl      36 products m (O, T) = u (O, C) * v (C, T))
//   winograd_outputs   m (36, O, T) -> y, A^T m A, with what follows a convolution
//
// Each step reads where `x_first` or `weight_first` says and writes where `y_first` says; `space` holds u, v and m, and a
// thread has as many neighbouring filters or tiles, WIDTH, as a word of `space` holds elements (winograd_words.wgsl,
// winograd_pairs.wgsl).
const THREADS: u32 = 64u;

// The points' magnitudes and their squares, and 1 / the product of a point's differences to the others.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
const AT_0: f32 = 1.0 / (A2 * B2);
const AT_A: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
const AT_B: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

// G g
fn filter_of(g0: f32, g1: f32, g2: f32) -> array<f32, 6> {
    let even_a = AT_A * fma(g2, A2, g0);
    let odd_a = (AT_A * A) * g1;
    let even_b = AT_B * fma(g2, B2, g0);
    let odd_b = (AT_B * B) * g1;
    return array<f32, 6>(AT_0 * g0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g2);
}

// B^T d
fn data_of(d0: f32, d1: f32, d2: f32, d3: f32, d4: f32, d5: f32) -> array<f32, 6> {
    let even_a = fma(d2, -B2, d4);
    let odd_a = fma(d1, -B2, d3);
    let even_b = fma(d2, -A2, d4);
    let odd_b = fma(d1, -A2, d3);
    return array<f32, 6>(
        fma(d0, A2 * B2, fma(d2, -A2 - B2, d4)),
        fma(odd_a, A, even_a),
        fma(odd_a, -A, even_a),
        fma(odd_b, B, even_b),
        fma(odd_b, -B, even_b),
        fma(d1, A2 * B2, fma(d3, -A2 - B2, d5)),
    );
}

// A^T m
fn output_of(m0: f32, m1: f32, m2: f32, m3: f32, m4: f32, m5: f32) -> vec4<f32> {
    let even_a = m1 + m2;
    let odd_a = m1 - m2;
    let even_b = m3 + m4;
    let odd_b = m3 - m4;
    return vec4<f32>(
        m0 + (even_a + even_b),
        fma(odd_a, A, odd_b * B),
        fma(even_a, A2, even_b * B2),
        fma(odd_a, A * A2, fma(odd_b, B * B2, m5)),
    );
}

// The first of a thread's items: a workgroup's are neighbours of a line; and the number of its line.
fn item_of(group: vec3<u32>, groups: vec3<u32>, thread: u32, lines: u32) -> vec2<u32> {
    return vec2<u32>(((group.y / lines * groups.x + group.x) * THREADS + thread) * WIDTH, group.y % lines);
}

// Tiles of an image down and across, and of the batch.
fn tiles() -> vec3<u32> {
    let down = (params.rows + 3u) / 4u;
    let across = (params.cols + 3u) / 4u;
    return vec3<u32>(down, across, params.batch * down * across);
}

// Tile t as (image, first row, first column).
fn tile_of(t: u32, counts: vec3<u32>) -> vec3<u32> {
    let line = t / counts.y;
    let image = line / counts.x;
    return vec3<u32>(image, 4u * (line - image * counts.x), 4u * (t - line * counts.y));
}

// Grid (input channels / THREADS / WIDTH, folded; output channels; 1): a thread has WIDTH filters.
@compute @workgroup_size(THREADS)
fn winograd_filters(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let item = item_of(group, groups, thread, params.out_channels);
    if item.x >= params.in_channels {
        return;
    }
    // Taps may run against the image, as they do for the gradient.
    let down = select(vec3<u32>(0u, 1u, 2u), vec3<u32>(2u, 1u, 0u), params.tap_row_step < 0) * params.weight_down;
    let across = select(vec3<u32>(0u, 1u, 2u), vec3<u32>(2u, 1u, 0u), params.tap_col_step < 0) * params.weight_across;
    var lines: array<f32, 18 * WIDTH>; // (WIDTH, 6, 3)
    for (var nth = 0u; nth < WIDTH; nth++) { // unrolled
        let source = params.weight_first + item.y * params.weight_out + (item.x + nth) * params.weight_in;
        for (var j = 0u; j < 3u; j++) { // unrolled
            let at = source + across[j];
            let column = filter_of(f32(weight[at + down.x]), f32(weight[at + down.y]), f32(weight[at + down.z]));
            for (var i = 0u; i < 6u; i++) { // unrolled
                lines[18u * nth + 3u * i + j] = column[i];
            }
        }
    }
    let to = params.y_first + item.y * params.in_channels + item.x;
    for (var i = 0u; i < 6u; i++) { // unrolled
        var values: array<f32, 6 * WIDTH>;
        for (var nth = 0u; nth < WIDTH; nth++) { // unrolled
            let at = 18u * nth + 3u * i;
            let line = filter_of(lines[at], lines[at + 1u], lines[at + 2u]);
            for (var j = 0u; j < 6u; j++) { // unrolled
                values[j * WIDTH + nth] = line[j];
            }
        }
        for (var j = 0u; j < 6u; j++) { // unrolled
            put(to + (6u * i + j) * params.out_channels * params.in_channels, values[j * WIDTH], values[j * WIDTH + WIDTH - 1u]);
        }
    }
}

// Grid (tiles / THREADS / WIDTH, folded; input channels; 1): a thread has WIDTH tiles of a channel.
@compute @workgroup_size(THREADS)
fn winograd_data(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let counts = tiles();
    let item = item_of(group, groups, thread, params.in_channels);
    if item.x >= counts.z {
        return;
    }
    begin_group(0u);
    var d: array<f32, 36 * WIDTH>; // (WIDTH, 6, 6)
    for (var nth = 0u; nth < WIDTH; nth++) { // unrolled
        let tile = tile_of(item.x + nth, counts);
        let top = i32(tile.y) + params.row + min(0, 2 * params.tap_row_step);
        let left = i32(tile.z) + params.col + min(0, 2 * params.tap_col_step);
        let source = tile.x * params.x_image + item.y * params.x_plane;
        for (var i = 0u; i < 6u; i++) { // unrolled
            let row = u32(top + i32(i));
            for (var j = 0u; j < 6u; j++) { // unrolled
                let col = u32(left + i32(j));
                // A negative position is a very large one as an unsigned number.
                let inside = row < params.height && col < params.width;
                let value = b_at(select(0u, source + row * params.width + col, inside));
                d[36u * nth + 6u * i + j] = select(0.0, value, inside);
            }
        }
        for (var j = 0u; j < 6u; j++) { // unrolled
            let at = 36u * nth + j;
            let column = data_of(d[at], d[at + 6u], d[at + 12u], d[at + 18u], d[at + 24u], d[at + 30u]);
            for (var i = 0u; i < 6u; i++) { // unrolled
                d[at + 6u * i] = column[i];
            }
        }
    }
    let to = params.y_first + item.y * counts.z + item.x;
    for (var i = 0u; i < 6u; i++) { // unrolled
        var values: array<f32, 6 * WIDTH>;
        for (var nth = 0u; nth < WIDTH; nth++) { // unrolled
            let at = 36u * nth + 6u * i;
            let line = data_of(d[at], d[at + 1u], d[at + 2u], d[at + 3u], d[at + 4u], d[at + 5u]);
            for (var j = 0u; j < 6u; j++) { // unrolled
                values[j * WIDTH + nth] = line[j];
            }
        }
        for (var j = 0u; j < 6u; j++) { // unrolled
            put(to + (6u * i + j) * params.in_channels * counts.z, values[j * WIDTH], values[j * WIDTH + WIDTH - 1u]);
        }
    }
}

// Grid (tiles / THREADS / WIDTH, folded; output channels; 1): a thread has WIDTH tiles of a channel.
@compute @workgroup_size(THREADS)
fn winograd_outputs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let counts = tiles();
    let item = item_of(group, groups, thread, params.out_channels);
    if item.x >= counts.z {
        return;
    }
    let source = params.x_first + item.y * counts.z + item.x;
    let plane = params.out_channels * counts.z;
    var lines: array<vec4<f32>, 6 * WIDTH>; // (WIDTH, 6): a column of a tile each, of four rows
    for (var j = 0u; j < 6u; j++) { // unrolled
        var m: array<vec2<f32>, 6>;
        for (var i = 0u; i < 6u; i++) { // unrolled
            m[i] = got(source + (6u * i + j) * plane);
        }
        for (var nth = 0u; nth < WIDTH; nth++) { // unrolled
            lines[6u * nth + j] = output_of(m[0][nth], m[1][nth], m[2][nth], m[3][nth], m[4][nth], m[5][nth]);
        }
    }
    let added = bias_of(0u, item.y);
    for (var nth = 0u; nth < WIDTH; nth++) { // unrolled
        let tile = tile_of(item.x + nth, counts);
        let at = 6u * nth;
        for (var i = 0u; i < 4u; i++) { // unrolled
            let line = output_of(
                lines[at][i], lines[at + 1u][i], lines[at + 2u][i], lines[at + 3u][i], lines[at + 4u][i], lines[at + 5u][i],
            );
            for (var j = 0u; j < 4u; j++) { // unrolled
                let pixel = vec3<u32>(tile.x, tile.y + i, tile.z + j);
                if pixel.y < params.rows && pixel.z < params.cols {
                    finish(pixel, 0u, item.y, line[j] + added);
                }
            }
        }
    }
}
