//! A chart of latency against rate, as SVG text.

use plotters::coord::Shift;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 540);
/// One for each kind of operation; dark enough on white, and apart for the colour-blind.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(170, 51, 119),
    RGBColor(102, 102, 102),
];

/// One line of the chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub name: String,
    /// Rate per second and latency in milliseconds, ascending by rate.
    pub points: Vec<(f64, f64)>,
}

/// The chart of `curves`, which come in pairs of one colour: the first thin, the second thick.
pub fn chart(title: &str, curves: &[Curve]) -> Result<String, String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    draw(&area, title, curves).map_err(|error| format!("the chart cannot be drawn: {error}"))?;
    area.present().map_err(|error| format!("the chart cannot be drawn: {error}"))?;
    drop(area);
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw(area: &Area<'_>, title: &str, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let highest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let rate_max = highest(&mut points().map(|(rate, _)| *rate)).max(1.0) * 1.05;
    // Latencies span decades: half a millisecond here and a second behind saturation.
    let latency_max = decade_above(highest(&mut points().map(|(_, latency)| *latency)));
    let latency_min = decade_below(points().map(|(_, latency)| *latency).fold(latency_max, f64::min));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..rate_max, (latency_min..latency_max).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(221, 221, 221))
        .x_desc("offered requests per second")
        .y_desc("latency, ms")
        .x_label_formatter(&|rate| thousands(*rate))
        .y_label_formatter(&|latency| latency.to_string())
        .draw()?;
    for (number, curve) in curves.iter().enumerate() {
        let colour = COLOURS[number / 2 % COLOURS.len()];
        let style = colour.stroke_width(if number % 2 == 0 { 1 } else { 3 });
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), style))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(RGBColor(221, 221, 221))
        .draw()?;
    Ok(())
}

fn decade_above(latency: f64) -> f64 {
    10_f64.powf(latency.max(0.001).log10().ceil()).max(0.01)
}

fn decade_below(latency: f64) -> f64 {
    let below = 10_f64.powf(latency.max(0.001).log10().floor());
    // One point on the edge of a decade still needs an axis.
    below.min(decade_above(latency) / 10.0)
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let first = digits.len() % 3;
    let groups = (0..digits.len().div_ceil(3)).map(|i| {
        let shift = if first == 0 { 0 } else { 3 - first };
        let (from, to) = ((i * 3).saturating_sub(shift), (i + 1) * 3 - shift);
        &digits[from..to]
    });
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves() -> Vec<Curve> {
        let curve = |name: &str, scale: f64| Curve {
            name: name.to_owned(),
            points: vec![(1_000.0, 0.4 * scale), (2_000.0, 0.5 * scale), (4_000.0, 90.0 * scale)],
        };
        vec![curve("get p50", 1.0), curve("get p99", 3.0), curve("put <p50> & more", 2.0), curve("put p99", 5.0)]
    }

    /// Panics unless every element is closed, in order, and text has no bare markup.
    fn assert_well_formed(xml: &str) {
        let (mut open, mut rest) = (Vec::new(), xml);
        while let Some(at) = rest.find('<') {
            let text = &rest[..at];
            assert!(!text.contains('>'), "a bare > in {text:?}");
            for (i, _) in text.match_indices('&') {
                let entity = text[i..].split(';').next().unwrap_or_default();
                assert!(
                    ["&lt", "&gt", "&amp", "&quot", "&apos"].contains(&entity) || entity.starts_with("&#"),
                    "{text:?}"
                );
            }
            let end = at + rest[at..].find('>').expect("a tag ends");
            let tag = &rest[at + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.trim()), "closed out of order");
            } else if !tag.starts_with(['?', '!']) && !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().expect("a tag has a name"));
            }
            assert!(tag.matches('"').count() % 2 == 0, "an attribute does not end: {tag}");
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "left open: {open:?}, behind the end: {rest:?}");
    }

    #[test]
    fn the_chart_is_well_formed_and_shows_every_curve_and_point() {
        let svg = chart("put < & get", &curves()).unwrap();
        assert_well_formed(&svg);
        assert!(svg.contains("<svg") && svg.contains("offered requests per second"));
        for name in ["get p50", "get p99", "put p99"] {
            assert!(svg.contains(name), "{name}");
        }
        assert_eq!(svg.matches("<circle").count(), 12);
        // Four curves, and one line each in the legend.
        assert!(svg.matches("<polyline").count() >= 8, "{svg}");
    }

    #[test]
    fn a_single_point_and_no_point_can_be_drawn() {
        let one = [Curve { name: "put p50".into(), points: vec![(10.0, 1.0)] }];
        assert_well_formed(&chart("one", &one).unwrap());
        assert_well_formed(&chart("none", &[]).unwrap());
    }

    #[test]
    fn large_numbers_are_grouped() {
        for (number, text) in [(0.0, "0"), (999.0, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
