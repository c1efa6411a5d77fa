// The product of product.wgsl in registers alone: a thread has ROWS by COLS elements, and every operand goes from memory
// to registers, for the reasons of conv2d/registers.wgsl.
const ROWS: u32 = 8u;
const COLS: u32 = 8u;
const THREADS: u32 = 16u;

const TILE_M: u32 = ROWS;
const TILE_N: u32 = COLS * THREADS;
const ACROSS: u32 = THREADS; // threads along n
const QUADS: u32 = ROWS / 4u;

var<private> sums: array<vec4<f32>, COLS * QUADS>; // (COLS, ROWS)

// First row and first column of the part of the tile that is this thread's; its columns are ACROSS apart.
fn own_row(thread: u32) -> u32 {
    return 0u;
}

fn own_col(thread: u32) -> u32 {
    return thread;
}

// Sums the steps k_first..k_end of a tile.
fn product(thread: u32, tile: Tile, k_first: u32, k_end: u32) {
    // Rows and columns past the end are the last ones; nobody writes their sums.
    var rows: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) { // unrolled
        rows[i] = row_at(tile, min(tile.m + i, params.m_end - 1u));
    }
    var cols: array<u32, COLS>;
    for (var j = 0u; j < COLS; j++) { // unrolled
        cols[j] = col_at(tile, min(tile.n + own_col(thread) + j * ACROSS, params.n_end - 1u));
    }
    for (var at = 0u; at < COLS * QUADS; at++) { // unrolled
        sums[at] = vec4<f32>(0.0);
    }
    var outer = k_first / params.k_inner;
    var inner = k_first % params.k_inner;
    for (var k = k_first; k < k_end; k++) {
        let a_step = outer * params.a_k_outer + inner * params.a_k;
        let b_step = outer * params.b_k_outer + inner * params.b_k;
        var left: array<vec4<f32>, QUADS>;
        for (var i = 0u; i < ROWS; i++) { // unrolled
            left[i / 4u][i % 4u] = f32(a[rows[i] + a_step]);
        }
        for (var j = 0u; j < COLS; j++) { // unrolled
            let right = vec4<f32>(f32(b[cols[j] + b_step]));
            for (var i = 0u; i < QUADS; i++) { // unrolled
                sums[j * QUADS + i] = fma(left[i], right, sums[j * QUADS + i]);
            }
        }
        inner++;
        outer = select(outer, outer + 1u, inner == params.k_inner);
        inner = select(inner, 0u, inner == params.k_inner);
    }
}
