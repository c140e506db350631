//! One chart: lines, areas or columns over time or over a logarithmic axis, as SVG.

use super::axis::Axis;
use super::markup::Html;
use super::unit::{Scale, Unit};

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 26.0;
/// Lines with a name in the legend.
const LEGEND_MAX: usize = 10;
/// Colours of the style sheet; more lines use them again.
const COLOURS: usize = 8;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    Line,
    Area,
    Columns,
}

/// One curve.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) draw: Draw,
    pub(super) points: Vec<(f64, f64)>,
}

/// What is along the bottom.
#[derive(Clone, Copy)]
pub(super) enum Along {
    /// Seconds up to here; columns are so wide.
    Time { until_s: f64, step_s: f64 },
    /// Milliseconds, logarithmic.
    LogMs,
}

/// A chart.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) note: String,
    pub(super) unit: Unit,
    pub(super) along: Along,
    pub(super) series: Vec<Series>,
    /// What is said if all values are zero.
    pub(super) quiet: &'static str,
    /// An objective.
    pub(super) limit: Option<f64>,
    /// Places along the bottom that have a name.
    pub(super) marks: Vec<(f64, &'static str)>,
}

struct Frame {
    x: Axis,
    x_scale: Scale,
    y: Axis,
    y_scale: Scale,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value / self.x_scale.size) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value / self.y_scale.size) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Plot<'_> {
    /// The chart with its title and legend.
    pub(super) fn figure(&self) -> Html {
        let mut out = Html::default();
        out.raw("<figure>\n<figcaption><h3>")
            .text(self.title)
            .raw("</h3>");
        out.raw("<p>").text(&self.note).raw("</p></figcaption>\n");
        self.legend(&mut out);
        out.raw("<svg viewBox=\"0 0 520 240\" role=\"img\" aria-label=\"");
        out.text(self.title).raw("\">\n");
        let frame = self.frame();
        self.grid(&frame, &mut out);
        for (index, series) in self.series.iter().enumerate() {
            out.raw("<g class=\"c").number(colour(index)).raw("\">");
            self.draw(series, &frame, &mut out);
            out.raw("</g>\n");
        }
        self.marks(&frame, &mut out);
        self.remark(&mut out);
        out.raw("</svg>\n</figure>\n");
        out
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        let points = self.series.iter().flat_map(|series| &series.points);
        points
            .map(|point| point.1)
            .filter(|value| value.is_finite())
    }

    fn frame(&self) -> Frame {
        let largest = self.values().fold(0.0, f64::max);
        // A limit far above all values would press them flat.
        let limit = self.limit.filter(|limit| *limit <= largest * 4.0);
        let max = largest.max(limit.unwrap_or(0.0) * 1.05);
        let max = if max > 0.0 { max } else { self.unit.floor() };
        let y_scale = self.unit.scale(max);
        let whole = self.unit == Unit::Count && max / y_scale.size < 4.0;
        let steps = if whole {
            (max / y_scale.size).ceil()
        } else {
            4.0
        };
        let (x, x_scale) = match self.along {
            Along::Time { until_s, .. } => {
                let scale = Unit::Seconds.scale(until_s);
                (Axis::up_to(until_s / scale.size, 6.0), scale)
            }
            Along::LogMs => {
                let points = self.series.iter().flat_map(|series| &series.points);
                let times = points.map(|point| point.0);
                let range = times.fold((f64::MAX, 0.0), |(min, max), time| {
                    (f64::min(min, time), f64::max(max, time))
                });
                (
                    Axis::log(range.0, range.1),
                    Scale {
                        size: 1.0,
                        name: "ms",
                    },
                )
            }
        };
        Frame {
            x,
            x_scale,
            y: Axis::linear(max / y_scale.size, steps),
            y_scale,
        }
    }

    fn legend(&self, out: &mut Html) {
        out.raw("<ul class=\"legend\">");
        if self.series.len() > 1 {
            let shown = self.series.iter().take(LEGEND_MAX).enumerate();
            for (index, series) in shown {
                out.raw("<li class=\"c").number(colour(index)).raw("\">");
                out.text(&series.name).raw("</li>");
            }
            let more = self.series.len().saturating_sub(LEGEND_MAX);
            if more > 0 {
                out.raw("<li>")
                    .text(&format!("and {more} more"))
                    .raw("</li>");
            }
        }
        out.raw("</ul>\n");
    }

    fn grid(&self, frame: &Frame, out: &mut Html) {
        out.raw("<g class=\"grid\">");
        for (value, label) in &frame.y.ticks {
            let y = frame.y(value * frame.y_scale.size);
            out.raw("<line x1=\"")
                .number(LEFT)
                .raw("\" x2=\"")
                .number(WIDTH - RIGHT);
            out.raw("\" y1=\"")
                .number(y)
                .raw("\" y2=\"")
                .number(y)
                .raw("\"/>");
            out.raw("<text class=\"y\" x=\"")
                .number(LEFT - 7.0)
                .raw("\" y=\"")
                .number(y + 4.0);
            out.raw("\">").text(label).raw("</text>");
        }
        out.raw("<text class=\"unit\" x=\"")
            .number(LEFT - 7.0)
            .raw("\" y=\"12\">");
        out.text(frame.y_scale.name).raw("</text>");
        let last = frame.x.ticks.len().saturating_sub(1);
        for (index, (value, label)) in frame.x.ticks.iter().enumerate() {
            let x = frame.x(value * frame.x_scale.size);
            out.raw("<text class=\"x\" x=\"")
                .number(x)
                .raw("\" y=\"")
                .number(HEIGHT - 8.0);
            out.raw("\">").text(label);
            if index == last {
                out.raw(" ").text(frame.x_scale.name);
            }
            out.raw("</text>");
        }
        out.raw("</g>\n");
    }

    fn draw(&self, series: &Series, frame: &Frame, out: &mut Html) {
        let points = series.points.iter();
        let points: Vec<(f64, f64)> = points
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|(x, y)| (frame.x(*x), frame.y(*y)))
            .collect();
        match series.draw {
            Draw::Line => line(&points, out),
            Draw::Area => {
                area(&points, out);
                line(&points, out);
            }
            Draw::Columns => self.columns(&points, frame, out),
        }
    }

    fn columns(&self, points: &[(f64, f64)], frame: &Frame, out: &mut Html) {
        let step_s = match self.along {
            Along::Time { step_s, .. } => step_s,
            Along::LogMs => 0.0,
        };
        let width = ((frame.x(step_s) - frame.x(0.0)) * 0.75).max(1.5);
        let base = frame.y(0.0);
        for (x, y) in points.iter().filter(|(_, y)| *y < base) {
            out.raw("<rect x=\"").number(*x).raw("\" y=\"").number(*y);
            out.raw("\" width=\"")
                .number(width)
                .raw("\" height=\"")
                .number(base - y);
            out.raw("\" rx=\"1\"/>");
        }
    }

    /// Objectives across, names upright.
    fn marks(&self, frame: &Frame, out: &mut Html) {
        let limit = self
            .limit
            .filter(|limit| *limit / frame.y_scale.size <= frame.y.max);
        if let Some(limit) = limit {
            let y = frame.y(limit);
            out.raw("<line class=\"limit\" x1=\"")
                .number(LEFT)
                .raw("\" x2=\"");
            out.number(WIDTH - RIGHT)
                .raw("\" y1=\"")
                .number(y)
                .raw("\" y2=\"")
                .number(y);
            out.raw("\"/><text class=\"limit\" x=\"")
                .number(WIDTH - RIGHT - 2.0);
            out.raw("\" y=\"").number(y - 5.0).raw("\">limit ");
            out.text(&self.unit.words(limit)).raw("</text>\n");
        }
        let mut before = f64::MIN;
        let mut lift = 0.0;
        for (value, name) in &self.marks {
            let x = frame.x(*value);
            // Names that would lie on each other go up and down.
            lift = if x - before < 34.0 { lift + 14.0 } else { 0.0 };
            before = x;
            out.raw("<line class=\"mark\" x1=\"")
                .number(x)
                .raw("\" x2=\"")
                .number(x);
            out.raw("\" y1=\"")
                .number(TOP)
                .raw("\" y2=\"")
                .number(HEIGHT - BOTTOM);
            out.raw("\"/><text class=\"mark\" x=\"")
                .number(x + 4.0)
                .raw("\" y=\"");
            out.number(HEIGHT - BOTTOM - 8.0 - lift)
                .raw("\">")
                .raw(name)
                .raw("</text>\n");
        }
    }

    /// What is said where there is nothing to see.
    fn remark(&self, out: &mut Html) {
        let mut values = self.values().peekable();
        let remark = if values.peek().is_none() {
            "not measured"
        } else if values.all(|value| value == 0.0) {
            self.quiet
        } else {
            return;
        };
        out.raw("<text class=\"remark\" x=\"")
            .number((LEFT + WIDTH - RIGHT) / 2.0);
        out.raw("\" y=\"").number((TOP + HEIGHT - BOTTOM) / 2.0);
        out.raw("\">").raw(remark).raw("</text>\n");
    }
}

