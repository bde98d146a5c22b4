//! Figures, and the ratios that are held against the bars.

use anyhow::Result;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::clients::Measured;
use cartulary::cli::say;

/// Everything a bench found out.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    figures: Vec<Figure>,
    ratios: Vec<Ratio>,
}

/// Something that was measured. Machines differ, so no figure has a bar.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

/// Two figures of the same run, divided.
#[derive(Debug, Serialize)]
struct Ratio {
    name: &'static str,
    value: f64,
    bar: f64,
    holds: bool,
}

impl Report {
    pub(super) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit });
    }

    /// All that is known of one contender.
    pub(super) fn contender(&mut self, name: &str, measured: &Measured) {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        self.figure(name, measured.per_second, "commands/s");
        self.figure(format!("{name}, clients"), measured.clients as f64, "");
        self.figure(format!("{name}, p50"), ms(measured.p50), "ms");
        self.figure(format!("{name}, p99"), ms(measured.p99), "ms");
        self.figure(format!("{name}, processor here"), ms(measured.cpu.engine) * 1e3, "µs/command");
        self.figure(format!("{name}, processor of the server"), ms(measured.cpu.server) * 1e3, "µs/command");
    }

    pub(super) fn at_least(&mut self, name: &'static str, value: f64, bar: f64) {
        self.ratios.push(Ratio { name, value, bar, holds: value >= bar });
    }

    pub(super) fn at_most(&mut self, name: &'static str, value: f64, bar: f64) {
        self.ratios.push(Ratio { name, value, bar, holds: value <= bar });
    }

    /// Whether every ratio holds its bar.
    pub fn holds(&self) -> bool {
        self.ratios.iter().all(|ratio| ratio.holds)
    }

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
        table.set_header(["what", "value", "unit", "bar", ""]);
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

/// Four digits that say something.
fn rounded(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 1000.0.. => 0,
        100.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}
