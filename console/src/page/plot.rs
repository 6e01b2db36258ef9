//! Plots as inline SVG. Places are percentages, so that text keeps its size on a phone.

use std::fmt::Write;

use super::Html;

/// How something is coloured: one of these words is its class in the style sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// What is looked at.
    New,
    /// What it is compared with.
    Old,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// To be noticed.
    Warn,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
            Self::Good => "ok",
            Self::Bad => "no",
            Self::Warn => "maybe",
        }
    }
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// How long it is, in the unit of all bars beside it.
    pub value: f64,
    /// The value as a person reads it.
    pub shown: String,
    /// Its colour.
    pub tone: Tone,
}

/// Bars below each other, on one scale from 0.
pub fn bars(bars: &[Bar]) -> Html {
    let longest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let mut svg = open(bars.len() * 34 + 2);
    for (row, bar) in bars.iter().enumerate() {
        let (y, width) = (row * 34, percent(bar.value, longest));
        _ = write!(
            svg,
            "<text x=\"0\" y=\"{}\">{}</text><text x=\"100%\" y=\"{}\" text-anchor=\"end\" class=\"ink\">{}</text>\
             <rect class=\"track\" x=\"0\" y=\"{}\" width=\"100%\" height=\"10\" rx=\"5\"/>\
             <rect class=\"{}\" x=\"0\" y=\"{}\" width=\"{width}%\" height=\"10\" rx=\"5\"/>",
            y + 13,
            Html::text(&bar.label).as_str(),
            y + 13,
            Html::text(&bar.shown).as_str(),
            y + 18,
            bar.tone.class(),
            y + 18,
        );
    }
    close(svg)
}

/// A line through these values, evenly spaced, on a scale from 0.
pub fn sparkline(values: &[f64]) -> Html {
    let highest = values.iter().copied().fold(0.0, f64::max);
    let last = values.len().saturating_sub(1).max(1) as f64;
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let x = percent(at as f64, last);
            format!("{x},{:.1}", 40.0 - percent(*value, highest) * 0.38)
        })
        .collect();
    let line = points.join(" ");
    let mut svg = String::from(
        "<svg viewBox=\"0 0 100 40\" height=\"48\" preserveAspectRatio=\"none\" role=\"img\">",
    );
    _ = write!(
        svg,
        "<polygon class=\"area\" points=\"0,40 {line} 100,40\"/><polyline class=\"stroke\" points=\"{line}\"/>"
    );
    close(svg)
}

/// Something that lasts, on a timeline.
#[derive(Clone, Debug)]
pub struct Span {
    /// What it is.
    pub label: String,
    /// From and to, in milliseconds.
    pub from: u64,
    /// As `from`.
    pub to: u64,
    /// Its colour.
    pub tone: Tone,
}

/// Moments of one kind, on a timeline.
#[derive(Clone, Debug)]
pub struct Marks {
    /// What they are.
    pub label: String,
    /// When, in milliseconds, and how each is coloured.
    pub at: Vec<(u64, Tone)>,
}

/// Spans in one lane, each kind of moment in one below, and a scale.
pub fn timeline(spans: &[Span], marks: &[Marks]) -> Html {
    let ends = spans.iter().map(|span| span.to);
    let moments = marks.iter().flat_map(|kind| kind.at.iter().map(|(at, _)| *at));
    let end = ends.chain(moments).max().unwrap_or(0).max(1);
    let place = |ms: u64| percent(ms as f64, end as f64);
    let bottom = 40 + marks.len() * 38;
    let mut svg = open(bottom + 24);
    let step = step(end);
    for tick in (0..=end / step).map(|tick| tick * step) {
        let x = place(tick);
        let anchor = if x > 92.0 {
            "end"
        } else if x < 4.0 {
            "start"
        } else {
            "middle"
        };
        _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x}%\" x2=\"{x}%\" y1=\"18\" y2=\"{bottom}\"/>\
             <text x=\"{x}%\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            bottom + 16,
            Html::text(seconds(tick)).as_str()
        );
    }
    // The longest is named first: on a phone there is not room for all.
    let mut taken: Vec<(f64, f64)> = Vec::new();
    let mut spans: Vec<_> = spans.iter().collect();
    spans.sort_by_key(|span| std::cmp::Reverse(span.to.saturating_sub(span.from)));
    for span in spans {
        let (x, width) = (place(span.from), place(span.to.saturating_sub(span.from)).max(0.4));
        let label = Html::text(&span.label);
        _ = write!(
            svg,
            "<rect class=\"{}\" x=\"{x}%\" y=\"20\" width=\"{width}%\" height=\"14\" rx=\"3\"><title>{}</title></rect>",
            span.tone.class(),
            label.as_str()
        );
        // There, a letter takes two hundredths of the width.
        let long = span.label.chars().count() as f64 * 2.0;
        let (from, at, anchor) =
            if x + long > 100.0 { (100.0 - long, 100.0, "end") } else { (x, x, "start") };
        if taken.iter().all(|(start, end)| from + long <= *start || from >= *end) {
            taken.push((from, from + long));
            _ = write!(
                svg,
                "<text x=\"{at}%\" y=\"13\" text-anchor=\"{anchor}\">{}</text>",
                label.as_str()
            );
        }
    }
    for (lane, kind) in marks.iter().enumerate() {
        let y = 40 + lane * 38;
        _ = write!(
            svg,
            "<text x=\"0\" y=\"{}\">{}</text>",
            y + 13,
            Html::text(&kind.label).as_str()
        );
        for (at, tone) in &kind.at {
            let x = place(*at);
            _ = write!(
                svg,
                "<circle class=\"{}\" cx=\"{x}%\" cy=\"{}\" r=\"5\"/>",
                tone.class(),
                y + 24
            );
        }
    }
    close(svg)
}

