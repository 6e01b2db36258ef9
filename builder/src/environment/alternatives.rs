//! Commands that packages offer as one of several (`cc`, `awk`, `which`): chosen by rule, as no script is run.
//!
//! What a package's `postinst` would say to `update-alternatives` is read from its text, where that is plain: words
//! without quotes, and no variables but those that the script sets once, to a plain word. The highest priority wins, the first package by name where two are equal.

use std::collections::BTreeMap;

use super::tree::{Node, Tree, TreeError};

/// An offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    name: String,
    priority: i64,
    /// Where the command is looked for, and what it is; the first of them decides.
    links: Vec<(String, String)>,
}

/// The offers in a script.
pub(super) fn offers(script: &str) -> Vec<Offer> {
    let joined = script.replace("\\\n", " ");
    let words = words(&joined);
    joined.lines().flat_map(|line| offer(&expanded(line, &words))).collect()
}

/// The variables that a script sets once.
fn words(script: &str) -> BTreeMap<&str, &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_./+-".contains(c);
    let mut words = BTreeMap::new();
    let mut twice = Vec::new();
    for (name, word) in script.lines().filter_map(|line| line.trim().split_once('=')) {
        if name.is_empty() || !name.chars().all(is_name) {
            continue;
        }
        if words.insert(name, word).is_some() || !word.chars().all(is_word) {
            twice.push(name);
        }
    }
    words.retain(|name, _| !twice.contains(name));
    words
}

/// A line with the known variables replaced.
fn expanded(line: &str, words: &BTreeMap<&str, &str>) -> String {
    let mut out = String::new();
    let mut left = line;
    while let Some((before, after)) = left.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (name, rest) = braced.unwrap_or_else(|| after.split_at(end.unwrap_or(after.len())));
        match words.get(name) {
            Some(word) => {
                out.push_str(word);
                left = rest;
            }
            None => {
                out.push('$');
                left = after;
            }
        }
    }
    out + left
}

fn offer(line: &str) -> Option<Offer> {
    let line = line.trim();
    let (_, said) = line.split_once("update-alternatives")?;
    if line.starts_with('#') {
        return None;
    }
    // From a comment or a substitution on, nothing is known.
    let plain = |word: &&str| !word.starts_with(['#', ';', '|', '&', '>']) && !word.contains('$');
    let words: Vec<&str> = said.split_whitespace().take_while(plain).collect();
    let at = words.iter().position(|word| *word == "--install")?;
    let [link, name, path, priority] = words.get(at + 1..at + 5)? else { return None };
    let mut links = vec![((*link).to_owned(), (*path).to_owned())];
    for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "--slave") {
        if let Some([link, _, path]) = words.get(at + 1..at + 4) {
            links.push(((*link).to_owned(), (*path).to_owned()));
        }
    }
    links.iter().all(|(link, path)| is_plain(link) && is_plain(path)).then_some(())?;
    Some(Offer { name: (*name).to_owned(), priority: priority.parse().ok()?, links })
}

fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains(['"', '\'', '`', '*', '{', '(', '\\'])
}

/// Puts the chosen links into the tree. `offers` come in the order of their packages.
pub(super) fn choose(tree: &mut Tree, offers: Vec<Offer>) -> Result<(), TreeError> {
    let mut best: BTreeMap<String, Offer> = BTreeMap::new();
    for offer in offers {
        let command = offer.links.first().map(|(_, path)| path.clone()).unwrap_or_default();
        let is_better = best.get(&offer.name).is_none_or(|other| other.priority < offer.priority);
        if is_better && tree.leads_somewhere(&command) {
            best.insert(offer.name.clone(), offer);
        }
    }
    for (link, path) in best.into_values().flat_map(|offer| offer.links) {
        let at = tree.place(&link)?;
        if tree.get(&at).is_none() && tree.leads_somewhere(&path) {
            tree.put(at, Node::Link(path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GCC: &str = "#!/bin/sh\nset -e\nupdate-alternatives --quiet \\\n    --install /usr/bin/cc cc /usr/bin/gcc 20 \\\n    \
                       #--slave /usr/share/x x /usr/share/y\nexit 0\n";
    const AWKS: [&str; 2] = [
        "  update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 --slave /usr/bin/nawk nawk /usr/bin/mawk",
        "update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10 --slave /usr/bin/nawk nawk /usr/bin/gawk",
    ];

    #[test]
    fn offers_are_read_where_they_are_plain_and_the_highest_wins() {
        assert_eq!(offers(GCC)[0].links, [("/usr/bin/cc".to_owned(), "/usr/bin/gcc".to_owned())]);
        for none in [
            "update-alternatives --install \"$BIN\"/x x /usr/bin/y 5",
            "# update-alternatives --install /usr/bin/x x /usr/bin/y 5",
            "update-alternatives --remove x /usr/bin/y",
            "update-alternatives --install /usr/bin/x x",
        ] {
            assert_eq!(offers(none), [], "{none}");
        }
        let automake = "ver=1.16\nprio=34\nupdate-alternatives --install /usr/bin/automake automake \\\n\
                        \t/usr/bin/automake-${ver} $prio --slave /usr/bin/aclocal aclocal /usr/bin/aclocal-$ver\n";
        let [offer] = &offers(automake)[..] else { panic!("one offer") };
        assert_eq!((offer.priority, offer.links[1].1.as_str()), (34, "/usr/bin/aclocal-1.16"));
        assert_eq!(offers(&format!("ver=2\n{automake}")), []);
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(dir.path()).unwrap();
        for name in ["mawk", "gawk"] {
            let body = tree.spool(name, true, &mut &b"x"[..], 1).unwrap();
            tree.put(format!("usr/bin/{name}"), body).unwrap();
        }
        let all = AWKS.iter().flat_map(|script| offers(script)).chain(offers(GCC)).collect();
        choose(&mut tree, all).unwrap();
        for name in ["awk", "nawk"] {
            let link = Node::Link("/usr/bin/gawk".to_owned());
            assert_eq!(tree.get(&format!("usr/bin/{name}")), Some(&link));
        }
        assert_eq!(tree.get("usr/bin/cc"), None);
    }
}
