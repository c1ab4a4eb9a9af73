//! The `{% generation %}` tag, which marks the assistant's text for training and renders its body unchanged.
//!
//! The template engine does not allow custom tags, so the source is rewritten: the tag becomes `{% with %}`, which
//! opens a scope in the same way. Comments, strings, raw blocks and whitespace control stay unchanged.

/// Replaces every `generation` block of `source` by a `with` block.
pub fn without_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = opening(rest) {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        // The compiler refuses an unclosed tag.
        let Some(end) = end_of(tag) else { return out + tag };
        let (tag, after) = tag.split_at(end);
        match word(tag) {
            Some("generation") => out.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// Start of the next comment, expression or statement.
fn opening(source: &str) -> Option<usize> {
    ["{%", "{{", "{#"].iter().filter_map(|mark| source.find(mark)).min()
}

/// End of the tag that begins `source`; a raw block ends with its closing tag.
fn end_of(source: &str) -> Option<usize> {
    if source.starts_with("{#") {
        return source.find("#}").map(|at| at + 2);
    }
    let closing = if source.starts_with("{{") { "}}" } else { "%}" };
    let end = outside_strings(source, closing)?;
    if word(&source[..end]) != Some("raw") {
        return Some(end);
    }
    let mut from = end;
    loop {
        let start = from + source[from..].find("{%")?;
        let end = start + source[start..].find("%}")? + 2;
        if word(&source[start..end]) == Some("endraw") {
            return Some(end);
        }
        from = start + 2;
    }
}

/// The end of the first `closing` that is not inside a string.
fn outside_strings(source: &str, closing: &str) -> Option<usize> {
    let mut quote = None;
    let mut characters = source.char_indices().skip(2);
    while let Some((at, character)) = characters.next() {
        match quote {
            Some(_) if character == '\\' => {
                characters.next();
            }
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if source[at..].starts_with(closing) => return Some(at + closing.len()),
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None => {}
        }
    }
    None
}

/// The content of a statement, without whitespace control.
fn word(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+'))
}

#[cfg(test)]
mod tests {
    use super::without_tags;

    #[test]
    fn tags_become_scopes_and_nothing_else_changes() {
        for (source, expected) in [
            ("a {%- generation %} b {% endgeneration -%} c", "a {%- with %} b {% endwith -%} c"),
            ("{%generation%}x{%endgeneration%}", "{%with%}x{%endwith%}"),
            ("{{ ' {% generation %} ' }}", "{{ ' {% generation %} ' }}"),
            ("{{ '\\'}}' }}{% generation %}", "{{ '\\'}}' }}{% with %}"),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{% if '%}' %}{% generation %}", "{% if '%}' %}{% with %}"),
            ("{% generation", "{% generation"),
            ("generation { % }", "generation { % }"),
        ] {
            assert_eq!(without_tags(source), expected);
        }
    }
}
