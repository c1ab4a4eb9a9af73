use minijinja::context;

use super::*;

fn render(source: &str) -> Result<String, Error> {
    environment(source, Clock::Local)?.get_template(TEMPLATE)?.render(context! { text => " <b> " })
}

#[test]
fn blocks_are_trimmed_as_in_transformers() {
    assert_eq!(render("{% if true %}\n  a\n  {% endif %}\nb").unwrap(), "  a\nb");
    assert_eq!(render("{{ text.strip() }}{{ text | trim }}").unwrap(), "<b><b>");
    assert_eq!(render("{% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}").unwrap(), "1");
}

#[test]
fn generation_tags_vanish() {
    assert_eq!(render("a {%- generation %} b {% endgeneration -%} c").unwrap(), "a b c");
    assert_eq!(render("{% if text %}x{% endif %}").unwrap(), "x");
}

#[test]
fn json_is_left_as_python_writes_it() {
    assert_eq!(render("{{ ('it\\'s <b> & \"q\"' ~ text) | tojson }}").unwrap(), "\"it's <b> & \\\"q\\\" <b> \"");
    assert_eq!(
        render("{{ {'b': 1, 'a': [2]} | tojson(indent=2) }}").unwrap(),
        "{\n  \"b\": 1,\n  \"a\": [\n    2\n  ]\n}"
    );
}

#[test]
fn what_a_template_raises_can_be_told_from_other_errors() {
    let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert_eq!(raised(&error).as_deref(), Some("roles must alternate"));
    assert_eq!(raised(&render("{{ text.nope() }}").unwrap_err()), None);
}