fn colour(index: usize) -> f64 {
    f64::from(u32::try_from(index % COLOURS).unwrap_or(0))
}

fn line(points: &[(f64, f64)], out: &mut Html) {
    if let [(x, y)] = points {
        out.raw("<circle r=\"2.5\" cx=\"")
            .number(*x)
            .raw("\" cy=\"")
            .number(*y)
            .raw("\"/>");
        return;
    }
    out.raw("<path class=\"line\" d=\"");
    path(points, out);
    out.raw("\"/>");
}

fn area(points: &[(f64, f64)], out: &mut Html) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return;
    };
    out.raw("<path class=\"area\" d=\"");
    path(points, out);
    out.raw("L").number(last.0).raw(" ").number(HEIGHT - BOTTOM);
    out.raw("L")
        .number(first.0)
        .raw(" ")
        .number(HEIGHT - BOTTOM)
        .raw("Z\"/>");
}

fn path(points: &[(f64, f64)], out: &mut Html) {
    for (index, (x, y)) in points.iter().enumerate() {
        out.raw(if index == 0 { "M" } else { "L" })
            .number(*x)
            .raw(" ")
            .number(*y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> String {
        let plot = Plot {
            title: "Loss",
            note: String::new(),
            unit: Unit::Share,
            along: Along::Time {
                until_s: 10.0,
                step_s: 1.0,
            },
            series: vec![Series {
                name: "loss".to_owned(),
                draw: Draw::Area,
                points,
            }],
            quiet: "no packet was lost",
            limit: Some(0.02),
            marks: Vec::new(),
        };
        plot.figure().finish()
    }

    #[test]
    fn a_curve_goes_from_corner_to_corner() {
        let svg = plot(vec![(0.0, 0.0), (10.0, 0.04)]);
        assert!(svg.contains("d=\"M46 214L508 24\""), "{svg}");
        assert!(svg.contains("limit 2 %"), "{svg}");
        assert!(!svg.contains("not measured"));
    }

    #[test]
    fn nothing_and_zero_are_told_apart() {
        assert!(plot(Vec::new()).contains("not measured"));
        assert!(plot(vec![(0.0, 0.0), (1.0, 0.0)]).contains("no packet was lost"));
        assert!(plot(vec![(f64::NAN, f64::INFINITY)]).contains("not measured"));
    }
}
