//! Lines through points.

use crate::report::{Growth, RowResult};
use crate::rows::Axis;

/// The slope of the line through the points, by least squares. NaN if there is no line.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let number = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / number;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / number;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance
}

/// How the medians of rows grow along their axis.
#[must_use]
pub fn growth(axis: Axis, rows: &[RowResult]) -> Growth {
    let points: Vec<(f64, f64)> =
        rows.iter().filter_map(|row| row.x.map(|x| (x, row.ns.median))).collect();
    let logarithms: Vec<(f64, f64)> =
        points.iter().filter(|(x, _)| *x >= axis.from).map(|(x, y)| (x.ln(), y.ln())).collect();
    Growth {
        axis: axis.label.to_owned(),
        log_log_slope: slope(&logarithms),
        linear_slope: slope(&points),
        from: axis.from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_points_on_a_line_is_the_slope_of_the_line() {
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 8.0), (3.0, 14.0)]), 3.0);
        assert!(slope(&[(1.0, 1.0)]).is_nan());
    }
}
