//! Self-contained HTML pages: one file that loads nothing, runs nothing, and reads well in light, dark, small and on
//! paper.
//!
//! ```
//! use countersign_console::page::{Html, Page};
//!
//! let page = Page::new("A report", "of yesterday").section("Found", Html::line("p", "", "<nothing>"));
//! assert!(page.finish().contains("<p>&lt;nothing&gt;</p>"));
//! ```

mod html;
mod plot;

pub use html::Html;
pub use plot::{Bar, Marks, Span, Tone, bars, bytes, legend, seconds, sparkline, timeline};

/// The only style there is. A page may contain no other: its policy names this one by digest.
const STYLE: &str = include_str!("style.css");

/// Base64 of the SHA-256 of [`STYLE`].
const STYLE_DIGEST: &str = "ub6pjSMUw5DU3dy0Lgb2nbLRD6rRSQtbSRALoyq7YOg=";

/// A page in the making.
#[derive(Clone, Debug)]
pub struct Page {
    title: Html,
    under: Html,
    body: Html,
    foot: Html,
}

impl Page {
    /// A page with this title, and a line below it.
    pub fn new(title: &str, under: &str) -> Self {
        let (title, under) = (Html::text(title), Html::text(under));
        Self { title, under, body: Html::default(), foot: Html::default() }
    }

    /// Adds the verdict: good news or bad, in a few words, with what there is to say to it.
    #[must_use]
    pub fn banner(mut self, good: bool, words: &str, inner: Html) -> Self {
        let class = if good { "banner good" } else { "banner bad" };
        self.body =
            self.body.and(Html::tag("section", class, Html::line("h2", "", words).and(inner)));
        self
    }

    /// Adds a section.
    #[must_use]
    pub fn section(mut self, heading: &str, inner: Html) -> Self {
        self.body =
            self.body.and(Html::tag("section", "", Html::line("h2", "", heading).and(inner)));
        self
    }

    /// Adds a section if there is something to show.
    #[must_use]
    pub fn maybe(self, heading: &str, inner: Option<Html>) -> Self {
        match inner {
            Some(inner) => self.section(heading, inner),
            None => self,
        }
    }

    /// The last line.
    #[must_use]
    pub fn foot(mut self, text: &str) -> Self {
        self.foot = Html::line("footer", "", text);
        self
    }

    /// The whole document.
    pub fn finish(self) -> String {
        let (title, under) = (self.title.as_str(), self.under.as_str());
        let (body, foot) = (self.body.as_str(), self.foot.as_str());
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'sha256-{STYLE_DIGEST}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <header><h1>{title}</h1><p>{under}</p></header>\n{body}\n{foot}\n</main>\n</body>\n</html>\n"
        )
    }
}

/// Figures with their names, in boxes.
pub fn figures(figures: impl IntoIterator<Item = (&'static str, String)>) -> Html {
    let one = |(name, value): (&'static str, String)| {
        Html::tag("div", "", Html::line("dt", "", name).and(Html::line("dd", "", value)))
    };
    Html::tag("dl", "figures", Html::all(figures.into_iter().map(one)))
}

/// A table. Cells come finished; a header that begins with `#` is of a column of numbers.
pub fn table<const N: usize>(
    headers: [&'static str; N],
    rows: impl IntoIterator<Item = [Html; N]>,
) -> Html {
    let class = |header: &str| if header.starts_with('#') { "num" } else { "" };
    let head =
        headers.map(|header| Html::line("th", class(header), header.trim_start_matches('#')));
    let row = |cells: [Html; N]| {
        let cells = headers.iter().zip(cells);
        Html::tag(
            "tr",
            "",
            Html::all(cells.map(|(header, cell)| Html::tag("td", class(header), cell))),
        )
    };
    let head = Html::tag("thead", "", Html::tag("tr", "", Html::all(head)));
    let body = Html::tag("tbody", "", Html::all(rows.into_iter().map(row)));
    Html::tag("div", "wide", Html::tag("table", "", head.and(body)))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_names_the_style_and_nothing_else_may_be_loaded_or_run() {
        assert_eq!(STANDARD.encode(Sha256::digest(STYLE)), STYLE_DIGEST);
        let hostile = "</style></title><script>1</script><img src=x onerror=1>";
        let cell = Html::text(hostile);
        let page = Page::new(hostile, hostile)
            .banner(false, hostile, Html::text(hostile))
            .section(hostile, table(["A", "#B"], [[cell.clone(), cell]]))
            .maybe("none", None)
            .foot(hostile)
            .finish();
        assert_eq!(page.matches("<style>").count(), 1);
        for word in
            ["<script", "<img", "http://", "https://", "url(", "@import", " style=", "<link"]
        {
            assert!(!page.contains(word), "{word}");
        }
    }
}
