//! Describes each message once, as a struct whose fields name the versions that have them. Decoding, encoding and the
//! minimum size follow from that, for all versions and both directions.
//!
//! A field is written as `name: type = default => versions, words; "meaning"`. The default is what a version without
//! the field reads; left out, it is the type's own. The words are those of Kafka's schemas:
//!
//! - `ignorable`: a version without the field drops its value; else only the default can be written in it;
//! - `null VERSIONS`: the versions in which an `Option` may be `None`; left out, all of them;
//! - `tag N`: in a flexible version the field stands behind the others, by its number, unless it is the default.

use super::format::Format;
use super::reader::{DecodeError, Problem, Reader};
use super::writer::{EncodeError, Writer};
use super::{Decode, Encode};
use std::ops::{Bound, RangeBounds};

#[derive(Clone, Copy)]
struct Span(i16, i16);

impl Span {
    fn of(versions: impl RangeBounds<i16>) -> Self {
        let first = match versions.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(_) | Bound::Unbounded => 0,
        };
        let last = match versions.end_bound() {
            Bound::Included(last) => *last,
            Bound::Excluded(_) | Bound::Unbounded => i16::MAX,
        };
        Self(first, last)
    }

    fn has(self, version: i16) -> bool {
        (self.0..=self.1).contains(&version)
    }
}

/// A field of a description.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Rule {
    versions: Span,
    null: Span,
    tag: Option<u32>,
    ignorable: bool,
}

impl Rule {
    pub(in crate::kafka) fn new(versions: impl RangeBounds<i16>) -> Self {
        Self { versions: Span::of(versions), null: Span::of(..), tag: None, ignorable: false }
    }

    pub(in crate::kafka) fn null(self, versions: impl RangeBounds<i16>) -> Self {
        Self { null: Span::of(versions), ..self }
    }

    pub(in crate::kafka) fn tag(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    pub(in crate::kafka) fn ignorable(self) -> Self {
        Self { ignorable: true, ..self }
    }

    /// Whether the field stands among those without a tag.
    pub(in crate::kafka) fn is_plain(self, format: Format) -> bool {
        self.tag.is_none() && self.versions.has(format.version)
    }
}

impl<'de> Reader<'de> {
    fn checked<T: Decode<'de> + Encode>(
        &mut self,
        name: &'static str,
        rule: Rule,
        slot: &mut T,
    ) -> Result<(), DecodeError> {
        *slot = self.read(name)?;
        match slot.is_null() && !rule.null.has(self.format().version) {
            true => Err(self.error(name, Problem::Null)),
            false => Ok(()),
        }
    }

    /// Reads a field without a tag, if this version has it.
    pub(in crate::kafka) fn field<T: Decode<'de> + Encode>(
        &mut self,
        name: &'static str,
        rule: Rule,
        slot: &mut T,
    ) -> Result<(), DecodeError> {
        if rule.is_plain(self.format()) { self.checked(name, rule, slot) } else { Ok(()) }
    }

    /// Reads a field with a tag, if it is this one.
    pub(in crate::kafka) fn tagged<T: Decode<'de> + Encode>(
        &mut self,
        name: &'static str,
        rule: Rule,
        tag: u32,
        slot: &mut T,
    ) -> Result<bool, DecodeError> {
        if rule.tag != Some(tag) || !rule.versions.has(self.format().version) {
            return Ok(false);
        }
        self.checked(name, rule, slot).map(|()| true)
    }
}

