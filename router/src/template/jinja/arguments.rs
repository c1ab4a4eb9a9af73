//! The arguments of a filter, by position or by name.

use minijinja::{
    Error, Value,
    value::{Kwargs, Rest},
};

/// Binds a filter's arguments to `names`: positional arguments first, named ones for the rest.
pub fn arguments<const N: usize>(
    names: [&str; N],
    given: Rest<Value>,
    named: &Kwargs,
) -> Result<[Option<Value>; N], Error> {
    let mut values = given.0.into_iter();
    let mut out = [const { None }; N];
    for (slot, name) in out.iter_mut().zip(names) {
        *slot = match values.next() {
            Some(value) => Some(value),
            None => named.get::<Option<Value>>(name)?,
        };
    }
    named.assert_all_used()?;
    Ok(out)
}
