use super::*;
use crate::{Device, testing::*};

fn bytes(dims: &[usize]) -> Tensor {
    let dims = crate::Dims::new(dims).unwrap();
    let data: Vec<u8> = (0..dims.elements()).map(|i| (i * 89 % 256) as u8).collect();
    Tensor::from_slice(&data, dims, &Device::Cpu).unwrap()
}

#[test]
fn every_byte_is_exact() {
    for dims in [&[2, 3, 5, 7][..], &[3, 1, 1], &[4, 2, 3, 40, 50], &[0, 3, 2, 2]] {
        let op = NormalizeImage { scale: smallvec![1.0, 0.5, 2.0], shift: smallvec![0.0, -1.0, 0.25] };
        let op = if dims[dims.len() - 3] == 3 {
            op
        } else {
            NormalizeImage { scale: smallvec![0.1], shift: smallvec![2.0] }
        };
        judge(&op, &[&bytes(dims)]);
    }
    // More channels than a launch has room for.
    let constants = [0.5, 0.25, 2.0, 1.0, -3.0, 0.125].into_iter().collect::<SmallVec<[f64; 4]>>();
    judge(&NormalizeImage { scale: constants.clone(), shift: constants }, &[&bytes(&[2, 6, 4, 5])]);
    let all: Vec<u8> = (0..=255).collect();
    let unit =
        to_unit(&Tensor::from_slice(&all, [256], &Device::Cpu).unwrap()).unwrap().to_vec::<f32>().unwrap();
    for (byte, value) in unit.iter().enumerate() {
        assert_eq!(*value, (byte as f64 / 255.0) as f32);
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let x = bytes(&[1, 2, 3, 3]);
    assert!(matches!(
        normalize_image(&x, &[0.5; 3], &[1.0; 3]),
        Err(Error::Shape { op: "normalize_image", .. })
    ));
    assert!(matches!(normalize_image(&x, &[0.5; 2], &[1.0, 0.0]), Err(Error::Argument { .. })));
    assert!(normalize_image(&x, &[0.5], &[]).is_err());
    assert!(matches!(to_unit(&random([2, 2], 1)), Err(Error::DType { op: "normalize_image", .. })));
}
