use super::*;

#[test]
fn neighbours_differ_and_large_positions_are_exact() {
    let p = positional_encoding(&[99_999, 100_000], 128, &Device::Cpu).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(p[0], 99_999_f64.sin() as f32);
    assert_eq!(p[127], (99_999.0 * 10_000_f64.powf(-126.0 / 128.0)).cos() as f32);
    assert_ne!(p[..128], p[128..]);
    for pair in p.chunks(2) {
        assert!((pair[0] * pair[0] + pair[1] * pair[1] - 1.0).abs() < 1e-6);
    }
}

#[test]
fn odd_widths_and_no_positions_are_allowed() {
    assert_eq!(*positional_encoding(&[3], 5, &Device::Cpu).unwrap().dims(), [1, 5]);
    assert_eq!(positional_encoding(&[], 4, &Device::Cpu).unwrap().elements(), 0);
    assert!(matches!(positional_encoding(&[1], 0, &Device::Cpu), Err(Error::Argument { .. })));
}
