//! Output of `secateur eval` on standard output: tables, or one JSON document.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use serde_json::{Value, json};

use super::{combination_run::Measured, findings::Findings, group::Kind, machine, statistics, table, wrong};
use crate::console::progress;

/// From this correlation on, a ranking counts as one of norms, whatever it is meant to rank.
const NORM_CORRELATION_MAX: f64 = 0.9;

impl Findings<'_> {
    /// Warnings that a reader of the figures needs.
    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.measured.iter().filter_map(|measured| self.norm_warning(measured)).collect();
        // A method's ranking does not depend on its keep rate, so repeated warnings are dropped.
        warnings.dedup();
        if let Some(plan) = self.reference().map(Measured::plan_id).filter(|plan| !plan.is_empty()) {
            let text = "relative figures are against its own dense, unpruned answers";
            warnings.push(format!("the cluster runs plan {plan}: {text}, not those of the whole model"));
        }
        warnings
    }

    fn norm_warning(&self, measured: &Measured) -> Option<String> {
        let all = self.groups.iter().find(|group| group.kind == Kind::All)?;
        let found = self.row(measured, all).figures.cost.norm_correlation?;
        let method = measured.ran();
        (found > NORM_CORRELATION_MAX).then(|| {
            format!(
                "stage 1 of {method} ranks by small norm here (rank correlation {found:.2}): it is choosing small norms, \
                 not alignment"
            )
        })
    }

    fn document(&self) -> Value {
        let rows = self.measured.iter().flat_map(|measured| self.groups.iter().map(|group| self.row(measured, group)));
        let refused = self.refused.iter().map(|refused| {
            json!({
                "visual": refused.combination.visual.method,
                "keep": refused.combination.visual.keep,
                "transfer": refused.combination.transfer,
                "plan_dir": refused.combination.plan.as_ref().map(|plan| plan.display().to_string()),
                "message": refused.message,
            })
        });
        json!({
            "model": self.model,
            "suite": self.suite.display().to_string(),
            "split": self.arguments.split().name(),
            "cases": self.cases.len(),
            "seed": statistics::SEED,
            "max_tokens": self.arguments.max_tokens,
            "machine": machine::describe(),
            "rows": rows.collect::<Vec<_>>(),
            "refused": refused.collect::<Vec<_>>(),
            "warnings": self.warnings(),
            "wrong": self.arguments.show_wrong.then(|| wrong::all(self.cases, &self.measured, self.reference())),
        })
    }

    fn heading(&self) -> String {
        format!(
            "{} on {}, split {}: {} cases, greedy; ± is the farther end of the 95% interval",
            self.model,
            self.suite.display(),
            self.arguments.split().name(),
            self.cases.len(),
        )
    }
}

/// Prints one JSON document; warnings also go to standard error, so that they are not missed.
pub fn json(findings: &Findings, error: Option<&anyhow::Error>) -> serde_json::Result<()> {
    for warning in findings.warnings() {
        progress(&format!("warning: {warning}"));
    }
    let mut document = findings.document();
    document["error"] = json!(error.map(|error| format!("{error:#}")));
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}

/// Prints tables for a person.
pub fn text(findings: &Findings) {
    println!("{}\n", findings.heading());
    print!("{}", table::tables(findings));
    if findings.arguments.show_wrong {
        for wrong in wrong::all(findings.cases, &findings.measured, findings.reference()) {
            println!("{wrong}");
        }
    }
    for refused in &findings.refused {
        println!("refused: {}: {}", refused.combination, refused.message);
    }
    for warning in findings.warnings() {
        println!("warning: {warning}");
    }
}

#[cfg(test)]
mod tests {
    use crate::eval::tests::{arguments, findings};

    #[test]
    fn the_document_has_every_row_and_what_it_is_about() {
        let arguments = arguments(&["--suite", "s.jsonl"]);
        let found = findings(&arguments, 0.98).document();
        assert_eq!((found["model"].as_str(), found["suite"].as_str()), (Some("m"), Some("s.jsonl")));
        assert_eq!((found["split"].as_str(), found["seed"].as_u64()), (Some("all"), Some(0)));
        assert!(found["machine"]["cores"].is_number());
        let rows = found["rows"].as_array().unwrap();
        // Two combinations, each with the groups all, single, text, needle, and two depths.
        assert_eq!(rows.len(), 12);
        let deep = rows.iter().filter(|row| row["tag"] == "needle" && row.get("depth").is_some());
        assert_eq!(deep.count(), 4);
        assert_eq!(found["refused"][0]["visual"], "magic");
    }

    #[test]
    fn a_ranking_of_norms_is_told_once_for_a_method() {
        let arguments = arguments(&["--suite", "s.jsonl"]);
        let warnings = findings(&arguments, 0.98).warnings();
        let expected = "stage 1 of trimtokenator ranks by small norm here (rank correlation 0.98): it is choosing small \
                        norms, not alignment";
        assert_eq!(warnings, [expected]);
        assert!(findings(&arguments, 0.9).warnings().is_empty());
    }
}
