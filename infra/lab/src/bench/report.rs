//! Benchmark report: figures, and ratios that are compared with bars.

use anyhow::Result;
use cartulary::cli::say;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::load_generator::Measurement;

/// Results of a benchmark run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    figures: Vec<Figure>,
    ratios: Vec<Ratio>,
}

/// A measured value. Machines differ, so figures have no bar.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

/// A value with a bar, usually the ratio of two figures of the same run.
#[derive(Debug, Serialize)]
struct Ratio {
    name: &'static str,
    value: f64,
    bar: f64,
    holds: bool,
}

impl Report {
    /// Adds a figure.
    pub(super) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit });
    }

    /// Adds all figures of one contender.
    pub(super) fn contender(&mut self, name: &str, measured: &Measurement) {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        self.figure(name, measured.per_second, "commands/s");
        self.figure(format!("{name}, clients"), measured.clients as f64, "");
        self.figure(format!("{name}, p50"), ms(measured.p50), "ms");
        self.figure(format!("{name}, p99"), ms(measured.p99), "ms");
        self.figure(format!("{name}, CPU in this process"), ms(measured.cpu.engine) * 1e3, "µs/command");
        self.figure(format!("{name}, CPU in the database server"), ms(measured.cpu.server) * 1e3, "µs/command");
    }

    /// Adds a value that must be at least its bar.
    pub(super) fn at_least(&mut self, name: &'static str, value: f64, bar: f64) {
        self.ratios.push(Ratio { name, value, bar, holds: value >= bar });
    }

    /// Adds a value that must be at most its bar.
    pub(super) fn at_most(&mut self, name: &'static str, value: f64, bar: f64) {
        self.ratios.push(Ratio { name, value, bar, holds: value <= bar });
    }

    /// True if every ratio meets its bar.
    pub fn holds(&self) -> bool {
        self.ratios.iter().all(|ratio| ratio.holds)
    }

    /// Prints the report as a table, as JSON, or as one line per ratio.
    pub(super) fn print(&self, json: bool, check: bool) -> Result<()> {
        if json {
            say(serde_json::to_string_pretty(self)?);
        } else if check {
            for ratio in &self.ratios {
                let verdict = if ratio.holds { "holds" } else { "MISSED" };
                say(format!("{verdict:6} {}: {:.2} (bar {})", ratio.name, ratio.value, ratio.bar));
            }
        } else {
            say(self.table());
        }
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["measurement", "value", "unit", "bar", ""]);
        for figure in &self.figures {
            table.add_row([&figure.name, &rounded(figure.value), figure.unit, "", ""]);
        }
        for ratio in &self.ratios {
            let verdict = if ratio.holds { "holds" } else { "MISSED" };
            table.add_row([ratio.name, &rounded(ratio.value), "", &ratio.bar.to_string(), verdict]);
        }
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

/// Formats a value with about four significant digits.
fn rounded(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 1000.0.. => 0,
        100.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}
