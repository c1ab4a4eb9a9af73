//! Output of `secateur doctor` on standard output: a line for each check, or one JSON document.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use serde_json::json;

use super::findings::Findings;

/// Prints one JSON document.
pub fn json(findings: &Findings) -> serde_json::Result<()> {
    let document = json!({"checks": findings.checks, "link": findings.link});
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}

/// Prints the checks as lines for a person.
pub fn text(findings: &Findings) {
    let width = findings.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    for check in &findings.checks {
        let verdict = if check.ok { "ok  " } else { "FAIL" };
        println!("{verdict}  {:<width$}  {}", check.name, check.found);
        if !check.advice.is_empty() {
            println!("      {:<width$}  -> {}", "", check.advice);
        }
    }
    let wrong = findings.checks.iter().filter(|check| !check.ok).count();
    match wrong {
        0 => println!("{} checks, all is well", findings.checks.len()),
        _ => println!("{} checks, {wrong} not well: see the arrows", findings.checks.len()),
    }
}
