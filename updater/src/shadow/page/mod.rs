//! The report as one page that a person would rather look at than read. It loads nothing and runs nothing.
//!
//! A section is a function from its part of the report to markup, and is left out where that part is absent.

mod measures;
mod meeting;
mod tree;

use countersign_console::page::{
    Bar, Html, Marks, Page, Span, Tone, bars, bytes, figures, legend, seconds, table, timeline,
};

use super::judge::exit_text;
use super::mirror::Mirrored;
use super::report::{AttemptSeen, Ending, MigrationRun, Report, Verdict};
use super::trial::Trial;
use super::written::WrittenSeen;

/// The page of a release in the shadow.
pub fn of_report(report: &Report) -> String {
    let title = format!("{} {} in the shadow", report.product, report.version);
    let page = Page::new(&title, &format!("artifact sha256 {}", report.artifact));
    let page = match &report.verdict {
        Verdict::Cleared => page.banner(
            true,
            "Cleared",
            Html::line("p", "", "It did nothing that it may not, for as long as it was watched."),
        ),
        Verdict::Refused { reasons } => {
            let reasons = reasons.iter().map(|reason| Html::line("li", "", reason.to_string()));
            page.banner(false, "Refused", Html::tag("ol", "", Html::all(reasons)))
        }
    };
    page.section("What was seen", figures(facts(report)))
        .maybe("The window", window(report))
        .maybe("Migrations of the state", migrations(&report.migrations))
        .section("What it tried to reach", attempts(&report.attempts, report.unaccounted, true))
        .maybe("What it took", report.ending.as_ref().map(|ending| resources(ending, None)))
        .maybe("Beside the version that runs", report.measures.as_ref().map(measures::section))
        .maybe("Live traffic", report.mirrored.as_ref().map(mirrored))
        .maybe(
            "A meeting with the version that runs",
            report.meeting.as_ref().map(meeting::section),
        )
        .maybe("What it wrote to its state", report.written.as_ref().map(written))
        .maybe("The end of what it printed", printed(&report.output_end))
        .foot("Nothing real was reached. What a release does after the window was not seen.")
        .finish()
}

/// The page of any program in the sandbox.
pub fn of_trial(trial: &Trial, command: &str) -> String {
    let attempted = trial.attempts.len();
    let (words, said) = match (trial.is_quiet(), attempted) {
        (true, _) => ("Quiet", "It tried to reach nothing.".to_owned()),
        (false, 0) => ("Not quiet", "It sent packets whose destination was not seen.".to_owned()),
        (false, many) => ("Not quiet", format!("It tried to reach {many} destinations.")),
    };
    let ended = match trial.stopped {
        true => "it still ran, and was stopped".to_owned(),
        false => exit_text(trial.exit),
    };
    let ending = Ending::new(!trial.stopped, trial.exit, trial.usage);
    let moments = marks(&trial.attempts);
    let span = Span { label: "ran".to_owned(), from: 0, to: trial.watched_ms, tone: Tone::New };
    Page::new("A program in the shadow", command)
        .banner(trial.is_quiet(), words, Html::line("p", "", said))
        .section(
            "What was seen",
            figures([
                ("Watched", seconds(trial.watched_ms)),
                ("Ended", ended),
                ("Destinations tried", attempted.to_string()),
                ("Packets unaccounted", trial.unaccounted.to_string()),
            ]),
        )
        .section("The window", timeline(&[span], &moments).and(attempt_legend(&moments, false)))
        .section("What it tried to reach", attempts(&trial.attempts, trial.unaccounted, false))
        .section("What it took", resources(&ending, None))
        .maybe("What it wrote to its state", trial.written.as_ref().map(written))
        .foot("Nothing real was reached. What it does after the window was not seen.")
        .finish()
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let undeclared = report.attempts.iter().filter(|attempt| !attempt.expected).count();
    let mut facts = vec![
        ("Ready after", report.ready_after_ms.map_or_else(|| "never".to_owned(), seconds)),
        ("Watched", format!("{} of {}", seconds(report.watched_ms), seconds(report.window_ms))),
        ("Undeclared destinations", undeclared.to_string()),
        ("Packets unaccounted", report.unaccounted.to_string()),
    ];
    if let Some(health) = &report.health {
        let word = match (&health.trouble, health.status) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(status)) => format!("{status} in {}", seconds(health.took_ms)),
            (None, None) => "no answer".to_owned(),
        };
        facts.push(("Health", word));
    }
    if let Some(ending) = &report.ending {
        facts.push(("Ended", exit_text(ending.exit)));
    }
    facts
}

/// From its start to its end; moments are of the run itself.
fn window(report: &Report) -> Option<Html> {
    let ending = report.ending.as_ref()?;
    let span = |label: &str, from, to, tone| Span { label: label.to_owned(), from, to, tone };
    let spans = match report.ready_after_ms {
        None => vec![span("never ready", 0, ending.wall_ms, Tone::Bad)],
        Some(ready) => {
            let watched = ready.saturating_add(report.watched_ms);
            let end = ending.wall_ms.max(watched);
            vec![
                span("starting", 0, ready, Tone::Old),
                span("watched", ready, watched, Tone::New),
                span("stopping", watched, end, Tone::Old),
            ]
        }
    };
    let mut moments = marks(&report.attempts);
    if let (Some(health), Some(ready)) = (&report.health, report.ready_after_ms) {
        let tone = if health.trouble.is_some() { Tone::Bad } else { Tone::Good };
        let first = (ready, tone);
        let last = (ready.saturating_add(report.watched_ms), tone);
        let label = format!("health, first and last ({})", health.path);
        moments.insert(0, Marks { label, at: vec![first, last] });
    }
    let legend = attempt_legend(&moments, true);
    Some(timeline(&spans, &moments).and(legend))
}