/// What the colours mean.
pub fn legend(entries: &[(Tone, &str)]) -> Html {
    let entry = |(tone, text): &(Tone, &str)| {
        let dot = format!(
            "<svg viewBox=\"0 0 10 10\"><circle class=\"{}\" cx=\"5\" cy=\"5\" r=\"5\"/></svg>",
            tone.class()
        );
        Html::tag("li", "", Html::raw(dot).and(Html::text(text)))
    };
    Html::tag("ul", "legend", Html::all(entries.iter().map(entry)))
}

/// A round step that gives at most eight of them: 1, 2, 5, 10, 20, …
fn step(end: u64) -> u64 {
    let mut step = 1_u64;
    while end / step > 8 {
        let two = step.to_string().starts_with('2');
        step = if two { step / 2 * 5 } else { step.saturating_mul(2) };
    }
    step
}

/// Milliseconds as a person reads them.
pub fn seconds(ms: u64) -> String {
    match ms {
        0 => "0".to_owned(),
        1..1000 => format!("{ms} ms"),
        _ => {
            let text = format!("{:.2}", ms as f64 / 1000.0);
            format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// Bytes as a person reads them.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut name = "B";
    for unit in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = unit;
    }
    if name == "B" { format!("{bytes} B") } else { format!("{value:.1} {name}") }
}

fn percent(value: f64, whole: f64) -> f64 {
    let share = if whole > 0.0 && value.is_finite() { value / whole * 100.0 } else { 0.0 };
    (share.clamp(0.0, 100.0) * 100.0).round() / 100.0
}

fn open(height: usize) -> String {
    format!("<svg height=\"{height}\" role=\"img\">")
}

fn close(mut svg: String) -> Html {
    svg.push_str("</svg>");
    Html::raw(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_has_round_steps_and_few_of_them() {
        for (end, wanted) in [(1, 1), (8, 1), (9, 2), (18, 5), (10_000, 2000), (30_700, 5000)] {
            assert_eq!(step(end), wanted, "{end}");
        }
        assert!(step(u64::MAX) > 1 << 60);
    }

    #[test]
    fn figures_are_read_by_people() {
        assert_eq!([0, 1023, 1024, 5 << 30].map(bytes), ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]);
        assert_eq!([0, 999, 10_004, 2345].map(seconds), ["0", "999 ms", "10 s", "2.35 s"]);
    }

    #[test]
    fn plots_stay_in_their_frame_whatever_the_values() {
        let bar =
            |value| Bar { label: "<x>".to_owned(), value, shown: String::new(), tone: Tone::New };
        let plot = bars(&[bar(f64::NAN), bar(f64::INFINITY), bar(-1.0), bar(3.0)]);
        assert!(plot.as_str().contains("&lt;x&gt;") && !plot.as_str().contains("NaN"));
        for values in [&[][..], &[0.0], &[f64::NAN, 1.0, 2.0]] {
            let line = sparkline(values);
            assert!(!line.as_str().contains("NaN") && !line.as_str().contains("inf"), "{line:?}");
        }
        assert!(!timeline(&[], &[]).as_str().contains("NaN"));
    }
}
