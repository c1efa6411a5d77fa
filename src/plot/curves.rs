//! Line plots of several series over the same horizontal axis.

use crate::{
    data::picture,
    error::{Error, Result},
};
use plotters::{
    prelude::*,
    style::{FontStyle, register_font},
};
use std::{path::Path, sync::Once};

/// A named line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points (x, y), x rising.
    pub points: Vec<(f64, f64)>,
}

static FONT: Once = Once::new();
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(100, 100, 100),
];

/// Writes a PNG of 900 by 540 pixels. `labels` name the horizontal and the vertical axis. Points that are not finite are
/// left out.
///
/// ```
/// use foveate::plot::{Series, curves};
/// # fn main() -> foveate::Result<()> {
/// let loss = Series { name: "loss".into(), points: (1..50).map(|i| (f64::from(i), 1.0 / f64::from(i))).collect() };
/// let path = std::env::temp_dir().join("foveate-doc-curves.png");
/// curves(&path, "training", ["step", "loss"], &[loss])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// A file that cannot be written.
pub fn curves(path: impl AsRef<Path>, title: &str, labels: [&str; 2], series: &[Series]) -> Result<()> {
    FONT.call_once(|| {
        // The only failure is a font that does not parse, and the one embedded here does.
        let _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
    const SIZE: [usize; 2] = [540, 900];
    let path = path.as_ref();
    let mut pixels = vec![0; SIZE[0] * SIZE[1] * 3];
    draw(&mut pixels, SIZE, title, labels, series)
        .map_err(|e| Error::file(path, format!("cannot be drawn: {e}")))?;
    picture::save_rgb(path, SIZE, &pixels)
}

fn draw(
    pixels: &mut [u8],
    [height, width]: [usize; 2],
    title: &str,
    [x_label, y_label]: [&str; 2],
    series: &[Series],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    // What lies beyond this cannot be told from infinity on a picture, and its ranges overflow.
    let drawn = |(x, y): &&(f64, f64)| x.abs() < 1e100 && y.abs() < 1e100;
    let points = || series.iter().flat_map(|s| &s.points).filter(drawn);
    let range = |value: fn(&(f64, f64)) -> f64| {
        let (low, high) = points()
            .map(value)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low < high { low..high } else { 0.0..1.0 }
    };
    let (xs, ys) = (range(|p| p.0), range(|p| p.1));
    let margin = (ys.end - ys.start) * 0.05;
    let area = BitMapBackend::with_buffer(pixels, (width as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(60)
        .build_cartesian_2d(xs, ys.start - margin..ys.end + margin)?;
    chart.configure_mesh().x_desc(x_label).y_desc(y_label).light_line_style(WHITE.mix(0.0)).draw()?;
    for (at, line) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(line.points.iter().filter(drawn).copied(), colour.stroke_width(2)))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()?;
    area.present()?;
    Ok(())
}
