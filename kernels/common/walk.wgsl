// Where the elements of a box lie in two tensors, a and b. The box has AXES axes, counted from the innermost; each has a
// size and a distance in either tensor. Sizes of one are left out and neighbours merged before the launch, so AXES is one
// wherever both tensors run along.
const AXES: u32 = 1u;

fn step(rest: ptr<function, u32>, size: u32, distance: vec2<u32>) -> vec2<u32> {
    let next = *rest / size;
    let index = *rest - next * size;
    *rest = next;
    return index * distance;
}

// The positions of element `at` of the box, relative to its first element.
fn walk(at: u32) -> vec2<u32> {
    var rest = at;
    var place = vec2<u32>(0u);
    if AXES > 1u {
        place += step(&rest, params.size_0, vec2<u32>(params.a_0, params.b_0));
    }
    if AXES > 2u {
        place += step(&rest, params.size_1, vec2<u32>(params.a_1, params.b_1));
    }
    if AXES > 3u {
        place += step(&rest, params.size_2, vec2<u32>(params.a_2, params.b_2));
    }
    if AXES > 4u {
        place += step(&rest, params.size_3, vec2<u32>(params.a_3, params.b_3));
    }
    if AXES > 5u {
        place += step(&rest, params.size_4, vec2<u32>(params.a_4, params.b_4));
    }
    return place + rest * vec2<u32>(params.a_last, params.b_last);
}
