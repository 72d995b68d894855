//! The three places a flag may come from. The command line takes precedence over the environment, and the environment
//! over the config file; all values of a repeatable flag come from one place.

use super::Failure;
use super::command::{COMMANDS, Command, Operand};
use super::flags::{self, FLAGS, Flag};
use super::options::Options;
use super::values::nearest;
use crate::files::{LARGEST_FILE, read_text};
use crate::relay::settings::Intake;
use lexopt::Arg;
use std::collections::HashMap;
use std::ffi::OsString;

/// The default buffer grows by this much for each request that may be in flight.
const BUFFER_PER_REQUEST: usize = 4 << 10;
/// The default buffer grows to this and no further, in bytes.
const LARGEST_DEFAULT_BUFFER: usize = 64 << 20;

/// What every variable of ours begins with.
const PREFIX: &str = "SLUICEGATE_";

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// `-h`, of one command or of all.
    ShortHelp(Option<Command>),
    /// `--help`, likewise.
    Help(Option<Command>),
    /// Nothing at all was said.
    Nothing,
    /// `--version`
    Version,
    /// A command.
    Command(Command, Box<Options>),
}

/// Values by flag, with where each came from.
type Given = HashMap<&'static str, Vec<(String, String)>>;

/// Reads the arguments (without the program's name), and what else counts.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Invocation, Failure> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    understand(&arguments, environment).map_err(|failure| conceal(failure, &arguments))
}

fn understand(
    arguments: &[OsString],
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Invocation, Failure> {
    let mut given = Given::new();
    let (mut command, mut operand) = (None, None);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| Failure::usage(error.to_string()))? {
        match argument {
            Arg::Long("help") => return Ok(Invocation::Help(command)),
            Arg::Short('h') => return Ok(Invocation::ShortHelp(command)),
            Arg::Long("version") | Arg::Short('V') => return Ok(Invocation::Version),
            Arg::Long(name) => match flags::long(name) {
                Some(flag) => take(flag, &mut parser, &mut given)?,
                None => return Err(unknown_flag(name)),
            },
            Arg::Short(name) => match flags::short(name) {
                Some(flag) => take(flag, &mut parser, &mut given)?,
                None => {
                    return Err(Failure::usage(format!("unknown flag -{name}: see sluicegate --help")));
                }
            },
            Arg::Value(word) if command.is_none() => command = Some(command_of(&word.to_string_lossy())?),
            Arg::Value(word)
                if operand.is_none()
                    && command.is_some_and(|command| command.about().operand != Operand::None) =>
            {
                operand = Some(word);
            }
            Arg::Value(word) => {
                let word = word.to_string_lossy().into_owned();
                return Err(Failure::usage(format!("unexpected argument '{word}': flags begin with --")));
            }
        }
    }
    let Some(command) = command else {
        if arguments.is_empty() {
            return Ok(Invocation::Nothing);
        }
        return Err(Failure::usage(format!("no command given: choose one of {}", command_names())));
    };
    if let (Operand::Required(kind), None) = (command.about().operand, &operand) {
        let name = command.name();
        return Err(Failure::usage(format!("{name} requires {kind}: sluicegate {name} {kind}")));
    }
    let options = Options { operand, ..settle(command, given, environment)? };
    Ok(Invocation::Command(command, Box::new(options)))
}

/// Whether the log is to be JSON lines, as far as arguments and settings that may be wrong can tell: the
/// errors about them have that form too.
pub(crate) fn wants_json(arguments: &[OsString], environment: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let from_arguments = |flag: &str| {
        arguments.iter().enumerate().find_map(|(at, argument)| {
            let rest = argument.to_str()?.strip_prefix("--")?.strip_prefix(flag)?;
            match rest.strip_prefix('=') {
                Some(value) => Some(value.to_owned()),
                None if rest.is_empty() => arguments.get(at + 1)?.to_str().map(str::to_owned),
                None => None,
            }
        })
    };
    let given = |name: &str| {
        let from_environment = |flag: &Flag| environment(&flag.variable())?.into_string().ok();
        from_arguments(name).or_else(|| flags::long(name).and_then(from_environment))
    };
    let from_file = || {
        // A pipe can be read once only.
        let path = given("config").filter(|path| std::path::Path::new(path).is_file());
        let file = path.and_then(|path| from_file(&path).ok())?;
        file.get("log-format").and_then(|values| values.first()).map(|(_, value)| value.clone())
    };
    given("log-format").or_else(from_file).is_some_and(|format| format == "json")
}

