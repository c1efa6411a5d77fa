use super::*;
use crate::{Tape, testing::*};

/// Batch B, instances N, features D, hidden L.
const SIZES: &[[usize; 4]] = &[
    [1, 1, 1, 1],
    [2, 60, 64, 32],
    [3, 70, 33, 17],
    [1, 700, 20, 9],
    [2, 5, 600, 3],
    [2, 0, 3, 2],
    [0, 4, 3, 2],
];

/// h, v, bv, u, bu, w
fn operands([b, n, d, l]: [usize; 4]) -> [Tensor; 6] {
    [
        random([b, n, d], 1),
        random([l, d], 2),
        random([l], 3),
        random([l, d], 4),
        random([l], 5),
        random([l], 6),
    ]
}

fn pool(x: &[Tensor]) -> Result<Vec<Tensor>> {
    let (y, weights) = gated_attention(&x[0], &x[1], &x[2], &x[3], &x[4], &x[5])?;
    Ok(vec![y, weights])
}

#[test]
fn pooling_and_its_gradient_match_their_specifications() {
    for &sizes in SIZES {
        let ins = operands(sizes);
        judge(&GatedAttention { keep: false, precision: None }, &ins.each_ref());
        let op = GatedAttention { keep: true, precision: None };
        judge(&op, &ins.each_ref());
        let outs = crate::device::run(&op, &ins.each_ref()).unwrap();
        let (dy, da) = (random(outs[0].dims(), 7), random(outs[1].dims(), 8));
        let [h, v, _, u, _, w] = &ins;
        let all = [h, v, u, w, &outs[1], &outs[2], &outs[3], &dy, &da];
        for wants in
            [[true; 6], [true, false, false, false, false, false], [false, true, false, false, true, true]]
        {
            judge(&GatedAttentionGrad { wants, precision: None }, &all);
        }
    }
}

#[test]
fn gradients_agree_with_differences() {
    for sizes in [[2, 3, 4, 2], [2, 1, 2, 3], [1, 4, 1, 1]] {
        judge_function_on(GatedAttention::ARMS, pool, &operands(sizes));
        judge_function_on(GatedAttention::ARMS, |x| Ok(vec![pool(x)?.remove(0)]), &operands(sizes));
        judge_function_on(GatedAttention::ARMS, |x| Ok(vec![pool(x)?.remove(1)]), &operands(sizes));
    }
}

#[test]
fn threads_do_not_change_bits() {
    let ins = operands([3, 150, 40, 24]);
    let run = |threads: usize| {
        let pool_of = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool_of.install(|| {
            let tape = Tape::new();
            let watched: Vec<Tensor> = ins.iter().map(|t| tape.watch(t).unwrap()).collect();
            let outs = pool(&watched).unwrap();
            let dy = random(outs[0].dims(), 3);
            let grads = tape.backward_from(&[(&outs[0], &dy)]).unwrap();
            let mut all: Vec<_> = outs.iter().map(bits).collect();
            all.extend(watched.iter().map(|t| bits(grads.of(t).unwrap())));
            all
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn misuse_is_a_typed_error() {
    let [h, v, bv, u, bu, w] = operands([2, 3, 4, 5]);
    let refused = |ins: [&Tensor; 6]| {
        let [h, v, bv, u, bu, w] = ins;
        gated_attention(h, v, bv, u, bu, w).unwrap_err()
    };
    let other = random([5, 3], 1);
    for ins in [
        [&v, &v, &bv, &u, &bu, &w],
        [&h, &other, &bv, &u, &bu, &w],
        [&h, &v, &bv, &other, &bu, &w],
        [&h, &v, &v, &u, &bu, &w],
        [&h, &v, &bv, &u, &bu, &h],
    ] {
        assert!(matches!(refused(ins), Error::Shape { op: "gated_attention", .. }));
    }
    let integers = random_i32([5], 3, 1);
    assert!(matches!(refused([&h, &v, &bv, &u, &bu, &integers]), Error::DType { op: "gated_attention", .. }));
}
