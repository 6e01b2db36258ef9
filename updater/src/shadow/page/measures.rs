//! The section about what a release takes: its figures beside those of the version that runs, and what both held by time.

use countersign_console::page::{Html, Tone, legend, sparkline, table};

use crate::shadow::measures::{Measures, Stands};
use crate::shadow::series::Series;

pub(super) fn section(measures: &Measures) -> Html {
    let row = |(figure, cells): (&super::super::Figure, [String; 5])| {
        let [name, new, old, limit, word] = cells;
        let class = match figure.verdict {
            Stands::Within => "good",
            Stands::Over => "bad",
            Stands::Reported => "dim",
        };
        let [name, new, old, limit] = [name, new, old, limit].map(Html::text);
        [name, new, old, limit, Html::line("span", class, word)]
    };
    let rows: Vec<_> = measures.figures.iter().zip(measures.table()).map(row).collect();
    let said = measures.sentences().into_iter().map(|said| Html::line("p", "", said));
    let mut html = Html::all(said).and(table(["", "#New", "#Old", "#Limit", ""], rows));
    for (name, of) in [("Memory", memory as Of), ("Processor time", cpu), ("Written", written)] {
        let lines = [("new", Some(&measures.new_series)), ("old", measures.old_series.as_ref())];
        for (who, series) in lines {
            let values = series.map(of).unwrap_or_default();
            if values.len() > 1 {
                let label = Html::line("p", "dim", format!("{name} by time, {who}"));
                html = html.and(label).and(sparkline(&values));
            }
        }
    }
    html.and(legend(&[(Tone::Good, "within its limit"), (Tone::Bad, "above it")]))
}

type Of = fn(&Series) -> Vec<f64>;

fn memory(series: &Series) -> Vec<f64> {
    real(&series.memory)
}

fn cpu(series: &Series) -> Vec<f64> {
    real(&series.cpu_us)
}

fn written(series: &Series) -> Vec<f64> {
    real(&series.written)
}

fn real(values: &[u64]) -> Vec<f64> {
    values.iter().map(|value| *value as f64).collect()
}
