//! Reports as pictures: bars for comparisons, lines for growth.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;

use crate::report::{PanelResult, Report};
use crate::table::time;

type Drawn = Result<(), Box<dyn Error>>;

const WIDTH: u32 = 900;
const BAR: u32 = 26;
const MARGIN: u32 = 110;
const FONT: &str = "sans-serif";
const OURS: RGBColor = RGBColor(31, 119, 180);
const THEIRS: RGBColor = RGBColor(160, 160, 160);

/// Draws each panel to a file in `directory`.
///
/// # Errors
/// If a file cannot be written, or a picture cannot be drawn.
pub fn all(report: &Report, directory: &Path) -> Drawn {
    fs::create_dir_all(directory)?;
    for panel in &report.panels {
        let file = directory.join(file_name(&panel.name));
        if panel.growth.is_some() {
            lines(panel, &file)?;
        } else {
            bars(panel, &file)?;
        }
    }
    Ok(())
}

/// The panel's name as a file name for every file system.
fn file_name(panel: &str) -> String {
    let words: String =
        panel.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { ' ' }).collect();
    format!("{}.svg", words.split_whitespace().collect::<Vec<_>>().join("-"))
}

/// One bar per row on a logarithmic scale, with the quartiles.
fn bars(panel: &PanelResult, file: &Path) -> Drawn {
    let rows = &panel.rows;
    let area = SVGBackend::new(file, (WIDTH, MARGIN + BAR * rows.len() as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let (lowest, highest) = bounds(panel);
    let mut chart = ChartBuilder::on(&area)
        .caption(&panel.name, (FONT, 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(380)
        .build_cartesian_2d(
            (lowest / 2.0..highest * 4.0).log_scale(),
            (0..rows.len()).into_segmented(),
        )?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(rows.len() + 1)
        .y_label_formatter(&|at| match at {
            SegmentValue::CenterOf(at) if *at < rows.len() => {
                rows[rows.len() - 1 - at].name.clone()
            }
            _ => String::new(),
        })
        .x_label_formatter(&|ns| time(*ns))
        .x_desc("time per event (median, quartiles)")
        .label_style((FONT, 13))
        .draw()?;
    for (at, row) in rows.iter().rev().enumerate() {
        let colour = if row.ours { OURS } else { THEIRS };
        let (from, to) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
        let mut bar = Rectangle::new([(lowest / 2.0, from), (row.ns.median, to)], colour.filled());
        bar.set_margin(4, 4, 0, 0);
        chart.draw_series([bar])?;
        let middle = SegmentValue::CenterOf(at);
        chart.draw_series([PathElement::new(
            [(row.ns.low, middle.clone()), (row.ns.high, middle.clone())],
            BLACK.stroke_width(2),
        )])?;
        chart.draw_series([Text::new(
            format!("  {}", time(row.ns.median)),
            (row.ns.high.max(row.ns.median), middle),
            (FONT, 12),
        )])?;
    }
    area.present()?;
    Ok(())
}

/// A line through the medians. Both scales are logarithmic, so a row at 0 is left out.
fn lines(panel: &PanelResult, file: &Path) -> Drawn {
    let Some(growth) = &panel.growth else {
        return Ok(());
    };
    let points: Vec<_> =
        panel.rows.iter().filter_map(|row| Some((row.x.filter(|x| *x >= 1.0)?, row.ns))).collect();
    let area = SVGBackend::new(file, (WIDTH, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let last = points.last().map_or(1.0, |(x, _)| *x);
    let (lowest, highest) = bounds(panel);
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{} (exponent {:.3})", panel.name, growth.log_log_slope), (FONT, 18))
        .margin(10)
        .margin_right(30)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(
            (1.0..last * 1.2).log_scale(),
            (lowest / 3.0..highest * 3.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc(&growth.axis)
        .y_desc("time per event")
        .y_label_formatter(&|ns| time(*ns))
        .label_style((FONT, 13))
        .draw()?;
    chart.draw_series(LineSeries::new(
        points.iter().map(|(x, ns)| (*x, ns.median)),
        OURS.stroke_width(2),
    ))?;
    for (x, ns) in &points {
        chart.draw_series([PathElement::new(
            [(*x, ns.low), (*x, ns.high)],
            BLACK.stroke_width(2),
        )])?;
        chart.draw_series([Circle::new((*x, ns.median), 4, OURS.filled())])?;
    }
    area.present()?;
    Ok(())
}

/// The lowest and the highest time of a panel, above zero for the logarithm.
fn bounds(panel: &PanelResult) -> (f64, f64) {
    let lowest = panel.rows.iter().map(|row| row.ns.low).fold(f64::INFINITY, f64::min);
    let highest = panel.rows.iter().map(|row| row.ns.high).fold(0.0, f64::max);
    (lowest.max(0.01), highest.max(0.1))
}
