use super::*;
use crate::testing::*;

#[test]
fn expansion_and_padding() {
    for (from, to) in [
        (vec![3, 1], vec![2, 3, 5]),
        (vec![5], vec![4, 5]),
        (vec![], vec![2, 2]),
        (vec![2, 1, 3], vec![2, 4, 3]),
    ] {
        judge(&Expand { dims: Dims::new(&to).unwrap() }, &[&random(Dims::new(&from).unwrap(), 1)]);
    }
    judge(&PadRows { before: 2, rows: 6 }, &[&random([3, 2, 2], 2)]);
    judge(&PadRows { before: 0, rows: 3 }, &[&random([3, 5], 2)]);
}

#[test]
fn gradients_of_views() {
    judge_function(
        |x| Ok(vec![reshape(&slice(&x[0], 1..3)?, [5, 2])?, slice(&x[0], 0..2)?]),
        &[random([4, 5], 1)],
    );
    judge_function(|x| Ok(vec![expand(&x[0], [2, 3, 4])?]), &[random([3, 1], 2)]);
}

#[test]
fn views_share_the_buffer_and_refuse_what_does_not_fit() {
    let x = random([4, 6], 1);
    let y = slice(&reshape(&x, [8, 3]).unwrap(), 2..5).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap()[6..15]);
    assert_eq!(y.buffer.address(), x.buffer.address());
    assert!(matches!(reshape(&x, [5, 5]), Err(Error::Shape { op: "reshape", .. })));
    assert!(matches!(slice(&x, 3..5), Err(Error::Argument { op: "slice", .. })));
    assert!(matches!(expand(&x, [4, 1]), Err(Error::Shape { op: "expand", .. })));
}
