// A batch of matrix products of any layout:
//
//   c[z][m, n] = (c[z][m, n] if `add`) + scale * (sum over k of a[z][m, k] * b[z][k, n]) + (bias[m or n] if there is one)
//
// An index i of an axis lies i / inner * outer + i % inner * step elements from the first, with outer and step for each
// operand: so m may run over two axes of a tensor that are not neighbours. A long k may be cut into `splits`, whose sums
// are `c_split` apart.
//
// A workgroup computes a tile of TILE_M by TILE_N in steps of TILE_K, a thread ROWS by COLS of it in registers. Every
// element is one chain of multiply-adds in ascending k, so its bits do not depend on the tile that it is in. Bindings are
// those of product_apart.wgsl, product_within.wgsl or product_bias.wgsl.
const TILE_M: u32 = 64u;
const TILE_N: u32 = 64u;
const TILE_K: u32 = 16u;
const ROWS: u32 = 8u;
const COLS: u32 = 8u;

const ACROSS: u32 = TILE_N / COLS;             // threads along n
const THREADS: u32 = ACROSS * (TILE_M / ROWS);
const QUADS: u32 = ROWS / 4u;
// Distances of the rows of the tiles, such that threads that write below each other use different banks.
const A_ROW: u32 = TILE_M / 4u + 1u;
const B_ROW: u32 = TILE_N + 1u;

struct ProductParams {
    a_first: u32, // may wrap around zero, as may the others
    b_first: u32,
    c_first: u32,
    m_first: u32, // of this launch
    m_end: u32,
    n_first: u32,
    n_end: u32,
    k: u32,
    m_inner: u32,
    n_inner: u32,
    k_inner: u32,
    z_first: u32, // number of the first product, split, of this launch
    z_count: u32,
    splits: u32,
    k_per_split: u32,
    a_batch: u32,
    a_m_outer: u32,
    a_m: u32,
    a_k_outer: u32,
    a_k: u32,
    b_batch: u32,
    b_k_outer: u32,
    b_k: u32,
    b_n_outer: u32,
    b_n: u32,
    c_batch: u32,
    c_split: u32,
    c_m_outer: u32,
    c_m: u32,
    c_n_outer: u32,
    c_n: u32,
    add: u32,
    scale: f32,
    bias_first: u32,
    bias_m: u32,
    bias_n: u32,
}

@group(0) @binding(0) var<uniform> params: ProductParams;

var<workgroup> a_rows: array<u32, TILE_M>;       // where the rows of a begin
var<workgroup> b_cols: array<u32, TILE_N>;       // and the columns of b
var<workgroup> steps: array<vec2<u32>, TILE_K>;  // how far from there the steps along k are, in a and in b
var<workgroup> a_tile: array<vec4<f32>, TILE_K * A_ROW>; // (TILE_K, TILE_M)
var<workgroup> b_tile: array<f32, TILE_K * B_ROW>;       // (TILE_K, TILE_N)
var<private> sums: array<vec4<f32>, COLS * QUADS>;       // (COLS, ROWS)

fn offset(at: u32, inner: u32, outer: u32, step: u32) -> u32 {
    return at / inner * outer + at % inner * step;
}

fn step_of(k: u32) -> vec2<u32> {
    return vec2<u32>(
        offset(k, params.k_inner, params.a_k_outer, params.a_k),
        offset(k, params.k_inner, params.b_k_outer, params.b_k),
    );
}

// a_tile[kk, m], zeros outside of the matrix. Neighbouring threads read neighbours in memory.
fn fetch_a(thread: u32, rows_left: u32, steps_left: u32) {
    let along_k = params.a_k < params.a_m;
    for (var at = thread; at < TILE_K * TILE_M / 4u; at += THREADS) {
        let kk = select(at / (TILE_M / 4u), at % TILE_K, along_k);
        let quad = select(at % (TILE_M / 4u), at / TILE_K, along_k);
        var value = vec4<f32>(0.0);
        if kk < steps_left {
            for (var i = 0u; i < 4u; i++) {
                if 4u * quad + i < rows_left {
                    value[i] = a[a_rows[4u * quad + i] + steps[kk].x];
                }
            }
        }
        a_tile[kk * A_ROW + quad] = value;
    }
}