/// A sentence for each variable with our prefix that sets nothing, except those that Kubernetes and Docker set for a service
/// of this name.
pub(super) fn unknown_variables<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let known: Vec<String> = FLAGS.iter().map(Flag::variable).collect();
    let strange = names.filter(|name| {
        name.starts_with(PREFIX) && !is_service_link(name) && !known.iter().any(|one| one == name)
    });
    let sentence = |name: &'a str| {
        let known = known.iter().filter_map(|one| one.strip_prefix(PREFIX));
        match name.strip_prefix(PREFIX).and_then(|name| nearest(name, known)) {
            Some(near) => format!("unknown variable {name}: did you mean {PREFIX}{near}?"),
            None => format!("unknown variable {name}: it sets nothing"),
        }
    };
    strange.map(sentence).collect()
}

/// `SLUICEGATE_SERVICE_HOST`, `SLUICEGATE_PORT`, `SLUICEGATE_PORT_80_TCP_ADDR` and the like.
fn is_service_link(name: &str) -> bool {
    let port = name.rsplit_once("_PORT").map(|(_, rest)| rest);
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split("_PORT_").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        || port == Some("")
}

pub(super) fn command_of(word: &str) -> Result<Command, Failure> {
    Command::named(word).ok_or_else(|| {
        let hint = match nearest(word, COMMANDS.iter().map(|about| about.name)) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("choose one of {}", command_names()),
        };
        Failure::usage(format!("unknown command '{word}': {hint}"))
    })
}

fn command_names() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|about| about.name).collect();
    names.join(", ")
}

/// Takes arguments that are URLs out of an error: one in the wrong place may hold a secret all the same.
fn conceal(mut failure: Failure, arguments: &[OsString]) -> Failure {
    for argument in arguments.iter().filter_map(|argument| argument.to_str()) {
        let (name, value) = argument.split_once('=').unwrap_or((argument, argument));
        for word in [argument, name, name.trim_start_matches('-'), value] {
            failure.text = failure.text.replace(word, &shown(word));
        }
    }
    failure
}

/// A word as an error may repeat it.
fn shown(word: &str) -> String {
    match word.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…"),
        None => word.to_owned(),
    }
}

/// Whether a word looks like the name of a flag.
fn is_name(word: &str) -> bool {
    let longest = FLAGS.iter().map(|flag| flag.long.len()).max().unwrap_or(0);
    word.len() <= longest + 3 && word.bytes().all(|b| b.is_ascii_lowercase() || b"-_".contains(&b))
}

fn unknown_flag(name: &str) -> Failure {
    let hint = match nearest(name, FLAGS.iter().map(|flag| flag.long)) {
        Some(near) => format!("did you mean --{near}?"),
        None => "see sluicegate --help".into(),
    };
    Failure::usage(format!("unknown flag --{name}: {hint}"))
}

fn take(flag: &'static Flag, parser: &mut lexopt::Parser, given: &mut Given) -> Result<(), Failure> {
    let origin = format!("--{}", flag.long);
    let value = match flag.value {
        None => "true".into(),
        Some(kind) => {
            let missing = |_| Failure::usage(format!("{origin} requires a value: {origin} {kind}"));
            let value = parser.value().map_err(missing)?;
            value.into_string().map_err(|_| Failure::usage(format!("the value of {origin} is not UTF-8")))?
        }
    };
    let values = given.entry(flag.long).or_default();
    if !values.is_empty() && !flag.repeats {
        return Err(Failure::usage(format!("{origin} is given more than once")));
    }
    values.push((origin, value));
    Ok(())
}

