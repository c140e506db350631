//! Text that is markup: built of literals, escaped text and numbers, and of nothing else.

/// Markup. What is not a literal of this program is escaped on its way in.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup that is written in this program.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of any origin, for content and for quoted attributes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Control characters have no place in HTML.
                c if c.is_control() => self.0.push(' '),
                c => self.0.push(c),
            }
        }
        self
    }

    /// A coordinate: one decimal is finer than a pixel. Never infinite or not a number.
    pub(super) fn number(&mut self, value: f64) -> &mut Self {
        let value = if value.is_finite() { value } else { 0.0 };
        let text = format!("{value:.1}");
        self.0.push_str(text.strip_suffix(".0").unwrap_or(&text));
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "parts are made to be added")]
    pub(super) fn add(&mut self, other: Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_numbers_are_short() {
        let mut html = Html::default();
        html.raw("<b title=\"").text("a\"<'>&\u{7}").raw("\">");
        html.number(1.04)
            .raw(" ")
            .number(2.0)
            .raw(" ")
            .number(f64::NAN);
        assert_eq!(
            html.finish(),
            "<b title=\"a&quot;&lt;&#39;&gt;&amp; \">1 2 0"
        );
    }
}
