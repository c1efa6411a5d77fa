// The operands of the matrix products behind a convolution and its gradients: c[m, n] = sum over k of a[m, k] * b[k, n],
// where b is not a matrix in memory but gathered from images. A column n and a step k each say where they are in an image:
//
//   a[m, k] = a[step.a + m * a_stride],   b[k, n] = image[column.at + step.b], or 0 outside of the image:
//   row = column.row + step.row must be in 0..height, and col = column.col + step.col in 0..width.
//
// A step is counted by three digits, such as channel, row and column of a tap. tiles.wgsl and registers.wgsl compute the
// product; a text that uses one of them defines what it is a product of: column_of, digits(), step_of, a_at and b_at.

// Far outside of any image.
const NOWHERE: i32 = -0x40000000;

struct Column {
    at: u32,
    row: i32,
    col: i32,
}

struct Step {
    a: u32,
    b: u32,
    row: i32,
    col: i32,
}

struct Extent {
    rows: u32, // of a
    a_stride: u32,
    height: u32,
    width: u32,
}

// The digits of step k, the last of which counts fastest; digits() is how many values the last two have.
fn digits_of(k: u32) -> vec3<u32> {
    let counts = max(digits(), vec2<u32>(1u));
    let line = k / counts.y;
    let first = line / counts.x;
    return vec3<u32>(first, line - first * counts.x, k - line * counts.y);
}

// b of a column at a step.
fn gathered(column: Column, step: Step, extent: Extent) -> f32 {
    // A negative position is a very large one as an unsigned number.
    let inside = u32(column.row + step.row) < extent.height && u32(column.col + step.col) < extent.width;
    return select(0.0, b_at(select(0u, column.at + step.b, inside)), inside);
}
