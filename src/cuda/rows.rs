//! Work on rows, for kernels built on `kernels/common/rows.cuh`.

use super::{Grid, Kernel};

/// How many threads share a row in each of the four kernels of a function.
const LANES: [usize; 4] = [1, 8, 32, 1024];

/// The kernel, of those for 1, 8, 32 and 1024 threads per row, for rows of `size` elements that lie `distance` apart, and its grid for `rows` of
/// them. The choice follows from the shape of a row alone, and so does the order of a sum.
pub(crate) fn by_row(kernels: &[Kernel; 4], rows: usize, size: usize, distance: usize) -> (Kernel, Grid) {
    // Threads on neighbouring rows read neighbouring elements where the elements of a row lie apart.
    let at = match (size, distance) {
        (..=16, _) => 0,
        (..=256, 8..) => 0,
        (..=128, _) => 1,
        (..=1024, _) => 2,
        _ => 3,
    };
    let kernel = kernels[at];
    (kernel, Grid::over(rows, kernel.threads as usize / LANES[at]))
}
