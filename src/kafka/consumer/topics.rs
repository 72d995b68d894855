//! The subscription: topics by name, and patterns that topics created later may match too.

use regex_lite::Regex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The first character of a pattern.
const PATTERN: char = '^';

/// The topics that a consumer subscribes to.
#[derive(Clone, Debug)]
pub struct Topics {
    names: Vec<String>,
    patterns: Vec<Regex>,
}

impl Topics {
    /// Parses names and patterns. A pattern begins with `^` and has to match the whole name.
    ///
    /// # Errors
    /// A pattern that is not a valid regular expression, in a sentence.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let (patterns, names): (Vec<_>, Vec<_>) = texts.iter().partition(|text| text.starts_with(PATTERN));
        let compile = |text: &&String| {
            let whole = format!("^(?:{})$", text.trim_start_matches(PATTERN).trim_end_matches('$'));
            Regex::new(&whole)
                .map_err(|error| format!("'{text}' is not a regular expression for topics: {error}"))
        };
        let patterns = patterns.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { names: names.into_iter().cloned().collect(), patterns })
    }

    /// The names, if there is no pattern; `None` if all topics of the cluster have to be looked at.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        self.patterns.is_empty().then(|| self.names.iter().map(String::as_str).collect())
    }

    /// The existing topics that match, and all named topics whether they exist or not. Internal topics, which begin
    /// with `__`, have to be named.
    pub(crate) fn choose<'a>(&self, there: impl Iterator<Item = &'a Arc<str>>) -> BTreeSet<Arc<str>> {
        let matches = |name: &&Arc<str>| {
            !name.starts_with("__") && self.patterns.iter().any(|pattern| pattern.is_match(name))
        };
        let named = self.names.iter().map(|name| Arc::from(name.as_str()));
        there.filter(matches).cloned().chain(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(texts: &[&str], there: &[&str]) -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let there: Vec<Arc<str>> = there.iter().map(|name| Arc::from(*name)).collect();
        Topics::parse(&texts).unwrap().choose(there.iter()).iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_pattern_matches_whole_names_and_never_kafkas_own_topics() {
        let there = ["orders-a", "my-orders-b", "orders", "__consumer_offsets", "__orders-x"];
        assert_eq!(chosen(&["^orders-.*"], &there), ["orders-a"]);
        assert_eq!(chosen(&["^.*"], &there), ["my-orders-b", "orders", "orders-a"]);
        assert_eq!(chosen(&["^orders|my-orders-b$"], &there), ["my-orders-b", "orders"]);
        assert_eq!(chosen(&["__orders-x", "absent", "^orders"], &there), ["__orders-x", "absent", "orders"]);
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Topics::parse(&["^a(".to_owned()]).unwrap_err();
        assert!(error.contains("'^a('"), "{error}");
        assert!(Topics::parse(&["a".to_owned()]).unwrap().names().is_some());
    }
}
