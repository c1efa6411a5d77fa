// Writes the results of product.wgsl, one element at a time.
const ADD: u32 = 0u;
// How the operands and the result are stored: f32 or f16. Sums are f32.
alias ElementA = f32;
alias ElementB = f32;
alias ElementC = f32;

fn write(thread: u32, tile: Tile, c_start: u32) {
    var rows: array<u32, ROWS>; // where they begin
    for (var i = 0u; i < ROWS; i++) { // unrolled
        rows[i] = offset(tile.m + own_row(thread) + i, params.m_inner, params.c_m_outer, params.c_m);
    }
    for (var j = 0u; j < COLS; j++) { // unrolled
        let n = tile.n + own_col(thread) + j * ACROSS;
        let column = c_start + offset(n, params.n_inner, params.c_n_outer, params.c_n);
        for (var i = 0u; i < ROWS; i++) { // unrolled
            let m = tile.m + own_row(thread) + i;
            if n < params.n_end && m < params.m_end {
                var value = params.scale * sums[j * QUADS + i / 4u][i % 4u] + bias_of(m, n);
                if ADD != 0u {
                    value = f32(c[column + rows[i]]) + value;
                }
                c[column + rows[i]] = ElementC(value);
            }
        }
    }
}
