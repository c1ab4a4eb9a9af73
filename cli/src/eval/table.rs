//! Tables for a person: a row for each combination, and as many tables below each other as a terminal's width requires.

use super::{
    combination_run::Measured,
    figures::{Figures, Relative},
    findings::Findings,
    group::{Group, Kind},
    statistics::Estimate,
};

const WIDTH_MAX: usize = 120;
const GAP: &str = "  ";
/// Most characters of a plan's name.
const NAME_CHARS_MAX: usize = 16;

/// A column: its heading, and a cell for each combination.
struct Column {
    head: String,
    cells: Vec<String>,
}

/// All tables: accuracy by family with its cost; relative accuracy by family; needles by depth.
pub fn tables(findings: &Findings) -> String {
    if findings.measured.is_empty() {
        return String::new();
    }
    let names = names(findings);
    let mut text = section("accuracy, %", &names, accuracy(findings));
    let has_reference = findings.reference().is_some();
    if has_reference && findings.measured.len() > 1 {
        text += &section("relative to dense unpruned, %", &names, relative_by_family(findings));
    }
    text += &section("needle accuracy by depth, %", &names, needles(findings));
    text
}

fn names(findings: &Findings) -> Vec<Column> {
    let column = |head: &str, cell: fn(&Measured) -> String| Column {
        head: head.to_owned(),
        cells: findings.measured.iter().map(cell).collect(),
    };
    let mut names = vec![
        column("visual", |measured| measured.combination.visual.to_string()),
        column("transfer", |measured| measured.combination.transfer.clone()),
    ];
    let plan = column("plan", plan_name);
    if plan.cells.iter().any(|cell| cell != "-") {
        names.push(plan);
    }
    names
}

/// The name of the plan's folder; for a running router, the plan's id.
fn plan_name(measured: &Measured) -> String {
    let name = measured.combination.plan_name().unwrap_or_else(|| measured.plan_id().to_owned());
    if name.is_empty() { "-".to_owned() } else { name.chars().take(NAME_CHARS_MAX).collect() }
}

fn accuracy(findings: &Findings) -> Vec<Column> {
    let cell = |figures: &Figures| if figures.judged > 0 { percent(figures.accuracy()) } else { absent() };
    let mut columns: Vec<Column> =
        main_groups(findings).map(|group| column(findings, group, &group.tag, cell)).collect();
    if let Some(all) = findings.groups.iter().find(|group| group.kind == Kind::All) {
        columns.push(column(findings, all, "relative", |figures| relative(figures.relative.as_ref())));
        if findings.reference().is_some() && findings.measured.len() > 1 {
            columns.push(column(findings, all, "same", |figures| {
                figures.same.as_ref().map_or_else(absent, |same| percent(same.estimate()))
            }));
            columns.push(column(findings, all, "kl", |figures| {
                figures.kl.as_ref().map_or_else(absent, |kl| format!("{:.4} ±{:.4}", kl.kl, kl.reach()))
            }));
        }
        columns.push(column(findings, all, "fewer bytes", |figures| {
            figures.cost.bytes_ratio.map_or_else(absent, |ratio| format!("{ratio:.2}x"))
        }));
        if findings.failed() > 0 {
            columns.push(column(findings, all, "failed", |figures| figures.failed.to_string()));
        }
    }
    columns
}

fn relative_by_family(findings: &Findings) -> Vec<Column> {
    let families = main_groups(findings).filter(|group| group.kind == Kind::Family);
    families.map(|group| column(findings, group, &group.tag, |figures| relative(figures.relative.as_ref()))).collect()
}

/// Accuracy of needles in whole percents: there are many depths, with few cases each.
fn needles(findings: &Findings) -> Vec<Column> {
    let cell = |figures: &Figures| {
        let accuracy = figures.accuracy();
        format!("{:.0} ±{:.0}", 100.0 * accuracy.value, 100.0 * accuracy.reach())
    };
    let depths = findings.groups.iter().filter_map(|group| Some((group, group.depth()?)));
    depths.map(|(group, depth)| column(findings, group, &depth.to_string(), cell)).collect()
}

