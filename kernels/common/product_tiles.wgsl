// The product of product.wgsl in tiles of workgroup memory, TILE_K steps at a time; a thread has ROWS by COLS of a tile in
// registers.
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

var<workgroup> a_rows: array<u32, TILE_M>;       // where the rows of a begin
var<workgroup> b_cols: array<u32, TILE_N>;       // and the columns of b
var<workgroup> steps: array<vec2<u32>, TILE_K>;  // how far from there the steps along k are, in a and in b
var<workgroup> a_tile: array<vec4<f32>, TILE_K * A_ROW>; // (TILE_K, TILE_M)
var<workgroup> b_tile: array<f32, TILE_K * B_ROW>;       // (TILE_K, TILE_N)
var<private> sums: array<vec4<f32>, COLS * QUADS>;       // (COLS, ROWS)

// First row and first column of the part of the tile that is this thread's; its columns are ACROSS apart.
fn own_row(thread: u32) -> u32 {
    return thread / ACROSS * ROWS;
}

fn own_col(thread: u32) -> u32 {
    return thread % ACROSS;
}

fn step_of(k: u32) -> vec2<u32> {
    return vec2<u32>(
        offset(k, params.k_inner, params.a_k_outer, params.a_k),
        offset(k, params.k_inner, params.b_k_outer, params.b_k),
    );
}

// Sums the steps k_first..k_end of a tile.
fn product(thread: u32, tile: Tile, k_first: u32, k_end: u32) {
    for (var i = thread; i < TILE_M; i += THREADS) {
        a_rows[i] = row_at(tile, tile.m + i);
    }
    for (var i = thread; i < TILE_N; i += THREADS) {
        b_cols[i] = col_at(tile, tile.n + i);
    }
    for (var i = 0u; i < COLS * QUADS; i++) { // unrolled
        sums[i] = vec4<f32>(0.0);
    }
    if thread < TILE_K {
        steps[thread] = step_of(k_first + thread);
    }
    workgroupBarrier(); // rows, columns and the first steps are there
    for (var k = k_first; k < k_end; k += TILE_K) {
        fetch_a(thread, params.m_end - tile.m, k_end - k);
        fetch_b(thread, params.n_end - tile.n, k_end - k);
        workgroupBarrier(); // both tiles are complete, and nobody reads the steps any more
        if thread < TILE_K {
            steps[thread] = step_of(k + TILE_K + thread);
        }
        multiply(own_row(thread) / 4u, own_col(thread));
        workgroupBarrier(); // nobody reads the tiles any more, and the next steps are there
    }
}

// a_tile[kk, m], zeros outside of the matrix. Neighbouring threads read neighbours in memory.
fn fetch_a(thread: u32, rows_left: u32, steps_left: u32) {
    let along_k = params.a_k < params.a_m;
    for (var at = thread; at < TILE_K * TILE_M / 4u; at += THREADS) {
        let kk = select(at / (TILE_M / 4u), at % TILE_K, along_k);
        let quad = select(at % (TILE_M / 4u), at / TILE_K, along_k);
        var value = vec4<f32>(0.0);
        if kk < steps_left {
            for (var i = 0u; i < 4u; i++) { // unrolled
                if 4u * quad + i < rows_left {
                    value[i] = f32(a[a_rows[4u * quad + i] + steps[kk].x]);
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
            value = f32(b[b_cols[col] + steps[kk].y]);
        }
        b_tile[kk * B_ROW + col] = value;
    }
}

// sums += a_tile * b_tile, this thread's part.
fn multiply(quad: u32, col: u32) {
    for (var kk = 0u; kk < TILE_K; kk++) {
        var left: array<vec4<f32>, QUADS>;
        for (var i = 0u; i < QUADS; i++) { // unrolled
            left[i] = a_tile[kk * A_ROW + quad + i];
        }
        for (var j = 0u; j < COLS; j++) { // unrolled
            let right = vec4<f32>(b_tile[kk * B_ROW + col + j * ACROSS]);
            for (var i = 0u; i < QUADS; i++) { // unrolled
                sums[j * QUADS + i] = fma(left[i], right, sums[j * QUADS + i]);
            }
        }
    }
}
