//! A comparison as one page for a browser: what differs, from the outside in. It loads nothing and runs nothing.

use countersign_console::page::{Html, Page, bytes, figures, table};

use super::{Comparison, Content, Difference, DifferenceKind, Part};

/// Most members that are shown; the page says how many more there are.
const MAX_SHOWN: usize = 500;

/// The page; `first` and `second` are what the artifacts are called.
pub fn page(comparison: &Comparison, first: &str, second: &str) -> String {
    let count = comparison.differences.len();
    let page = Page::new("Two artifacts compared", &format!("first: {first}, second: {second}"));
    if comparison.equal {
        let said = Html::line("p", "", "The same members with the same contents.");
        return page.banner(true, "Equal", said).finish();
    }
    let causes = causes(comparison);
    let said = match causes.is_empty() {
        true => Html::line("p", "", "No difference looks like a cause that is known here."),
        false => {
            let items = causes.iter().map(|cause| Html::line("li", "", cause));
            Html::line("p", "", "What the differences look like:").and(list(items))
        }
    };
    let shown = comparison.differences.iter().take(MAX_SHOWN);
    let more = count.saturating_sub(MAX_SHOWN);
    let page = page.banner(false, &members(count), said).section(
        "By member",
        table(["Member", "Difference", "#First", "#Second"], shown.clone().map(row)),
    );
    let inside = shown.filter_map(|difference| match &difference.kind {
        DifferenceKind::Content(content) => Some((difference, content)),
        _ => None,
    });
    let page = inside.fold(page, |page, (difference, content)| {
        page.section(&difference.member, contents(content))
    });
    match more {
        0 => page.finish(),
        more => page.foot(&format!("{more} more members differ and are not shown.")).finish(),
    }
}

fn members(count: usize) -> String {
    if count == 1 { "One member differs".to_owned() } else { format!("{count} members differ") }
}

/// Each cure that is hinted at, once.
fn causes(comparison: &Comparison) -> Vec<&'static str> {
    let mut found = Vec::new();
    for difference in &comparison.differences {
        let DifferenceKind::Content(Content { hint: Some(hint), .. }) = &difference.kind else {
            continue;
        };
        if !found.contains(hint) {
            found.push(*hint);
        }
    }
    found
}

fn list(items: impl Iterator<Item = Html>) -> Html {
    Html::tag("ul", "", Html::all(items))
}

fn row(difference: &Difference) -> [Html; 4] {
    let (kind, first, second) = match &difference.kind {
        DifferenceKind::Extra => ("only the second has it", "–".to_owned(), "there".to_owned()),
        DifferenceKind::Missing => ("only the first has it", "there".to_owned(), "–".to_owned()),
        DifferenceKind::Type { first, second } => {
            ("of another kind", first.clone(), second.clone())
        }
        DifferenceKind::Mode { first, second } => ("another mode", first.clone(), second.clone()),
        DifferenceKind::Target { first, second } => {
            ("points elsewhere", first.clone(), second.clone())
        }
        DifferenceKind::Content(Content { lengths, .. }) => {
            ("other contents", bytes(lengths.0), bytes(lengths.1))
        }
    };
    [
        Html::line("code", "", &difference.member),
        Html::text(kind),
        Html::text(first),
        Html::text(second),
    ]
}

fn contents(content: &Content) -> Html {
    let Some(offset) = content.offset else {
        return Html::line("p", "", "Too long, or one too many, to be looked into.");
    };
    let lengths = format!("{} / {}", content.lengths.0, content.lengths.1);
    let mut html = figures([("From byte", offset.to_string()), ("Bytes, first / second", lengths)]);
    html = html.and(sides(&content.first, &content.second));
    if let Some(hint) = content.hint {
        html = html.and(Html::line("p", "warn", format!("It looks like {hint}.")));
    }
    match content.parts.as_slice() {
        [] => html,
        parts => html.and(list(parts.iter().map(part))),
    }
}

/// One part and those in it: a list in a list, as they lie in each other.
fn part(part: &Part) -> Html {
    let at = part.offset.map(|offset| format!(", from byte {offset} on")).unwrap_or_default();
    let mut html = Html::line("strong", "", &part.name).and(Html::text(at));
    if part.parts.is_empty() {
        html = html.and(sides(&part.first, &part.second));
        if let Some(hint) = part.hint {
            html = html.and(Html::line("p", "", hint));
        }
    } else {
        html = html.and(list(part.parts.iter().map(self::part)));
    }
    Html::tag("li", "", html)
}

/// Both sides below each other, so that equal beginnings stand in one column.
fn sides(first: &str, second: &str) -> Html {
    if first == second {
        return Html::default();
    }
    let line = |name: &str, text: &str| format!("{name}{text}\n");
    Html::line("pre", "", line("first   ", first) + &line("second  ", second))
}
