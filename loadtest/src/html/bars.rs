//! Join times by phase: one bar each, in three tones up to p50, p95 and p99.

use super::axis::Axis;
use super::markup::Html;
use super::unit::Unit;
use crate::distribution::Quantiles;

const WIDTH: f64 = 520.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 138.0;
const TOP: f64 = 22.0;
const ROW: f64 = 29.0;
const BAR: f64 = 15.0;
const BOTTOM: f64 = 24.0;

/// A figure of these rows.
pub(super) fn figure(title: &str, note: &str, rows: &[(&str, Quantiles)]) -> Html {
    let mut out = Html::default();
    out.raw("<figure>\n<figcaption><h3>")
        .text(title)
        .raw("</h3><p>")
        .text(note);
    out.raw("</p></figcaption>\n<ul class=\"legend\"><li class=\"p50\">p50</li>");
    out.raw("<li class=\"p95\">p95</li><li class=\"p99\">p99</li></ul>\n");
    let bottom = TOP + ROW * f64::from(u32::try_from(rows.len().max(2)).unwrap_or(0));
    out.raw("<svg viewBox=\"0 0 520 ")
        .number(bottom + BOTTOM)
        .raw("\" role=\"img\" aria-label=\"");
    out.text(title).raw("\">\n");
    if rows.is_empty() {
        out.raw("<text class=\"remark\" x=\"260\" y=\"50\">not measured</text>\n");
    } else {
        bars(rows, bottom, &mut out);
    }
    out.raw("</svg>\n</figure>\n");
    out
}

fn bars(rows: &[(&str, Quantiles)], bottom: f64, out: &mut Html) {
    let max = rows.iter().map(|row| row.1.p99_ms).fold(0.0, f64::max);
    let scale = Unit::Ms.scale(max);
    let axis = Axis::linear(max / scale.size, 4.0);
    let x = |value: f64| LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT);
    out.raw("<g class=\"grid\">");
    let last = axis.ticks.len().saturating_sub(1);
    for (index, (value, label)) in axis.ticks.iter().enumerate() {
        let at = x(*value);
        out.raw("<line y1=\"")
            .number(TOP - 6.0)
            .raw("\" y2=\"")
            .number(bottom);
        out.raw("\" x1=\"")
            .number(at)
            .raw("\" x2=\"")
            .number(at)
            .raw("\"/>");
        out.raw("<text class=\"x\" x=\"")
            .number(at)
            .raw("\" y=\"")
            .number(bottom + 18.0);
        out.raw("\">").text(label);
        if index == last {
            out.raw(" ").text(scale.name);
        }
        out.raw("</text>");
    }
    out.raw("</g>\n<text class=\"values\" x=\"508\" y=\"10\">p50 · p95 · p99</text>\n");
    for (index, (name, times)) in rows.iter().enumerate() {
        let y = TOP + ROW * f64::from(u32::try_from(index).unwrap_or(0));
        out.raw("<text class=\"row\" x=\"")
            .number(LEFT - 9.0)
            .raw("\" y=\"")
            .number(y + 12.0);
        out.raw("\">").text(name).raw("</text>");
        let tones = [
            ("<rect class=\"p99\" x=\"", times.p99_ms),
            ("<rect class=\"p95\" x=\"", times.p95_ms),
            ("<rect class=\"p50\" x=\"", times.p50_ms),
        ];
        for (markup, value) in tones {
            let width = (x(value / scale.size) - LEFT).max(1.0);
            out.raw(markup)
                .number(LEFT)
                .raw("\" y=\"")
                .number(y)
                .raw("\" width=\"");
            out.number(width)
                .raw("\" height=\"")
                .number(BAR)
                .raw("\" rx=\"2\"/>");
        }
        let values = [times.p50_ms, times.p95_ms, times.p99_ms];
        out.raw("<text class=\"values\" x=\"508\" y=\"")
            .number(y + 12.0)
            .raw("\">");
        out.text(&words(values)).raw("</text>\n");
    }
}

/// Three values with one unit.
fn words(values: [f64; 3]) -> String {
    let scale = Unit::Ms.scale(values.into_iter().fold(0.0, f64::max));
    let digits = |value: &f64| {
        let value = value / scale.size;
        let decimals = usize::from(value < 9.95);
        format!("{value:.decimals$}")
    };
    let texts: Vec<String> = values.iter().map(digits).collect();
    format!("{} {}", texts.join(" · "), scale.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_three_tones_and_its_values() {
        let times = Quantiles {
            p50_ms: 4.0,
            p95_ms: 12.0,
            p99_ms: 80.0,
            ..Quantiles::default()
        };
        let svg = figure("Joins", "", &[("<HTTP>", times)]).finish();
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(
            svg.contains("&lt;HTTP&gt;") && svg.contains("4.0 · 12 · 80 ms"),
            "{svg}"
        );
        assert!(figure("Joins", "", &[]).finish().contains("not measured"));
    }
}
