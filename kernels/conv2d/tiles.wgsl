// The product of operands.wgsl in tiles of workgroup memory. A workgroup computes a tile of TILE_M by TILE_N in steps of
// TILE_K, a thread ROWS by COLS of it in registers. Every element is one chain of multiply-adds in ascending k, so its
// bits do not depend on the tile that it is in.
const TILE_M: u32 = 64u;
const TILE_N: u32 = 64u;
const TILE_K: u32 = 16u;
const ROWS: u32 = 8u;
const COLS: u32 = 8u;

const ACROSS: u32 = TILE_N / COLS;             // threads along n
const THREADS: u32 = ACROSS * (TILE_M / ROWS); // at least TILE_N, a multiple of it
const QUADS: u32 = ROWS / 4u;

var<workgroup> steps: array<Step, TILE_K>;
var<workgroup> a_tile: array<vec4<f32>, TILE_K * TILE_M / 4u>; // (TILE_K, TILE_M)
var<workgroup> b_tile: array<f32, TILE_K * TILE_N>;            // (TILE_K, TILE_N)
var<private> c: array<vec4<f32>, COLS * QUADS>;                // (COLS, ROWS)

// First row and first column of the part of the tile that is this thread's; its columns are ACROSS apart.
fn own_row(thread: u32) -> u32 {
    return thread / ACROSS * ROWS;
}

fn own_col(thread: u32) -> u32 {
    return thread % ACROSS;
}

// Computes the tile at (tile_m, tile_n) over the steps k_first..k_end into c.
fn product(thread: u32, tile_m: u32, tile_n: u32, k_first: u32, k_end: u32, extent: Extent) {
    let column = column_of(tile_n + thread % TILE_N);
    for (var at = 0u; at < COLS * QUADS; at++) { // unrolled
        c[at] = vec4<f32>(0.0);
    }
    if thread < TILE_K {
        steps[thread] = step_of(digits_of(k_first + thread));
    }
    workgroupBarrier(); // the steps of the first tile are there
    for (var k = k_first; k < k_end; k += TILE_K) {
        fetch_a(thread, tile_m, k_end - k, extent);
        fetch_b(thread, column, k_end - k, extent);
        workgroupBarrier(); // both tiles are complete, and nobody reads the steps any more
        if thread < TILE_K {
            steps[thread] = step_of(digits_of(k + TILE_K + thread));
        }
        multiply(own_row(thread) / 4u, own_col(thread));
        workgroupBarrier(); // nobody reads the tiles any more, and the next steps are there
    }
}

// a_tile[kk, m] = a[tile_m + m, k + kk]; rows and steps past the end are zero.
fn fetch_a(thread: u32, tile_m: u32, steps_left: u32, extent: Extent) {
    for (var at = thread; at < TILE_K * TILE_M / 4u; at += THREADS) {
        let kk = at % TILE_K;
        let quad = at / TILE_K;
        let m = tile_m + 4u * quad;
        var value = vec4<f32>(0.0);
        if kk < steps_left {
            let start = steps[kk].a + m * extent.a_stride;
            for (var i = 0u; i < 4u; i++) { // unrolled
                if m + i < extent.rows {
                    value[i] = a_at(start + i * extent.a_stride);
                }
            }
        }
        a_tile[kk * (TILE_M / 4u) + quad] = value;
    }
}

// b_tile[kk, n] = b[k + kk, tile_n + n]; steps past the end are zero.
fn fetch_b(thread: u32, column: Column, steps_left: u32, extent: Extent) {
    for (var kk = thread / TILE_N; kk < TILE_K; kk += THREADS / TILE_N) {
        var value = 0.0;
        if kk < steps_left {
            value = gathered(column, steps[kk], extent);
        }
        b_tile[kk * TILE_N + thread % TILE_N] = value;
    }
}

// c += a_tile * b_tile, this thread's part.
fn multiply(quad: u32, col: u32) {
    for (var kk = 0u; kk < TILE_K; kk++) {
        var a: array<vec4<f32>, QUADS>;
        for (var i = 0u; i < QUADS; i++) { // unrolled
            a[i] = a_tile[kk * (TILE_M / 4u) + quad + i];
        }
        for (var j = 0u; j < COLS; j++) { // unrolled
            let b = vec4<f32>(b_tile[kk * TILE_N + col + j * ACROSS]);
            for (var i = 0u; i < QUADS; i++) { // unrolled
                c[j * QUADS + i] = fma(a[i], b, c[j * QUADS + i]);
            }
        }
    }
}
