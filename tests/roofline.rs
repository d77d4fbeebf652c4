//! What `cargo bench --bench roofline` says of its measurements: no noise that looks like a figure.

#[path = "../benches/measure/mod.rs"]
mod measure;

use measure::{Line, Times, table, threads};

#[test]
fn a_difference_below_the_noise_is_no_time() {
    // nine calls of ten are disturbed, by up to 40 % of their time
    let times = |low: f64| Times::new((0..100).map(|i| low * (1.0 + f64::from(i.max(10) - 10) / 225.0)).collect());
    assert_eq!(times(1.0).low(), 1.0);
    assert_eq!(times(2.0).longer_than(&times(1.0)), Some(1.0));
    assert!(times(1.1).longer_than(&times(1.0)).is_none());
    assert!(times(1.0).longer_than(&times(2.0)).is_none());
}

#[test]
fn calls_are_measured_in_turns() {
    let mut order = vec![];
    let [first, second] = Times::of(0.0, |call| order.push(call));
    assert!(first.low() >= 0.0 && second.low() >= 0.0);
    assert_eq!(order, [0, 1].repeat(6));
}

#[test]
fn columns_stand_under_their_header() {
    let line = |name: &str, gflop, seconds| Line { name: name.to_owned(), images: 64, gflop, seconds };
    let lines = [
        line("conv 56×56×64→64, strides 2, weight gradient", Some(1.0), Some(0.02)),
        line("short", Some(1.0), Some(0.01)),
        line("lost", Some(1.0), None),
        line("faster than the processor", Some(1.0), Some(0.001)),
        line("a step", None, Some(0.5)),
    ];
    let expected = "\
pass                                                 ms    images/s   GFLOP/s  of peak
conv 56×56×64→64, strides 2, weight gradient     20.000        3200      50.0     50 %
short                                            10.000        6400     100.0    100 %
lost                                              noise           -         -        -
faster than the processor                         noise           -         -        -
a step                                          500.000         128         -        -
";
    assert_eq!(table(&lines, 100.0), expected);
    assert_eq!([threads(1), threads(2)], ["1 thread", "2 threads"]);
}
