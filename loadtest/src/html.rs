//! The report as one page: no scripts, nothing loaded from anywhere, dark or light as the reader's
//! system is, readable on a phone.
//!
//! Owns: the page. Text from outside (names, errors, URLs) reaches it only through
//! [`markup::Html::text`], which escapes; and the page's own policy forbids scripts and loads.

mod axis;
mod bars;
mod charts;
mod markup;
mod plot;
mod tables;
mod unit;

use crate::report::Report;
use markup::Html;
use tables::date;

const STYLE: &str = include_str!("html/style.css");
const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <meta name=\"color-scheme\" content=\"light dark\">\n\
    <meta http-equiv=\"Content-Security-Policy\" \
    content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>";

/// The text of `report.html`.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut page = Html::default();
    page.raw(HEAD);
    page.text(&title(report))
        .raw("</title>\n<style>\n")
        .raw(STYLE);
    page.raw("</style>\n</head>\n<body>\n<main>\n");
    header(report, &mut page);
    page.add(tables::banner(report));
    page.add(tables::tiles(report));
    if !report.slo.is_empty() {
        section("Objectives", tables::objectives(report), &mut page);
    }
    section("Joining", charts::joining(report), &mut page);
    section("Media", charts::media(report), &mut page);
    if !report.witnesses.is_empty() {
        section(
            "Other implementations",
            tables::witnesses(report),
            &mut page,
        );
    }
    section("Server", charts::server(report), &mut page);
    section("Load generator", charts::generator(report), &mut page);
    section("Errors", tables::errors(report), &mut page);
    if !report.worst_streams.is_empty() {
        section("Streams with trouble", tables::streams(report), &mut page);
    }
    section("The run", tables::run(report), &mut page);
    page.raw("</main>\n</body>\n</html>\n");
    page.finish()
}

fn title(report: &Report) -> String {
    let run = &report.run;
    format!(
        "{}: {} × {}",
        run.profile,
        amount(run.rooms, "room"),
        run.people
    )
}

fn amount(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn header(report: &Report, page: &mut Html) {
    let run = &report.run;
    page.raw("<header>\n<p class=\"kicker\">Load test</p>\n<h1>");
    page.text(&run.profile).raw("</h1>\n<p class=\"facts\">");
    let facts = [
        amount(run.rooms, "room"),
        format!("{} in each", amount(run.people, "participant")),
        format!("{:.0} s", run.duration_s),
        run.url.clone(),
        date(run.started_unix_s),
    ];
    for fact in facts.iter().filter(|fact| !fact.is_empty()) {
        page.raw("<span>").text(fact).raw("</span> ");
    }
    page.raw("</p>\n</header>\n");
}

fn section(title: &'static str, body: Html, page: &mut Html) {
    page.raw("<section>\n<h2>").raw(title).raw("</h2>\n");
    page.add(body).raw("</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::ErrorReport;
    use crate::media::Codec;
    use crate::receive::StreamStats;
    use crate::scrape::{ServerReport, ShardReport};
    use crate::timeline::Timeline;

    const HOSTILE: &str =
        "\"><script>alert('x')</script><img src=http://evil.example/a onerror=x>&";

    fn hostile() -> Report {
        let mut report = Report::default();
        let text = || HOSTILE.to_owned();
        report.run.profile = text();
        report.run.url = text();
        report.run.tool = text();
        report.run.settings = vec![(text(), text())];
        report.run.machine = vec![(text(), text())];
        report.errors = vec![ErrorReport {
            kind: text(),
            count: 1,
            first_at_s: 0.0,
            example: text(),
        }];
        let stream = StreamStats::new(Codec::Vp8, text());
        report.worst_streams = vec![stream.finish(&mut Timeline::default(), 0)];
        report.servers = vec![ServerReport {
            name: text(),
            cpu: vec![(0.0, 1.0), (1.0, 2.0)],
            memory_bytes: vec![(0.0, 1.0), (1.0, 2.0)],
            failures: 1,
            last_failure: Some(text()),
            ..ServerReport::default()
        }];
        report.shards = vec![ShardReport {
            name: text(),
            rooms: vec![(0.0, 1.0), (1.0, 2.0)],
            ..ShardReport::default()
        }];
        report
    }

    #[test]
    fn nothing_that_comes_from_outside_is_markup() {
        let page = render(&hostile());
        assert!(
            !page.contains("<script") && !page.contains("<img"),
            "{page}"
        );
        assert!(!page.contains(HOSTILE));
        let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;";
        assert!(page.matches(escaped).count() >= 9, "{page}");
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let page = render(&Report::default());
        for word in ["http://", "https://", "url(", "@import", "src=", "href="] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn a_run_in_which_nothing_was_measured_still_makes_a_page() {
        let page = render(&Report::default());
        for title in [
            "Joining",
            "Media",
            "Server",
            "Load generator",
            "Errors",
            "The run",
        ] {
            assert!(page.contains(title), "{title}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
