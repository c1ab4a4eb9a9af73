//! Layered configuration: flags win over environment (`SECATEUR_*`) over a TOML file over defaults.
//!
//! A role describes its settings once, as a clap struct. The file's values are fed to clap as defaults, so every layer
//! goes through the same parsers and range checks, and an error names the setting wherever it came from.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

/// Text that is printed in place of a secret.
const HIDDEN: &str = "\"(hidden)\"";

/// Settings that every role has in addition to its own.
#[derive(Clone, Debug, Args)]
pub struct Layers {
    /// TOML file with any of these settings (names as the long flags, with `_` or `-`)
    #[arg(long, value_name = "FILE", env = "SECATEUR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the effective, validated configuration with the source of each value, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Reason why a configuration cannot be used. The program exits with status 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file as given.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file as given.
        path: PathBuf,
        /// Position and kind of the error.
        message: String,
    },
    /// The file has a setting that the role does not know.
    #[error("{}: unknown setting `{key}`; known settings: {known}", path.display())]
    UnknownKey {
        /// The file as given.
        path: PathBuf,
        /// The setting's name.
        key: String,
        /// Names of all known settings.
        known: String,
    },
    /// The file has a value that is neither text, number, flag nor a list of these.
    #[error("{}: setting `{key}` must be text, a number, true or false, or a list of these that is not empty", path.display())]
    BadValue {
        /// The file as given.
        path: PathBuf,
        /// The setting's name.
        key: String,
    },
    /// clap refused a value, or printed its help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
}

/// A parsed configuration, with the source of each value.
#[derive(Debug)]
pub struct Layered<T> {
    /// The settings.
    pub settings: T,
    /// Value and source of each setting, by name, for `--print-config`.
    pub sources: BTreeMap<String, (String, &'static str)>,
}

impl<T> Layered<T> {
    /// The effective configuration as TOML, each line with its source as a comment.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (name, (value, source)) in &self.sources {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} = {value}  # {source}");
        }
        text
    }
}

/// Parses `arguments` (program name first) for a role whose settings are `T`.
pub fn parse<T: Args + FromArgMatches>(
    command: Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Layered<T>, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = T::augment_args(command);
    let file = match config_path(&command, &arguments) {
        Some(path) => read_file(&path, &command)?,
        None => BTreeMap::new(),
    };
    let mut layered = command;
    for (id, values) in &file {
        let values = values.clone();
        layered = layered.mut_arg(id.as_str(), |arg| {
            let is_secret = is_secret(&arg);
            arg.default_values(values).required(false).hide_default_value(is_secret)
        });
    }
    let names: Vec<(String, bool)> =
        layered.get_arguments().map(|arg| (arg.get_id().to_string(), is_secret(arg))).collect();
    let matches = layered.try_get_matches_from(arguments)?;
    let settings = T::from_arg_matches(&matches)?;
    Ok(Layered { settings, sources: sources(&matches, &names, &file) })
}

/// Whether a setting is a secret: one whose environment value is hidden in `--help`. Its value is never printed.
fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

/// Finds `--config` before the real parse, since its content changes the defaults of that parse.
fn config_path(command: &Command, arguments: &[OsString]) -> Option<PathBuf> {
    // Required settings may still come from the file, so this first parse must not require them. It ignores errors: the
    // second parse reports them.
    let ids: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    let mut lenient = command.clone().ignore_errors(true);
    for id in &ids {
        lenient = lenient.mut_arg(id.as_str(), |arg| arg.required(false));
    }
    let matches = lenient.try_get_matches_from(arguments).ok()?;
    matches.try_get_one::<PathBuf>("config").ok().flatten().cloned()
}

fn read_file(path: &Path, command: &Command) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let table: toml::Table = toml::from_str(&text)
        .map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: error.to_string() })?;
    let known: Vec<String> = command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .filter(|id| !matches!(id.as_str(), "config" | "print_config"))
        .collect();
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let id = key.replace('-', "_");
        if !known.contains(&id) {
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key, known: known.join(", ") });
        }
        let texts = texts_of(&value)
            .filter(|texts| !texts.is_empty())
            .ok_or_else(|| ConfigError::BadValue { path: path.to_owned(), key })?;
        values.insert(id, texts);
    }
    Ok(values)
}

