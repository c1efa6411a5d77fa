//! Line plots of several series over the same horizontal axis, alone or several panels in one picture.

use crate::{
    data::picture,
    error::{Error, Result},
};
use plotters::{
    coord::Shift,
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

/// A plot of measured points with error bars, one of the panels of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// Names of the horizontal and the vertical axis.
    pub labels: [String; 2],
    /// Lines through points (x, y, deviation), x rising; an error bar reaches from y − deviation to y + deviation, and a
    /// deviation of 0 has none.
    pub series: Vec<(String, Vec<[f64; 3]>)>,
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
    let lines = |s: &Series| (s.name.clone(), s.points.iter().map(|&(x, y)| [x, y, 0.0]).collect());
    let panel = Panel {
        title: title.to_owned(),
        labels: labels.map(str::to_owned),
        series: series.iter().map(lines).collect(),
    };
    save(path.as_ref(), [1, 1], &[panel], false)
}

/// Writes a PNG of panels, two beside each other, each of 900 by 540 pixels, with a mark at every point. Points that are not
/// finite are left out.
///
/// ```
/// use foveate::plot::{Panel, panels};
/// # fn main() -> foveate::Result<()> {
/// let points = vec![[28.0, 0.60, 0.05], [56.0, 0.80, 0.02], [84.0, 0.85, 0.02]]; // of three seeds each
/// let labels = ["digit, pixels", "share right"].map(str::to_owned);
/// let panel = Panel { title: "majority".into(), labels, series: vec![("1000 images".into(), points)] };
/// let path = std::env::temp_dir().join("foveate-doc-panels.png");
/// panels(&path, &[panel.clone(), Panel { title: "max".into(), ..panel }])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// No panel; a file that cannot be written.
pub fn panels(path: impl AsRef<Path>, panels: &[Panel]) -> Result<()> {
    if panels.is_empty() {
        return Err(Error::argument("panels", "a picture without panels"));
    }
    let columns = panels.len().min(2);
    save(path.as_ref(), [panels.len().div_ceil(columns), columns], panels, true)
}

/// Draws panels in `rows` by `columns` and saves them.
fn save(path: &Path, [rows, columns]: [usize; 2], panels: &[Panel], marks: bool) -> Result<()> {
    FONT.call_once(|| {
        // The only failure is a font that does not parse, and the one embedded here does.
        let _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
    let size = [540 * rows, 900 * columns];
    let mut pixels = vec![0; size[0] * size[1] * 3];
    let mut drawn = || -> Drawn {
        let area = BitMapBackend::with_buffer(&mut pixels, (size[1] as u32, size[0] as u32));
        let area = area.into_drawing_area();
        area.fill(&WHITE)?;
        for (part, panel) in area.split_evenly((rows, columns)).iter().zip(panels) {
            draw(part, panel, marks)?;
        }
        area.present()?;
        Ok(())
    };
    drawn().map_err(|e| Error::file(path, format!("cannot be drawn: {e}")))?;
    picture::save_rgb(path, size, &pixels)
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(area: &DrawingArea<BitMapBackend, Shift>, panel: &Panel, marks: bool) -> Drawn {
    // What lies beyond this cannot be told from infinity on a picture, and its ranges overflow.
    let drawn = |point: &&[f64; 3]| point.iter().all(|value| value.abs() < 1e100);
    let points = || panel.series.iter().flat_map(|(_, points)| points).filter(drawn);
    let range = |value: fn(&[f64; 3]) -> [f64; 2]| {
        let (low, high) = points()
            .flat_map(value)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        match (low < high, low.is_finite()) {
            (true, _) => low..high,
            (_, true) => low - 0.5..low + 0.5,
            _ => 0.0..1.0,
        }
    };
    let (xs, ys) = (range(|p| [p[0]; 2]), range(|p| [p[1] - p[2], p[1] + p[2]]));
    let [beside, above] = [if marks { (xs.end - xs.start) * 0.03 } else { 0.0 }, (ys.end - ys.start) * 0.05];
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(60)
        .build_cartesian_2d(xs.start - beside..xs.end + beside, ys.start - above..ys.end + above)?;
    let [x_label, y_label] = &panel.labels;
    chart.configure_mesh().x_desc(x_label).y_desc(y_label).light_line_style(WHITE.mix(0.0)).draw()?;
    for (at, (name, points)) in panel.series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let line = points.iter().filter(drawn).map(|&[x, y, _]| (x, y));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        for &[x, y, deviation] in points.iter().filter(drawn).filter(|_| marks) {
            let bar = PathElement::new([(x, y - deviation), (x, y + deviation)], colour.stroke_width(1));
            chart.draw_series([bar])?;
            chart.draw_series([Circle::new((x, y), 4, colour.filled())])?;
        }
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()?;
    Ok(())
}