impl Writer<'_> {
    fn checked<T: Encode>(&mut self, name: &'static str, rule: Rule, value: &T) {
        let version = self.format().version;
        if value.is_null() && !rule.null.has(version) {
            self.fail(EncodeError::Null { field: name, version });
        }
        value.encode(self, name);
    }

    /// Writes a field without a tag, if this version has it.
    pub(in crate::kafka) fn field<T: Encode + PartialEq>(
        &mut self,
        name: &'static str,
        rule: Rule,
        value: &T,
        unset: &T,
    ) {
        let version = self.format().version;
        if rule.is_plain(self.format()) {
            self.checked(name, rule, value);
        } else if !rule.versions.has(version) && !rule.ignorable && value != unset {
            self.fail(EncodeError::Unknown { field: name, version });
        }
    }

    /// Whether a field is to be written with its tag.
    pub(in crate::kafka) fn has_tagged<T: PartialEq>(&self, rule: Rule, value: &T, unset: &T) -> bool {
        rule.tag.is_some() && rule.versions.has(self.format().version) && value != unset
    }

    /// Writes a field with its tag and its length.
    pub(in crate::kafka) fn tagged<T: Encode + PartialEq>(
        &mut self,
        name: &'static str,
        rule: Rule,
        value: &T,
        unset: &T,
    ) {
        if let Some(tag) = rule.tag.filter(|_| self.has_tagged(rule, value, unset)) {
            self.uvarint(tag);
            self.with_length(|writer| writer.checked(name, rule, value));
        }
    }
}

/// Structs, described as [above](self).
macro_rules! describe {
    ($(
        $(#[$about:meta])*
        $vis:vis struct $name:ident $(<$life:lifetime>)? { $(
            $field:ident: $kind:ty $(= $default:expr)? => $versions:expr $(, $word:ident $($value:expr)?)*;
            $doc:literal
        )* }
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name $(<$life>)? {
            $(#[doc = $doc] pub $field: $kind,)*
        }

        impl $(<$life>)? Default for $name $(<$life>)? {
            fn default() -> Self {
                Self { $($field: $crate::kafka::protocol::describe::default!($($default)?),)* }
            }
        }

        impl $(<$life>)? $crate::kafka::protocol::Encode for $name $(<$life>)? {
            fn encode(&self, writer: &mut $crate::kafka::protocol::Writer<'_>, _: &'static str) {
                use $crate::kafka::protocol::describe::Rule;
                let unset = Self::default();
                $({
                    let rule = Rule::new($versions)$(.$word($($value)?))*;
                    writer.field(stringify!($field), rule, &self.$field, &unset.$field);
                })*
                if !writer.format().flexible {
                    return;
                }
                let mut count = 0;
                $({
                    let rule = Rule::new($versions)$(.$word($($value)?))*;
                    count += u32::from(writer.has_tagged(rule, &self.$field, &unset.$field));
                })*
                writer.uvarint(count);
                $({
                    let rule = Rule::new($versions)$(.$word($($value)?))*;
                    writer.tagged(stringify!($field), rule, &self.$field, &unset.$field);
                })*
            }
        }

        impl<'de $(: $life, $life)?> $crate::kafka::protocol::Decode<'de> for $name $(<$life>)? {
            fn smallest(format: $crate::kafka::protocol::Format) -> usize {
                use $crate::kafka::protocol::{Decode, describe::Rule};
                let mut smallest = usize::from(format.flexible);
                $(if Rule::new($versions)$(.$word($($value)?))*.is_plain(format) {
                    smallest += <$kind as Decode<'de>>::smallest(format);
                })*
                smallest
            }

            fn decode(
                reader: &mut $crate::kafka::protocol::Reader<'de>,
                _: &'static str,
            ) -> Result<Self, $crate::kafka::protocol::DecodeError> {
                use $crate::kafka::protocol::describe::Rule;
                let mut value = Self::default();
                $({
                    let rule = Rule::new($versions)$(.$word($($value)?))*;
                    reader.field(stringify!($field), rule, &mut value.$field)?;
                })*
                reader.tags(|reader, tag| {
                    Ok(false $(|| {
                        let rule = Rule::new($versions)$(.$word($($value)?))*;
                        reader.tagged(stringify!($field), rule, tag, &mut value.$field)?
                    })*)
                })?;
                Ok(value)
            }
        }
    )*};
}

macro_rules! default {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

/// Declares a struct to be the request of an API, with its response.
macro_rules! request {
    ($request:ty, $api:ident, $life:lifetime $response:ty $({ $($more:tt)* })?) => {
        impl $crate::kafka::protocol::Request for $request {
            const API: $crate::kafka::protocol::ApiKey = $crate::kafka::protocol::ApiKey::$api;
            type Response<$life> = $response;
            $($($more)*)?
        }
    };
}

pub(in crate::kafka) use {default, describe, request};
