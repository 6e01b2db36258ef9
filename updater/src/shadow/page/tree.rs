//! Names as a tree of directories.

use countersign_console::page::{Html, bytes};

use crate::shadow::{DeedSeen, NameWritten};

/// Directories deeper than this are shown in one line: a payload chose the names.
const DEEPEST: usize = 16;

/// One name, and what of its path is still to be drawn.
#[derive(Clone, Copy)]
struct Left<'a> {
    path: &'a str,
    name: &'a NameWritten,
}

/// A list of names, in order of their paths, as a tree.
pub(super) fn tree(names: &[NameWritten]) -> Html {
    let left: Vec<_> = names.iter().map(|name| Left { path: &name.path, name }).collect();
    Html::tag("div", "tree", level(&left, 0))
}

fn level(names: &[Left<'_>], depth: usize) -> Html {
    let mut items = Vec::new();
    let mut rest = names;
    while let Some(first) = rest.first() {
        let Some((dir, below)) = split(first.path, depth) else {
            items.push(Html::tag("li", "", line(first.path, Some(first.name))));
            rest = rest.get(1..).unwrap_or_default();
            continue;
        };
        let same = |left: &&Left<'_>| split(left.path, depth).is_some_and(|(name, _)| name == dir);
        let count = rest.iter().take_while(same).count();
        let (group, after) = rest.split_at(count);
        // The directory itself, if it was created, changed or deleted.
        let own = below.is_empty().then_some(first.name);
        let inner: Vec<_> = group
            .iter()
            .filter_map(|left| {
                let (_, path) = split(left.path, depth)?;
                (!path.is_empty()).then_some(Left { path, name: left.name })
            })
            .collect();
        let head = line(&format!("{dir}/"), own);
        let inner = if inner.is_empty() { Html::default() } else { level(&inner, depth + 1) };
        items.push(Html::tag("li", "", head.and(inner)));
        rest = after;
    }
    Html::tag("ul", "", Html::all(items))
}

/// The first directory of a path and what is below it; `None` for the name of a file.
fn split(path: &str, depth: usize) -> Option<(&str, &str)> {
    if depth >= DEEPEST { None } else { path.split_once('/') }
}

fn line(shown: &str, name: Option<&NameWritten>) -> Html {
    let (mark, class, word) = match name.map(|name| name.deed) {
        Some(DeedSeen::Created) => ("+", "deed good", "created"),
        Some(DeedSeen::Changed) => ("~", "deed warn", "changed"),
        Some(DeedSeen::Opened) => ("·", "deed dim", "opened"),
        Some(DeedSeen::Deleted) => ("−", "deed bad", "deleted"),
        None => ("", "deed", ""),
    };
    let size = name.filter(|name| name.bytes > 0).map(|name| bytes(name.bytes));
    let said = [Some(word.to_owned()), size].into_iter().flatten();
    let said: Vec<_> = said.filter(|text| !text.is_empty()).collect();
    let inner = Html::line("span", class, mark)
        .and(Html::line("span", "name", shown))
        .and(Html::line("span", "size", said.join(", ")));
    Html::tag("span", "", inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_drawn_once_however_deep_it_lies() {
        let deep = "d/".repeat(500) + "deep";
        let paths = ["a", "b/", "b/c/", "b/c/x", "b/y", &deep, "e", "f//g", "h/i"];
        let name = |path: &&str| NameWritten {
            path: (*path).to_owned(),
            deed: DeedSeen::Created,
            bytes: 0,
        };
        let names: Vec<_> = paths.iter().map(name).collect();
        let page = countersign_console::page::Page::new("", "").section("", tree(&names)).finish();
        assert_eq!(page.matches(">created<").count(), paths.len());
        assert!(page.matches("<ul>").count() < 30, "a browser is not to draw 500 levels");
        for name in [">b/<", ">x<", ">y<", ">e<", ">g<", ">i<", "deep<"] {
            assert_eq!(page.matches(name).count(), 1, "{name}");
        }
    }
}
