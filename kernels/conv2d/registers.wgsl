// The product of operands.wgsl in registers alone: a thread has ROWS by COLS elements, and every operand goes from memory
// to registers. For adapters that run the threads of a workgroup on a processor: workgroup memory is no nearer there than
// the cache, a barrier is expensive and a load even more so, so a thread has as many elements as can be. The sums have
// the order of tiles.wgsl, and so its bits. A load brings STEPS steps of a row of a (words.wgsl, pairs.wgsl).
const ROWS: u32 = 8u;
const COLS: u32 = 8u;
const THREADS: u32 = 16u;

const TILE_M: u32 = ROWS;
const TILE_N: u32 = COLS * THREADS;
const ACROSS: u32 = THREADS; // threads along n
const QUADS: u32 = ROWS / 4u;

var<private> c: array<vec4<f32>, COLS * QUADS>; // (COLS, ROWS)

// First row and first column of the part of the tile that is this thread's; its columns are ACROSS apart.
fn own_row(thread: u32) -> u32 {
    return 0u;
}

fn own_col(thread: u32) -> u32 {
    return thread;
}

// Computes the tile at (tile_m, tile_n) over the steps k_first..k_end into c.
fn product(thread: u32, tile_m: u32, tile_n: u32, k_first: u32, k_end: u32, extent: Extent) {
    var columns: array<Column, COLS>;
    for (var j = 0u; j < COLS; j++) { // unrolled
        columns[j] = column_of(tile_n + own_col(thread) + j * ACROSS);
    }
    var rows: array<vec4<u32>, QUADS>; // where the rows of a begin; those past the end are the last one
    for (var i = 0u; i < ROWS; i++) { // unrolled
        rows[i / 4u][i % 4u] = min(tile_m + i, extent.rows - 1u) * extent.a_stride;
    }
    for (var at = 0u; at < COLS * QUADS; at++) { // unrolled
        c[at] = vec4<f32>(0.0);
    }
    let counts = digits();
    var digit = digits_of(k_first);
    for (var k = k_first; k < k_end; k += STEPS) {
        var a: array<vec4<f32>, STEPS * QUADS>;
        let start = step_of(digit).a;
        for (var i = 0u; i < ROWS; i++) { // unrolled
            let values = a_from(start + rows[i / 4u][i % 4u]);
            for (var nth = 0u; nth < STEPS; nth++) { // unrolled
                a[nth * QUADS + i / 4u][i % 4u] = values[nth];
            }
        }
        for (var nth = 0u; nth < STEPS; nth++) { // unrolled
            let step = step_of(digit);
            for (var j = 0u; j < COLS; j++) { // unrolled
                let b = vec4<f32>(gathered(columns[j], step, extent));
                for (var i = 0u; i < QUADS; i++) { // unrolled
                    c[j * QUADS + i] = fma(a[nth * QUADS + i], b, c[j * QUADS + i]);
                }
            }
            digit.z++;
            let carry = digit.z == counts.y;
            digit = select(digit, vec3<u32>(digit.x, digit.y + 1u, 0u), carry);
            let carry_twice = digit.y == counts.x;
            digit = select(digit, vec3<u32>(digit.x + 1u, 0u, digit.z), carry_twice);
        }
    }
}