fn settle(
    command: Command,
    mut given: Given,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Options, Failure> {
    for flag in FLAGS.iter().filter(|flag| given.contains_key(flag.long)) {
        if !flag.commands.contains(&command) {
            let name = command.name();
            let text = format!("--{} is not a flag of {name}: see sluicegate {name} --help", flag.long);
            return Err(Failure::usage(text));
        }
    }
    for flag in FLAGS.iter().filter(|flag| flag.commands.contains(&command)) {
        if given.contains_key(flag.long) {
            continue;
        }
        if let Some(values) = from_environment(flag, environment)? {
            given.insert(flag.long, values);
        }
    }
    if let Some(path) = given.get("config").and_then(|values| values.last()).map(|(_, path)| path.clone()) {
        for (long, values) in from_file(&path)? {
            given.entry(long).or_insert(values);
        }
    }
    let mut options = Options::default();
    for flag in FLAGS.iter().filter(|flag| flag.commands.contains(&command)) {
        for (origin, value) in given.get(flag.long).into_iter().flatten() {
            (flag.set)(&mut options, value).map_err(|error| match value.contains("://") {
                // Its parts may be secrets.
                true => Failure::usage(format!("{origin}: the value can't be a URL")),
                false => Failure::usage(format!("{origin}: {error}")),
            })?;
        }
    }
    options.until_end |= command.comes_to_an_end();
    if let (None, Some(requests)) = (given.get("buffer"), options.max_concurrency) {
        let grown = requests.get().saturating_mul(BUFFER_PER_REQUEST).min(LARGEST_DEFAULT_BUFFER);
        options.buffer.0 = options.buffer.0.max(grown);
    }
    finish(&mut options)?;
    Ok(options)
}

/// What follows from several flags together.
fn finish(options: &mut Options) -> Result<(), Failure> {
    let settings = &mut options.settings;
    if let Some(n) = options.max_concurrency {
        settings.max_concurrency = n;
    }
    let sliding = settings.intake == Intake::Sliding;
    if options.batch_interval.is_some() && sliding {
        return Err(Failure::usage(
            "--batch-interval is the pause between batches, and --window sliding has no batches: leave one of them out",
        ));
    }
    settings.window_size = options.window_size.unwrap_or(settings.window_size);
    if let Some(interval) = options.batch_interval {
        settings.batch_interval = interval;
    }
    if let Some(bytes) = std::num::NonZeroUsize::new(options.buffer.0) {
        settings.batch_bytes = bytes;
    }
    if options.until_end {
        settings.patience.get_or_insert(std::time::Duration::from_secs(300));
    }
    Ok(())
}

type Values = Vec<(String, String)>;

/// A variable holds one value, or for a flag that repeats one a line.
fn from_environment(
    flag: &Flag,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Values>, Failure> {
    let name = flag.variable();
    let Some(value) = environment(&name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let value =
        value.into_string().map_err(|_| Failure::usage(format!("the value of {name} is not UTF-8")))?;
    let values = match flag.repeats {
        true => {
            value.lines().filter(|line| !line.is_empty()).map(|line| (name.clone(), line.into())).collect()
        }
        false => vec![(name, value)],
    };
    Ok(Some(values))
}

fn from_file(path: &str) -> Result<Given, Failure> {
    let text = read_text(path.as_ref(), LARGEST_FILE)
        .map_err(|error| Failure::usage(format!("the config file {path} can't be read: {error}")))?;
    parse_file(path, &text)
}

fn parse_file(path: &str, text: &str) -> Result<Given, Failure> {
    let mut given = Given::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let origin = format!("{path}, line {}", number + 1);
        let Some((key, value)) = line.split_once('=') else {
            return Err(Failure::usage(format!("{origin}: expected 'name = value'")));
        };
        let key = key.trim();
        if !is_name(key) {
            let text = "expected 'name = value' with the name of a flag: is this the right file?";
            return Err(Failure::usage(format!("{origin}: {text}")));
        }
        let Some(flag) = flags::long(key).filter(|flag| flag.long != "config") else {
            let hint = nearest(key, FLAGS.iter().map(|flag| flag.long));
            let hint = hint.map_or("see sluicegate --help".into(), |near| format!("did you mean {near}?"));
            return Err(Failure::usage(format!("{origin}: unknown flag '{key}': {hint}")));
        };
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        let values = given.entry(flag.long).or_default();
        if !values.is_empty() && !flag.repeats {
            return Err(Failure::usage(format!("{origin}: {key} is given more than once")));
        }
        values.push((format!("{origin}: {key}"), value.into()));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, Failure> {
        let variables: HashMap<String, OsString> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        read(arguments.iter().map(OsString::from), &|name| variables.get(name).cloned())
    }

    fn options(arguments: &[&str], environment: &[(&str, &str)]) -> Options {
        match read_with(arguments, environment) {
            Ok(Invocation::Command(_, options)) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_goes_before_the_environment() {
        let environment = [("SLUICEGATE_BATCH_SIZE", "7"), ("SLUICEGATE_TOPIC", "a\nb")];
        let from_both = options(&["run", "--batch-size", "9"], &environment);
        assert_eq!(from_both.settings.batch_size.get(), 9);
        assert_eq!(from_both.topics, ["a", "b"]);
        assert_eq!(options(&["run"], &environment).settings.batch_size.get(), 7);
        assert_eq!(options(&["run", "--topic", "c"], &environment).topics, ["c"]);
    }

    #[test]
    fn a_bad_variable_is_named() {
        let failure = read_with(&["run"], &[("SLUICEGATE_BATCH_SIZE", "x")]).unwrap_err();
        assert!(failure.text.contains("SLUICEGATE_BATCH_SIZE") && failure.exit == crate::cli::Exit::Usage);
    }

    #[test]
    fn a_config_file_has_lines_of_name_and_value() {
        let given =
            parse_file("f", "# all\n\n batch-size = 3\nheader = \"A: b = c\"\nheader=D: e\n").unwrap();
        assert_eq!(given["batch-size"][0].1, "3");
        let headers: Vec<&str> = given["header"].iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(headers, ["A: b = c", "D: e"]);
        for (text, what) in [
            ("x", "f, line 1: expected"),
            ("\nbatchsize = 1", "f, line 2: unknown flag 'batchsize': did you mean batch-size?"),
            ("batch-size=1\nbatch-size=2", "line 2: batch-size is given more than once"),
            ("config = f", "unknown flag 'config'"),
        ] {
            let failure = parse_file("f", text).unwrap_err();
            assert!(failure.text.contains(what), "{text}: {}", failure.text);
        }
    }

    #[test]
    fn no_error_repeats_a_secret_in_the_wrong_place() {
        let url = "https://hooks.example/services/SECRET?key=SECRET";
        for arguments in [
            &["run", url][..],
            &[url],
            &["run", "--timeout", url],
            &["run", "--order", url],
            &["run", "--brokers", url],
            &["run", "--on-status", url],
            &["run", "--partitions", url],
            &["run", "--start", url],
            &["run", "--batch-size", url, "--batch-size", url],
            &["run", &format!("--{url}")],
            &["run", &format!("--https-only={url}")],
            &["run", &format!("--topic={url}"), &format!("-v={url}")],
        ] {
            let failure = read_with(arguments, &[]).unwrap_err();
            assert!(!failure.text.contains("SECRET"), "{arguments:?}: {}", failure.text);
        }
        for line in [url, "whsec_SECRET==", "SECRET=", "top SECRET = x", "url https://h/SECRET?a=b"] {
            let failure = parse_file("f", &format!("order = none\n{line}\n")).unwrap_err();
            assert!(
                failure.text.starts_with("f, line 2: ") && !failure.text.contains("SECRET"),
                "{}",
                failure.text
            );
        }
    }

    #[test]
    fn each_window_has_its_own_sizes() {
        let sliding = options(&["run", "--window", "sliding", "--window-size", "7"], &[]);
        assert_eq!((sliding.settings.intake, sliding.settings.window_size.get()), (Intake::Sliding, 7));
        let arguments = ["run", "--window=sliding", "--batch-interval=50ms"];
        let failure = read_with(&arguments, &[]).unwrap_err();
        assert!(failure.text.contains("--batch-interval is the pause between batches"), "{}", failure.text);
        assert_eq!(failure.exit, crate::cli::Exit::Usage);
    }

    #[test]
    fn the_default_buffer_follows_the_requests_at_once() {
        for (arguments, buffer) in [
            (&["run"][..], 2 << 20),
            (&["run", "--max-concurrency", "512"], 2 << 20),
            (&["run", "--max-concurrency", "4096"], 16 << 20),
            (&["run", "--max-concurrency", "9999999"], LARGEST_DEFAULT_BUFFER),
            (&["run", "--max-concurrency", "4096", "--buffer", "1MiB"], 1 << 20),
        ] {
            let options = options(arguments, &[]);
            assert_eq!(
                (options.buffer.0, options.settings.batch_bytes.get()),
                (buffer, buffer),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn the_form_of_the_log_is_known_before_anything_else() {
        let json = |arguments: &[&str], environment: &[(&str, &str)]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            let variables: HashMap<&str, OsString> =
                environment.iter().map(|(name, value)| (*name, (*value).into())).collect();
            wants_json(&arguments, &|name| variables.get(name).cloned())
        };
        let variable = [("SLUICEGATE_LOG_FORMAT", "json")];
        assert!(json(&["run", "--nonsense", "--log-format", "json"], &[]));
        assert!(json(&["run", "--log-format=json"], &[]) && json(&["run"], &variable));
        assert!(!json(&["run", "--log-format", "text"], &variable));
        assert!(!json(&["run", "--log-formats=json", "--log-format"], &[]) && !json(&[], &[]));
        let path = std::env::temp_dir().join(format!("sluicegate-json-{}.conf", std::process::id()));
        std::fs::write(&path, "log-format = json\n").unwrap();
        let from_file = json(&["run", "--config", path.to_str().unwrap()], &[]);
        std::fs::remove_file(&path).unwrap();
        assert!(from_file);
    }

    #[test]
    fn an_unknown_variable_is_told_unless_it_is_about_a_service() {
        let names = [
            "SLUICEGATE_MAX_CONCURENCY",
            "SLUICEGATE_TOPIC",
            "SLUICEGATE_FROBNICATE",
            "SLUICEGATE_SERVICE_HOST",
            "SLUICEGATE_SERVICE_PORT_HTTP",
            "SLUICEGATE_PORT",
            "SLUICEGATE_PORT_8080_TCP_ADDR",
            "SLUICEGATE_PROD_PORT_8080_TCP",
            "PATH",
        ];
        assert_eq!(
            unknown_variables(names.into_iter()),
            [
                "unknown variable SLUICEGATE_MAX_CONCURENCY: did you mean SLUICEGATE_MAX_CONCURRENCY?",
                "unknown variable SLUICEGATE_FROBNICATE: it sets nothing",
            ]
        );
    }

    #[test]
    fn until_end_brings_patience() {
        let five_minutes = Some(std::time::Duration::from_secs(300));
        assert_eq!(options(&["run", "--until-end"], &[]).settings.patience, five_minutes);
        assert_eq!(options(&["run"], &[]).settings.patience, None);
    }

    proptest! {
        #[test]
        fn no_arguments_make_it_panic(
            mut arguments in prop::collection::vec(prop_oneof![
                ".{0,12}",
                (0..FLAGS.len()).prop_map(|n| format!("--{}", FLAGS[n].long)),
            ], 0..6),
        ) {
            // A path made by chance must not be read.
            arguments.retain(|argument| !argument.starts_with("--config"));
            let raw: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            let _ = wants_json(&raw, &|_| None);
            let _ = read(arguments.into_iter().map(OsString::from), &|_| None);
        }

        #[test]
        fn no_file_makes_it_panic(text in "(.{0,20}\n?){0,5}") {
            let _ = parse_file("f", &text);
        }
    }
}
