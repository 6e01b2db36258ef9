//! The section about the meeting with the version that runs: who began, and what came of it.

use countersign_console::page::{Html, seconds, table};

use crate::shadow::judge::exit_text;
use crate::shadow::measures::Beside;
use crate::shadow::meeting::{Meeting, Pair};

pub(super) fn section(meeting: &Meeting) -> Html {
    let said = match &meeting.with {
        Beside::Nothing(why) => format!("It met no other version: {why}."),
        Beside::Version(version) => format!("It met version {version}."),
    };
    let protocols = meeting.protocols.map(|protocols| {
        let class = if protocols.overlap() { "good" } else { "bad" };
        let ((from, to), (old_from, old_to)) = (protocols.new, protocols.old);
        let said = format!("Protocols {from} to {to}; the old version {old_from} to {old_to}.");
        Html::line("p", class, said)
    });
    let html = Html::line("p", "", said).and(protocols.unwrap_or_default());
    if meeting.pairs.is_empty() {
        return html;
    }
    let table = table(["Begun by", "With", "Ended with", "#Took"], meeting.pairs.iter().map(row));
    let printed = meeting.pairs.iter().filter(|pair| !pair.succeeded());
    html.and(table).and(Html::all(printed.map(|pair| Html::line("pre", "", &*pair.output_end))))
}

fn row(pair: &Pair) -> [Html; 4] {
    let class = if pair.succeeded() { "good" } else { "bad" };
    let mut ended = pair.exit.map_or_else(|| "it did not begin".to_owned(), exit_text);
    if let Some(trouble) = &pair.trouble {
        ended.push_str(": ");
        ended.push_str(trouble);
    }
    [
        Html::text(pair.begun_by.to_string()),
        Html::text(pair.with.to_string()),
        Html::line("span", class, ended),
        Html::text(seconds(pair.took_ms)),
    ]
}
