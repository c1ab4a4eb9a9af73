//! Python's methods on values. Methods that change a value in place are refused, as by transformers' sandbox.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Tuple, ValueKind, from_args},
};
use minijinja_contrib::pycompat;

use super::{error::refused, strings};

/// Calls `method` of `value`.
pub fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let found = match value.kind() {
        ValueKind::String => strings::call(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => map(value, method, args),
        ValueKind::Seq | ValueKind::Iterable => sequence(value, method, args),
        ValueKind::Number => number(value, method, args),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    match found {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {
            pycompat::unknown_method_callback(state, value, method, args)
        }
        found => found,
    }
}

fn map(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let keys = || Ok::<_, Error>(value.try_iter()?.collect::<Vec<Value>>());
    match method {
        "keys" => from_args::<()>(args).and_then(|()| Ok(Value::from(keys()?))),
        "values" => from_args::<()>(args).and_then(|()| {
            Ok(Value::from(keys()?.iter().map(|key| value.get_item(key)).collect::<Result<Vec<_>, _>>()?))
        }),
        "items" => {
            from_args::<()>(args)?;
            let pair = |key: Value| Ok(Value::from(Tuple::from([key.clone(), value.get_item(&key)?])));
            Ok(Value::from(keys()?.into_iter().map(pair).collect::<Result<Vec<_>, Error>>()?))
        }
        "copy" => from_args::<()>(args).map(|()| value.clone()),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn sequence(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "count" => {
            let (wanted,): (&Value,) = from_args(args)?;
            Ok(Value::from(value.try_iter()?.filter(|item| item == wanted).count()))
        }
        "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == *wanted);
            found.map(Value::from).ok_or_else(|| refused(format!("{wanted} is not in list")))
        }
        "copy" => from_args::<()>(args).map(|()| value.clone()),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn number(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "is_integer" => from_args::<()>(args)
            .map(|()| Value::from(f64::try_from(value.clone()).is_ok_and(|number| number.fract() == 0.0))),
        "bit_length" if value.is_integer() => {
            from_args::<()>(args)?;
            let magnitude = i128::try_from(value.clone())?.unsigned_abs();
            Ok(Value::from(u128::BITS - magnitude.leading_zeros()))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
