// The product of product.wgsl in registers as product_registers.wgsl has it, two elements to a load and to a store: as 64-bit
// words, which not every adapter has. A processor that runs the threads of a workgroup as the lanes of its vectors loads
// lane by lane, and then a word of two elements costs as much as one of one.
//
// Elements of a lie side by side along k, those of b and c along n; all else is even: where the matrices, their rows and
// columns begin, how long k and its pieces are, and which columns a launch computes. The sums have the order of
// product_registers.wgsl, and so its bits. Operands and the result may be in one buffer.
const ROWS: u32 = 8u;
const COLS: u32 = 8u;
const THREADS: u32 = 16u;

@group(0) @binding(1) var<storage, read_write> a: array<u64>;
@group(0) @binding(2) var<storage, read_write> b: array<u64>;
@group(0) @binding(3) var<storage, read_write> c: array<u64>;

const TILE_M: u32 = ROWS;
const TILE_N: u32 = COLS * THREADS;
const QUADS: u32 = ROWS / 4u;
const PAIRS: u32 = COLS / 2u;

var<private> sums: array<vec4<f32>, COLS * QUADS>; // (COLS, ROWS)

// First column of a thread's pair j of them.
fn pair_col(tile: Tile, thread: u32, j: u32) -> u32 {
    return tile.n + 2u * (thread + j * THREADS);
}

// Sums the steps k_first..k_end of a tile.
fn product(thread: u32, tile: Tile, k_first: u32, k_end: u32) {
    // Rows and columns past the end are the last ones; nobody writes their sums.
    var rows: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) { // unrolled
        rows[i] = row_at(tile, min(tile.m + i, params.m_end - 1u)) / 2u;
    }
    var cols: array<u32, PAIRS>;
    for (var j = 0u; j < PAIRS; j++) { // unrolled
        cols[j] = col_at(tile, min(pair_col(tile, thread, j), params.n_end - 2u)) / 2u;
    }
    for (var at = 0u; at < COLS * QUADS; at++) { // unrolled
        sums[at] = vec4<f32>(0.0);
    }
    for (var k = k_first; k < k_end; k += 2u) {
        var left: array<vec4<f32>, 2u * QUADS>; // of both steps
        for (var i = 0u; i < ROWS; i++) { // unrolled
            let pair = unpacked(a[rows[i] + k / 2u]);
            left[i / 4u][i % 4u] = pair.x;
            left[QUADS + i / 4u][i % 4u] = pair.y;
        }
        for (var step = 0u; step < 2u; step++) { // unrolled
            let b_step = (k + step) * (params.b_k / 2u);
            for (var j = 0u; j < PAIRS; j++) { // unrolled
                let right = unpacked(b[cols[j] + b_step]);
                for (var i = 0u; i < QUADS; i++) { // unrolled
                    let first = 2u * j * QUADS + i;
                    let second = first + QUADS;
                    sums[first] = fma(left[step * QUADS + i], vec4<f32>(right.x), sums[first]);
                    sums[second] = fma(left[step * QUADS + i], vec4<f32>(right.y), sums[second]);
                }
            }
        }
    }
}

fn write(thread: u32, tile: Tile, c_start: u32) {
    for (var j = 0u; j < PAIRS; j++) { // unrolled
        let n = pair_col(tile, thread, j);
        let column = c_start + offset(n, params.n_inner, params.c_n_outer, params.c_n);
        for (var i = 0u; i < ROWS; i++) { // unrolled
            let m = tile.m + i;
            if n < params.n_end && m < params.m_end {
                let row = offset(m, params.m_inner, params.c_m_outer, params.c_m);
                let pair = vec2<f32>(sums[2u * j * QUADS + i / 4u][i % 4u], sums[(2u * j + 1u) * QUADS + i / 4u][i % 4u]);
                c[(column + row) / 2u] = packed(params.scale * pair);
            }
        }
    }
}
