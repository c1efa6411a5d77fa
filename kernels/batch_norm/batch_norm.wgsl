// What the kernels of batch normalisation share: x (B, C, plane) in parts. A part of a channel is a few whole images, or,
// of large ones, a piece of one image; parts follow from the shape alone, so the order of every sum does too.
const THREADS: u32 = 128u;

struct BatchNormParams {
    x_first: u32,
    dy_first: u32,
    weight_first: u32,
    bias_first: u32,
    mean_first: u32,
    inv_std_first: u32,
    parts_first: u32,
    batch: u32,    // images of this launch, which begins with a whole group of images
    channels: u32,
    plane: u32,
    images_per_part: u32,
    pieces: u32,   // of an image; one where a part has several images
    piece: u32,    // pixels of a piece; the last may be shorter
    parts: u32,    // of a channel, over the whole batch
    first_part: u32,
}

// The part of a channel that a workgroup sums.
struct Part {
    channel: u32,
    number: u32, // among those of the channel
    image: u32,
    images: u32,
    pixel: u32,
    pixels: u32,
}

fn part_of(at: u32) -> Part {
    let groups = (params.batch + params.images_per_part - 1u) / params.images_per_part;
    let here = groups * params.pieces;
    let channel = at / here;
    let number = at % here;
    let image = number / params.pieces * params.images_per_part;
    let pixel = number % params.pieces * params.piece;
    return Part(
        channel,
        params.first_part + number,
        image,
        min(params.images_per_part, params.batch - image),
        pixel,
        min(params.piece, params.plane - pixel),
    );
}

// Where element `at` of a part is, from the first of x.
fn element_of(part: Part, at: u32) -> u32 {
    let image = at / part.pixels;
    return ((part.image + image) * params.channels + part.channel) * params.plane + part.pixel + at - image * part.pixels;
}

// Sums of pairs over the threads of a workgroup.
var<workgroup> partial: array<vec2<f32>, THREADS>;

fn sum_of_all(thread: u32, value: vec2<f32>) -> vec2<f32> {
    partial[thread] = value;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // the sums of 2 * half threads are there
        if thread < half {
            partial[thread] += partial[thread + half];
        }
    }
    workgroupBarrier(); // the sum is there
    let total = partial[0];
    workgroupBarrier(); // nobody reads it any more
    return total;
}