fn main_groups<'a>(findings: &'a Findings) -> impl Iterator<Item = &'a Group> {
    findings.groups.iter().filter(|group| matches!(group.kind, Kind::All | Kind::Family))
}

fn column(findings: &Findings, group: &Group, head: &str, cell: impl Fn(&Figures) -> String) -> Column {
    let cells = findings.measured.iter().map(|measured| cell(&findings.row(measured, group).figures)).collect();
    Column { head: head.to_owned(), cells }
}

fn percent(estimate: Estimate) -> String {
    format!("{:.1} ±{:.1}", 100.0 * estimate.value, 100.0 * estimate.reach())
}

fn relative(relative: Option<&Relative>) -> String {
    relative.map_or_else(absent, |relative| percent(relative.estimate()))
}

fn absent() -> String {
    "-".to_owned()
}

/// A title, and tables that each begin with the names and contain as many of the columns as fit.
fn section(title: &str, names: &[Column], columns: Vec<Column>) -> String {
    let taken: usize = names.iter().map(Column::width).sum::<usize>() + GAP.len() * names.len().saturating_sub(1);
    let mut parts: Vec<Vec<&Column>> = Vec::new();
    let mut left = 0;
    for column in &columns {
        let needed = column.width() + GAP.len();
        match parts.last_mut() {
            Some(part) if needed <= left => part.push(column),
            _ => {
                parts.push(vec![column]);
                left = WIDTH_MAX.saturating_sub(taken);
            }
        }
        left = left.saturating_sub(needed);
    }
    parts.iter().map(|part| format!("{title}\n{}\n", lines(names, part))).collect()
}

/// Formats columns as wide as their widest cell; names are aligned left, numbers right.
fn lines(names: &[Column], columns: &[&Column]) -> String {
    let count = names.first().map_or(0, |column| column.cells.len());
    let line = |cell: &dyn Fn(&Column) -> String| {
        let names = names.iter().map(|column| format!("{:<width$}", cell(column), width = column.width()));
        let figures = columns.iter().map(|column| format!("{:>width$}", cell(column), width = column.width()));
        format!("{}\n", names.chain(figures).collect::<Vec<_>>().join(GAP).trim_end())
    };
    let rows = (0..count).map(|index| line(&|column: &Column| column.cells[index].clone()));
    std::iter::once(line(&|column: &Column| column.head.clone())).chain(rows).collect()
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().chain([&self.head]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::{arguments, findings};

    #[test]
    fn combinations_are_rows_and_families_columns() {
        let arguments = arguments(&["--suite", "s.jsonl"]);
        let text = tables(&findings(&arguments, 0.0));
        let head: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            head,
            ["visual", "transfer", "all", "single", "text", "relative", "same", "kl", "fewer", "bytes", "failed"],
            "{text}"
        );
        let reference = text.lines().nth(2).unwrap();
        assert!(reference.starts_with("none ") && reference.contains(" 100.0 ±0.0 "), "{text}");
        let pruned = text.lines().nth(3).unwrap();
        assert!(pruned.starts_with("trimtokenator:0.1  dense") && pruned.contains("5.00x"), "{text}");
        assert!(text.contains("relative to dense unpruned, %\n"), "{text}");
        let needles = text.split("needle accuracy by depth, %\n").nth(1).unwrap();
        assert!(needles.lines().next().unwrap().ends_with("1"), "{text}");
    }

    #[test]
    fn what_does_not_fit_goes_into_another_table() {
        let cell = |text: &str| vec![text.to_owned()];
        let names = [Column { head: "visual".to_owned(), cells: cell("trimtokenator:0.111") }];
        let columns = (0..17).map(|depth| Column { head: depth.to_string(), cells: cell("100.0 ±27.8") }).collect();
        let text = section("needle", &names, columns);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH_MAX), "{text}");
        assert_eq!(text.matches("needle\n").count(), 3);
        assert_eq!(text.matches("100.0 ±27.8").count(), 17);
        assert_eq!(section("none", &names, Vec::new()), "");
    }
}