fn marks(attempts: &[AttemptSeen]) -> Vec<Marks> {
    if attempts.is_empty() {
        return Vec::new();
    }
    let at = attempts.iter().map(|attempt| (attempt.after_ms, tone(attempt))).collect();
    vec![Marks { label: "tried to reach somebody".to_owned(), at }]
}

fn tone(attempt: &AttemptSeen) -> Tone {
    if attempt.expected { Tone::Warn } else { Tone::Bad }
}

fn attempt_legend(marks: &[Marks], declared: bool) -> Html {
    match (marks.is_empty(), declared) {
        (true, _) => Html::default(),
        (false, true) => legend(&[
            (Tone::Good, "as it should be"),
            (Tone::Warn, "declared, not delivered"),
            (Tone::Bad, "not as it should be"),
        ]),
        (false, false) => legend(&[(Tone::Bad, "tried to reach somebody")]),
    }
}

fn mirrored(seen: &Mirrored) -> Html {
    let said = Html::all(seen.sentences().into_iter().map(|said| Html::line("p", "", said)));
    let rows = seen.table().into_iter().map(|row| row.map(Html::text));
    said.and(table(["Answers", "#Half within", "#99 % within"], rows))
}

fn migrations(runs: &[MigrationRun]) -> Option<Html> {
    let row = |run: &MigrationRun| {
        let class = if run.succeeded() && run.left_running == 0 { "good" } else { "bad" };
        let mut ended = exit_text(run.exit);
        if run.left_running > 0 {
            ended.push_str(&format!(", {} processes left running", run.left_running));
        }
        [
            Html::text(run.area.to_string()),
            Html::text(format!("{} → {}", run.from, run.to)),
            Html::line("span", class, ended),
            Html::text(seconds(run.took_ms)),
        ]
    };
    let table = table(["Area", "Schema", "Ended with", "#Took"], runs.iter().map(row));
    (!runs.is_empty()).then_some(table)
}

fn attempts(attempts: &[AttemptSeen], unaccounted: u64, declared: bool) -> Html {
    let row = |attempt: &AttemptSeen| {
        let class = if attempt.expected { "warn" } else { "bad" };
        let word = match (declared, attempt.expected) {
            (true, true) => "declared",
            (true, false) => "not\u{a0}declared",
            (false, _) => "not\u{a0}delivered",
        };
        [
            Html::text(seconds(attempt.after_ms)),
            Html::line("span", class, word),
            Html::line("code", "", attempt.to_string()),
        ]
    };
    let mut html = match attempts {
        [] => Html::line("p", "good", "Nothing."),
        some => table(["#After", "", "Where"], some.iter().map(row)),
    };
    if unaccounted > 0 {
        let said = format!("{unaccounted} packets went where it was not seen.");
        html = html.and(Html::line("p", "bad", said));
    }
    html
}

/// Figures of the new version, beside those of the old one where there are any.
fn resources(new: &Ending, old: Option<&Ending>) -> Html {
    type Figure = (&'static str, fn(&Ending) -> u64, fn(u64) -> String);
    let all: [Figure; 3] = [
        ("Processor time", |ending| ending.cpu_ms, seconds),
        ("Memory of the largest process", |ending| ending.max_rss_bytes, bytes),
        ("From start to end", |ending| ending.wall_ms, seconds),
    ];
    let Some(old) = old else {
        return figures(all.map(|(name, value, shown)| (name, shown(value(new)))));
    };
    let plots = all.map(|(name, value, shown)| {
        let bar = |who: &str, ending, tone| Bar {
            label: format!("{name}, {who}"),
            value: value(ending) as f64,
            shown: shown(value(ending)),
            tone,
        };
        bars(&[bar("new", new, Tone::New), bar("old", old, Tone::Old)])
    });
    Html::all(plots).and(legend(&[(Tone::New, "the new version"), (Tone::Old, "the old one")]))
}

fn written(written: &WrittenSeen) -> Html {
    if written.names == 0 {
        return Html::line("p", "dim", "Nothing.");
    }
    let said = format!(
        "{} names, {} in files created or changed. The snapshot below stayed as it was.",
        written.names,
        bytes(written.bytes)
    );
    let mut html = Html::line("p", "", said).and(tree::tree(&written.list));
    let more = written.names.saturating_sub(written.list.len() as u64);
    if more > 0 {
        html = html.and(Html::line("p", "dim", format!("and {more} more names")));
    }
    if written.unread > 0 {
        let closed = format!("{} directories could not be looked into.", written.unread);
        html = html.and(Html::line("p", "warn", closed));
    }
    html
}

fn printed(output: &str) -> Option<Html> {
    (!output.trim().is_empty()).then(|| Html::line("pre", "", output))
}
