//! Markup that can only be made of escaped text.

use std::fmt::Write;

use crate::printable;

/// A piece of a page. Text that others chose gets in through [`Html::text`] alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Text, with everything that means something in HTML or to a terminal written out.
    pub fn text(text: impl AsRef<str>) -> Self {
        let mut out = String::with_capacity(text.as_ref().len() + 16);
        for char in printable(text.as_ref()).chars() {
            match char {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                char => out.push(char),
            }
        }
        Self(out)
    }

    /// An element with a class (none if empty) and what is in it. Names are the program's own words.
    pub fn tag(name: &'static str, class: &'static str, inner: Self) -> Self {
        let mut out = Self::open(name, class);
        out.0.push_str(&inner.0);
        // Writing to a string does not fail.
        _ = write!(out.0, "</{name}>");
        out
    }

    /// An element whose content is text.
    pub fn line(name: &'static str, class: &'static str, text: impl AsRef<str>) -> Self {
        Self::tag(name, class, Self::text(text))
    }

    /// Pieces in a row.
    pub fn all(pieces: impl IntoIterator<Item = Self>) -> Self {
        Self(pieces.into_iter().map(|piece| piece.0).collect())
    }

    /// This piece and another one.
    #[must_use]
    pub fn and(mut self, next: Self) -> Self {
        self.0.push_str(&next.0);
        self
    }

    /// Markup of this module's own.
    pub(super) fn raw(markup: String) -> Self {
        Self(markup)
    }

    /// The markup.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn open(name: &str, class: &str) -> Self {
        Self(if class.is_empty() {
            format!("<{name}>")
        } else {
            format!("<{name} class=\"{class}\">")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Html;

    #[test]
    fn text_of_others_cannot_become_markup() {
        let text = "<script>alert('x')</script> & \"y\" \u{202e}\u{1b}[2J\0";
        let html = Html::line("p", "", text);
        assert_eq!(
            html.as_str(),
            "<p>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot; \\u{202e}\\u{1b}[2J\\u{0}</p>"
        );
    }
}
