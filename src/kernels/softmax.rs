//! stub
use crate::scalar::Scalar;
pub(crate) fn softmax<T: Scalar>(n: usize, x: &[T], y: &mut [T]) {
    for (x, y) in x.chunks(n).zip(y.chunks_mut(n)) {
        let m = x.iter().copied().fold(T::neg_infinity(), T::max);
        let mut s = T::zero();
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x - m).exp();
            s += *y;
        }
        for y in y {
            *y = *y / s;
        }
    }
}
pub(crate) fn softmax_gradient<T: Scalar>(n: usize, y: &[T], dy: &[T], dx: &mut [T]) {
    for ((y, dy), dx) in y.chunks(n).zip(dy.chunks(n)).zip(dx.chunks_mut(n)) {
        let s: T = y.iter().zip(dy).map(|(&a, &b)| a * b).sum();
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = y * (dy - s);
        }
    }
}