fn texts_of(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(items) => {
            let texts: Option<Vec<Vec<String>>> = items.iter().map(texts_of).collect();
            Some(texts?.into_iter().flatten().collect())
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn sources(
    matches: &ArgMatches,
    names: &[(String, bool)],
    file: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, (String, &'static str)> {
    let mut sources = BTreeMap::new();
    for (id, is_secret) in names {
        if matches!(id.as_str(), "config" | "print_config" | "help" | "version") {
            continue;
        }
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "flag",
            Some(ValueSource::EnvVariable) => "environment",
            Some(_) if file.contains_key(id) => "file",
            Some(_) => "default",
            None => continue,
        };
        let raw = matches.get_raw(id).into_iter().flatten();
        let values: Vec<String> = raw.map(|value| toml_literal(&value.to_string_lossy())).collect();
        let text = match values.as_slice() {
            _ if *is_secret => HIDDEN.to_owned(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        sources.insert(id.clone(), (text, source));
    }
    sources
}

fn toml_literal(text: &str) -> String {
    // Without quotes if TOML would print a bare value as the very same text.
    let is_bare =
        toml::from_str::<toml::Table>(&format!("v = {text}")).is_ok_and(|table| table["v"].to_string() == text);
    if is_bare { text.to_owned() } else { toml::Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Args)]
    struct Role {
        #[command(flatten)]
        layers: Layers,
        /// The folder
        #[arg(long, env = "SECATEUR_TEST_MODEL")]
        model: PathBuf,
        /// A bounded number
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// A list
        #[arg(long, value_delimiter = ',')]
        peers: Vec<String>,
        /// A secret
        #[arg(long, env = "SECATEUR_TEST_TOKEN", hide_env_values = true)]
        token: Option<String>,
    }

    fn parse_role(arguments: &[&str]) -> Result<Layered<Role>, ConfigError> {
        let arguments = std::iter::once("role").chain(arguments.iter().copied()).map(OsString::from);
        parse(Command::new("role"), arguments)
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_file_over_defaults() {
        let file = file("model = \"/from/file\"\nlimit = 7\npeers = [\"a:1\", \"b:2\"]\n");
        let path = file.path().to_str().unwrap();
        let role = parse_role(&["--config", path, "--limit", "9"]).unwrap();
        assert_eq!(role.settings.limit, 9);
        assert_eq!(role.settings.model, PathBuf::from("/from/file"));
        assert_eq!(role.settings.peers, ["a:1", "b:2"]);
        let printed = role.to_toml();
        assert!(printed.contains("limit = 9  # flag"), "{printed}");
        assert!(printed.contains("# file"), "{printed}");
        assert!(printed.parse::<toml::Table>().is_ok(), "{printed}");
    }

    #[test]
    fn a_secret_is_used_and_not_printed() {
        let file = file("model = \"x\"\ntoken = \"from-the-file\"\n");
        let path = file.path().to_str().unwrap();
        for (arguments, expected) in [(&[][..], "from-the-file"), (&["--token", "from-a-flag"], "from-a-flag")] {
            let role = parse_role(&[&["--config", path], arguments].concat()).unwrap();
            assert_eq!(role.settings.token.as_deref(), Some(expected));
            let printed = role.to_toml();
            assert!(printed.contains("token = \"(hidden)\"") && !printed.contains(expected), "{printed}");
        }
        let help = parse_role(&["--config", path, "--help"]).unwrap_err().to_string();
        assert!(help.contains("--token") && !help.contains("from-the-file"), "{help}");
    }

    #[test]
    fn a_bad_value_in_the_file_is_refused_by_name() {
        let file = file("model = \"x\"\nlimit = 101\n");
        let error = parse_role(&["--config", file.path().to_str().unwrap()]).unwrap_err();
        assert!(error.to_string().contains("limit"), "{error}");
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let file = file("modle = \"x\"\n");
        let error = parse_role(&["--config", file.path().to_str().unwrap()]).unwrap_err();
        assert!(error.to_string().contains("modle"), "{error}");
    }

    #[test]
    fn a_missing_setting_and_a_missing_file_are_errors() {
        assert!(parse_role(&[]).unwrap_err().to_string().contains("--model"));
        assert!(parse_role(&["--config", "/no/such"]).unwrap_err().to_string().contains("/no/such"));
    }
}