// b_tile[kk, n], zeros outside of the matrix.
fn fetch_b(thread: u32, cols_left: u32, steps_left: u32) {
    let along_k = params.b_k < params.b_n;
    for (var at = thread; at < TILE_K * TILE_N; at += THREADS) {
        let kk = select(at / TILE_N, at % TILE_K, along_k);
        let col = select(at % TILE_N, at / TILE_K, along_k);
        var value = 0.0;
        if kk < steps_left && col < cols_left {
            value = b[b_cols[col] + steps[kk].y];
        }
        b_tile[kk * B_ROW + col] = value;
    }
}

// sums += a_tile * b_tile, this thread's part.
fn multiply(quad: u32, col: u32) {
    for (var kk = 0u; kk < TILE_K; kk++) {
        var left: array<vec4<f32>, QUADS>;
        for (var i = 0u; i < QUADS; i++) {
            left[i] = a_tile[kk * A_ROW + quad + i];
        }
        for (var j = 0u; j < COLS; j++) {
            let right = vec4<f32>(b_tile[kk * B_ROW + col + j * ACROSS]);
            for (var i = 0u; i < QUADS; i++) {
                sums[j * QUADS + i] = fma(left[i], right, sums[j * QUADS + i]);
            }
        }
    }
}

fn write(thread: u32, tile_m: u32, tile_n: u32, c_start: u32) {
    for (var j = 0u; j < COLS; j++) {
        let n = tile_n + thread % ACROSS + j * ACROSS;
        if n >= params.n_end {
            continue;
        }
        let column = c_start + offset(n, params.n_inner, params.c_n_outer, params.c_n);
        for (var i = 0u; i < ROWS; i++) {
            let m = tile_m + thread / ACROSS * ROWS + i;
            if m < params.m_end {
                let to = column + offset(m, params.m_inner, params.c_m_outer, params.c_m);
                let value = params.scale * sums[j * QUADS + i / 4u][i % 4u] + bias_of(m, n);
                if params.add != 0u {
                    c[to] += value;
                } else {
                    c[to] = value;
                }
            }
        }
    }
}

// Grid (products * splits * tiles along m * tiles along n).
@compute @workgroup_size(THREADS)
fn product_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let across = (params.n_end - params.n_first + TILE_N - 1u) / TILE_N;
    let down = (params.m_end - params.m_first + TILE_M - 1u) / TILE_M;
    let at = group_index(group, groups);
    let z = params.z_first + at / (across * down);
    if z >= params.z_first + params.z_count {
        return;
    }
    let tile_n = params.n_first + at % across * TILE_N;
    let tile_m = params.m_first + at / across % down * TILE_M;
    let item = z / params.splits;
    let k_first = z % params.splits * params.k_per_split;
    let k_end = min(k_first + params.k_per_split, params.k);

    for (var i = thread; i < TILE_M; i += THREADS) {
        let row = offset(tile_m + i, params.m_inner, params.a_m_outer, params.a_m);
        a_rows[i] = params.a_first + item * params.a_batch + row;
    }
    for (var i = thread; i < TILE_N; i += THREADS) {
        let column = offset(tile_n + i, params.n_inner, params.b_n_outer, params.b_n);
        b_cols[i] = params.b_first + item * params.b_batch + column;
    }
    for (var i = 0u; i < COLS * QUADS; i++) {
        sums[i] = vec4<f32>(0.0);
    }
    if thread < TILE_K {
        steps[thread] = step_of(k_first + thread);
    }
    workgroupBarrier(); // rows, columns and the first steps are there
    for (var k = k_first; k < k_end; k += TILE_K) {
        fetch_a(thread, params.m_end - tile_m, k_end - k);
        fetch_b(thread, params.n_end - tile_n, k_end - k);
        workgroupBarrier(); // both tiles are complete, and nobody reads the steps any more
        if thread < TILE_K {
            steps[thread] = step_of(k + TILE_K + thread);
        }
        multiply(thread / ACROSS * QUADS, thread % ACROSS);
        workgroupBarrier(); // nobody reads the tiles any more, and the next steps are there
    }
    write(thread, tile_m, tile_n, params.c_first + item * params.c_batch + z % params.splits * params.c_split);
}
