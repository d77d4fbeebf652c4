//! A layer of one's own, with a parameter that is learned: PReLU, y = x where x > 0, and y = a·x elsewhere.
//!
//!     cargo run --example custom_layer

use plywood::layers::{Backward, Forward, Op, ParameterSpec, Plan, single_input};
use plywood::ndarray::{Array1, Array2, Axis, Zip};
use plywood::prelude::*;
use plywood::testing::check_layer;

/// Slopes a `[features]`, all 0.25 at first (He et al., *Delving deep into rectifiers*, 2015).
#[derive(Debug, Clone)]
struct PReLU;

impl<T: Scalar> Layer<T> for PReLU {
    fn kind(&self) -> &'static str {
        "prelu"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let &[features] = single_input("prelu", inputs)? else {
            return Err(Error::layer("prelu", "wants samples of shape [features]; put Flatten before it"));
        };
        let slope = ParameterSpec::new("slope", [features], Initializer::Constant { value: 0.25 });
        Ok(Plan::new([features], self.clone()).parameter(slope))
    }
}

impl<T: Scalar> Op<T> for PReLU {
    fn forward(&self, mut pass: Forward<'_, T>) {
        let [slope] = pass.parameters.split();
        Zip::from(pass.y.view_mut())
            .and(pass.x.view())
            .and_broadcast(&slope)
            .for_each(|y, &x, &a| *y = x * derivative(x, a));
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let ([slope], [mut dslope]) = (pass.parameters.split(), pass.gradients.split());
        let (x, dy) = (pass.x.view(), pass.dy.view_mut());
        dslope.assign(&(&dy * &x.mapv(|x| x.min(T::zero()))).sum_axis(Axis(0)));
        if let Some(mut dx) = pass.dx.view_mut() {
            dx.assign(&dy);
            Zip::from(&mut dx).and(&x).and_broadcast(&slope).for_each(|dx, &x, &a| *dx *= derivative(x, a));
        }
    }
}

fn derivative<T: Scalar>(x: T, slope: T) -> T {
    if x > T::zero() { T::one() } else { slope }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}\n", check_layer(PReLU, [5])?);
    // points of a square: inside a circle or not
    let points = Array2::from_shape_fn((2000, 2), |(i, j)| ((i * [7, 13][j]) % [401, 397][j]) as f32 / 200.0 - 1.0);
    let inside: Array1<usize> = points.outer_iter().map(|p| usize::from(p.dot(&p) < 0.6)).collect();
    let data = Dataset::new(points, inside)?;

    let model =
        Sequential::input([2]).add(Dense::new(16)).add(PReLU).add(Dense::new(2)).add(Softmax::new()).build(1)?;
    let mut trainer = model.compile(RMSprop::new(0.01), CategoricalCrossentropy::new()).metric(Accuracy::new());
    trainer.fit(&data, &Fit::epochs(20).validation_split(0.2).verbosity(Verbosity::Lines))?;
    println!("learned slopes {:.2}", trainer.model().parameter("prelu/slope")?);
    Ok(())
}
